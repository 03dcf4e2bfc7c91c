"""HTTP/1.1, the server's side: strict, small, and shared by the gateway and the model server.

Parsing is llhttp's (through httptools), which refuses what smuggles: two lengths, a length beside
a transfer coding, bare line feeds, folded lines, blanks where none belong. This module adds what
a parser cannot know: limits, timeouts, the order of pipelined answers, backpressure and drain
(RFC 9110, RFC 9112).

One `Exchange` is one request with its one answer. A handler is a plain function that is given the
exchange once its whole body is there, and calls ``respond`` now or later; there is no task and no
future per request unless the handler makes one. An exchange is handled only when it is its turn,
so pipelined answers leave in order.

    async def main():
        server = await serve(lambda x: x.respond(200, b"hello"), "127.0.0.1", 8080)
        ...
        await server.drain(grace_seconds=10)

Imports only `connection` and `exchange` of slipway, so that a bundle can carry a copy. Not
thread-safe: everything runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from email.utils import formatdate

from slipway.serving.connection import Connection, Handler, Limits

log = logging.getLogger(__name__)


class Server:
    """A listening socket, its connections and their clock."""

    def __init__(self, handler: Handler, admit: Handler | None, limits: Limits) -> None:
        self.handler = handler
        self.admit = admit
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection] = set()
        self.draining = False
        self.date = b""
        self.port = 0
        self._empty = asyncio.Event()
        self._listener: asyncio.Server
        self._tick()

    async def listen(
        self, host: str, port: int, reuse_port: bool, tls: ssl.SSLContext | None
    ) -> None:
        """Bind and accept."""
        self._listener = await self.loop.create_server(
            lambda: Connection(self),
            host,
            port,
            reuse_port=reuse_port or None,
            ssl=tls,
            backlog=1024,
        )
        self.port = self._listener.sockets[0].getsockname()[1]

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    def _tick(self) -> None:
        """Once a second: the Date header, and connections that have used up their time."""
        self.date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        now = self.loop.time()
        for connection in tuple(self.connections):
            connection.check_time(now)
        self._timer = self.loop.call_later(1.0, self._tick)

    async def _emptied(self, seconds: float) -> bool:
        """Whether no connection is left, within some time."""
        if self.connections:
            try:
                await asyncio.wait_for(self._empty.wait(), seconds)
            except TimeoutError:
                return False
        return True

    def stop_clock(self) -> None:
        """Look at the time no more."""
        self._timer.cancel()

    async def drain(self, grace_seconds: float = 10.0) -> int:
        """Stop accepting, let what is asked be answered, then close.

        A connection that is idle here may carry a request already: it stays a moment longer, and
        the answer to what comes tells the client that it is the last (RFC 9112, 9.6).

        Returns:
            How many connections had to be cut off after the grace time.
        """
        self.draining = True
        self._listener.close()
        self._empty.clear()
        parting = min(self.limits.parting_seconds, grace_seconds)
        if not await self._emptied(parting):
            for connection in tuple(self.connections):
                if connection.idle:
                    connection.transport.close()
            if not await self._emptied(grace_seconds - parting):
                log.warning("%d connections outlived the drain", len(self.connections))
        self.stop_clock()
        cut = tuple(self.connections)
        for connection in cut:
            connection.transport.abort()
        return len(cut)


async def serve(
    handler: Handler,
    host: str,
    port: int,
    *,
    limits: Limits | None = None,
    admit: Handler | None = None,
    reuse_port: bool = False,
    tls: ssl.SSLContext | None = None,
) -> Server:
    """Serve HTTP/1.1.

    Args:
        handler: called with each whole request, in turn; answers it now or later. What it raises
            is logged and answered with 500.
        port: 0 for any free one; see ``Server.port``.
        admit: called when the head of a request is there whose body is over 64 KiB or of unknown
            length: may answer at once, or set ``limit``.
        reuse_port: let several processes share the port.
        tls: a server-side context.

    Raises:
        OSError: the address cannot be bound.
    """
    server = Server(handler, admit, limits or Limits())
    await server.listen(host, port, reuse_port, tls)
    return server
