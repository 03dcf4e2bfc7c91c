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

Imports nothing of slipway but `exchange`, so that a bundle can carry a copy. Not thread-safe:
everything runs on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from typing import cast

import httptools

from slipway.serving.exchange import Exchange

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# A list of these would change what the request means; others may be repeated (RFC 9110, 5.3).
_SINGLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect"))
# Chunked framing may cost this many bytes on the wire per byte of body, and this much at first.
_FRAMING_PER_BYTE, _FRAMING_SLACK = 8, 128 * 1024
_HEAD_TOO_LARGE = (431, "the headers are too large", "send fewer or shorter headers")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may ask of the server, in bytes and seconds.

    Args:
        head: bytes of request line and headers together (431 beyond).
        headers: number of header lines (431 beyond).
        body: bytes of a request's body (413 beyond), unless ``admit`` sets another limit.
        connections: open at once (503 beyond).
        read_seconds: to send a whole request, plus one second per ``min_rate`` bytes sent
            (408 beyond): a slow sender is cut off, a large upload is not.
        min_rate: bytes per second.
        idle_seconds: between two requests.
        write_seconds: for a client to take anything of an answer that waits for it.
        linger_seconds: to go on discarding what a refused client still sends, so that it can read
            the refusal.
    """

    head: int = 32 * 1024
    headers: int = 100
    body: int = 8 * 1024 * 1024
    connections: int = 10_000
    read_seconds: float = 20.0
    min_rate: float = 16 * 1024
    idle_seconds: float = 75.0
    write_seconds: float = 30.0
    linger_seconds: float = 2.0


Handler = Callable[[Exchange], None]


class Connection(asyncio.Protocol):
    """One client's connection: what llhttp reads becomes exchanges, answered in order."""

    __slots__ = (
        "_advancing",
        "_deaf",
        "_head",
        "_head_size",
        "_in_head",
        "_reading",
        "_target",
        "_wire",
        "limits",
        "lingering",
        "parser",
        "paused",
        "queue",
        "server",
        "since",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server
        self.limits = server.limits
        self.parser = httptools.HttpRequestParser(self)
        self.queue: deque[Exchange] = deque()
        self.since = server.loop.time()
        self.paused = self.lingering = False
        self._reading: Exchange | None = None
        self._head: dict[bytes, bytes] = {}
        self._target = b""
        self._head_size = self._wire = 0
        self._deaf = self._advancing = self._in_head = False

    @property
    def turn(self) -> Exchange | None:
        """The exchange whose answer may be sent now."""
        return self.queue[0] if self.queue else None

    @property
    def idle(self) -> bool:
        """Whether nothing is being read or answered."""
        return not self.queue and not self._in_head

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.server.connections.add(self)
        if len(self.server.connections) > self.limits.connections:
            self._refuse(503, "too many connections", "try again later")

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left: whoever works for it is told."""
        self.server.forget(self)
        for exchange in self.queue:
            exchange.gone = True
            if exchange.handed and not exchange.answered and exchange.on_gone:
                exchange.on_gone()
        self.queue.clear()

    def data_received(self, data: bytes) -> None:
        """Parse; everything else happens in the parser's callbacks."""
        if self._deaf:
            return
        self._wire += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # the protocol is not switched: the request was taken as it is
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is not a request of HTTP/1.1: {error}", "send valid HTTP/1.1")
        else:
            self._check_wire()

    def eof_received(self) -> bool:
        """The client sends no more: what it asked is still answered, then the connection ends."""
        self._deaf = True
        if self.queue and self.queue[-1].complete:
            self.queue[-1].keep_alive = False
            return True
        return False

    def pause_writing(self) -> None:
        """The client takes its answer slower than it is made."""
        self.paused = True
        self.since = self.server.loop.time()
        if self.queue and self.queue[0].on_flow:
            self.queue[0].on_flow(False)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self.paused = False
        self.since = self.server.loop.time()
        if self.queue and self.queue[0].on_flow:
            self.queue[0].on_flow(True)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._head, self._target, self._head_size = {}, b"", 0
        self._in_head = True
        self._wire = 0
        self.since = self.server.loop.time()

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._target += url
        self._head_size += len(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line, or one trailer line, which nobody may rely on and nobody is given."""
        self._head_size += len(name) + len(value) + 4
        if not self._in_head:
            return
        name, value = name.lower(), value.rstrip(b" \t")
        before = self._head.get(name)
        if before is None:
            self._head[name] = value
        elif name in _SINGLE:
            self._refuse(400, f"the header {name.decode()} is there twice", "send it once")
        else:
            self._head[name] = before + (b"; " if name == b"cookie" else b", ") + value

    def on_headers_complete(self) -> None:
        """The head is whole: refuse it, or take the exchange in."""
        self._in_head = False
        if self._deaf:
            return
        exchange = Exchange(self, self.parser.get_method(), self._target)
        exchange.headers = self._head
        self._reading = exchange
        self.queue.append(exchange)
        if fault := self._fault(exchange):
            self._refuse(*fault)
            return
        if self.server.admit:
            self.server.admit(exchange)
        if not exchange.started:
            self._await_body(exchange)

    def on_body(self, chunk: bytes) -> None:
        """A part of the body."""
        exchange = self._reading
        if exchange and not exchange.started and not exchange.receive(chunk):
            self._refuse_body(exchange)

    def on_message_complete(self) -> None:
        """The request is whole: handle it if it is its turn."""
        exchange, self._reading = self._reading, None
        if exchange is None or self._deaf:
            return
        exchange.received()
        if self._is_last(exchange):
            exchange.keep_alive = False
            self._deaf = True
        if len(self.queue) > 1:
            self.transport.pause_reading()
        self.advance()

    def _is_last(self, exchange: Exchange) -> bool:
        """Whether nothing may follow. An offered upgrade is not taken up (RFC 9110, 7.8)."""
        return (
            not self.parser.should_keep_alive()
            or self.parser.get_http_version() == "1.0"
            or b"upgrade" in exchange.headers
        )

    # Faults of a request.

    def _fault(self, exchange: Exchange) -> tuple[int, str, str] | None:
        """What llhttp lets pass and the limits or RFC 9112 do not."""
        headers = exchange.headers
        if len(headers) > self.limits.headers or self._head_size > self.limits.head:
            return _HEAD_TOO_LARGE
        if not exchange.path.startswith(b"/") or b"#" in self._target:
            return 400, "the target is no path", "ask for a path that starts with /"
        if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
            return 417, "only 100-continue can be expected", "leave the Expect header out"
        return self._framing_fault(headers)

    def _framing_fault(self, headers: dict[bytes, bytes]) -> tuple[int, str, str] | None:
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            return 505, f"HTTP/{version} is not spoken here", "use HTTP/1.1"
        if version == "1.1" and not headers.get(b"host"):
            return 400, "the request has no Host header", "send one"
        coding = headers.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or version == "1.0"):
            return 400, "the transfer coding is not supported", "send chunked over HTTP/1.1"
        if b"upgrade" in headers and (coding or b"content-length" in headers):
            return 400, "a request to upgrade has a body", "leave the Upgrade header out"
        return None

    def _await_body(self, exchange: Exchange) -> None:
        if int(exchange.headers.get(b"content-length", b"0")) > exchange.limit:
            self._refuse_body(exchange)
        elif exchange is self.queue[0]:
            self._continue(exchange)

    def _continue(self, exchange: Exchange) -> None:
        """Tell a client that waits for it to go on; one that is not in turn is told in its turn."""
        if b"expect" in exchange.headers and not exchange.size:
            self.transport.write(_CONTINUE)

    def _refuse_body(self, exchange: Exchange) -> None:
        self._refuse(413, f"the body is over {exchange.limit} bytes", "send less at once")

    def _check_wire(self) -> None:
        """Bounds on what the parser holds without telling: an endless head, endless framing."""
        if self._in_head:
            if self._wire > self.limits.head:
                self._refuse(*_HEAD_TOO_LARGE)
        elif self._reading and self._wire > _FRAMING_PER_BYTE * self._reading.size + _FRAMING_SLACK:
            self._refuse(400, "the chunks are mostly framing", "send larger chunks")

    def _refuse(self, status: int, what: str, do: str) -> None:
        """Refuse what is being read and listen no more; answers before it still go out."""
        if self._deaf:
            return
        self._deaf = True
        exchange = self._reading
        if exchange is None:
            exchange = Exchange(self, b"", b"")
            self.queue.append(exchange)
        self._reading = None
        if not exchange.started:
            exchange.refuse(status, what, do=do)

    # Answers, in order.

    def advance(self) -> None:
        """Go on with the exchange whose turn it is; called whenever one may have ended."""
        if self._advancing:  # answered within its handler: the loop below sees it
            return
        self._advancing = True
        while self.queue:
            exchange = self.queue[0]
            exchange.release()
            if exchange.answered:
                self.queue.popleft()
                if not exchange.keep_alive or (self.server.draining and not self.queue):
                    self._close(exchange)
                    break
                self._next()
            elif exchange.complete and not exchange.handed:
                exchange.handed = True
                self._handle(exchange)
            else:
                break
        self._advancing = False

    def _handle(self, exchange: Exchange) -> None:
        try:
            self.server.handler(exchange)
        except Exception:  # the boundary: one broken request must not take the others along
            log.exception("the handler of %s failed", exchange.path.decode("latin-1"))
            if not exchange.started:
                exchange.refuse(500, "the server failed on this request")
            elif not exchange.answered:
                exchange.abort()

    def _next(self) -> None:
        if not self.queue:
            self.since = self.server.loop.time()
        elif not self.queue[0].complete:
            self._continue(self.queue[0])
        if len(self.queue) <= 1 and not self._deaf:
            self.transport.resume_reading()

    def _close(self, last: Exchange) -> None:
        """Close after the last answer; a client still sending gets time to read it."""
        self._deaf = True
        if last.complete or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.lingering = True
        self.since = self.server.loop.time()
        self.transport.write_eof()
        self.transport.resume_reading()

    def abort(self) -> None:
        """Drop the connection at once."""
        self.transport.abort()

    # Time.

    def overdue(self, now: float) -> bool:
        """Close or refuse a connection that has used up its time; whether it had."""
        waited, limits = now - self.since, self.limits
        if self.lingering:
            late = waited > limits.linger_seconds
        elif self.paused:
            late = waited > limits.write_seconds
        elif self._in_head or (self._reading and not self._deaf):
            if waited > limits.read_seconds + self._wire / limits.min_rate:
                self._refuse(408, "the request took too long to arrive", "send it faster")
            return False
        elif self.queue:
            return False  # the handler's own time budget counts
        else:
            late = waited > limits.idle_seconds
        if late:
            self.abort()
        return late


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
            connection.overdue(now)
        self._timer = self.loop.call_later(1.0, self._tick)

    async def drain(self, grace_seconds: float = 10.0) -> int:
        """Stop accepting, let what is asked be answered, then close.

        Returns:
            How many connections had to be cut off after the grace time.
        """
        self.draining = True
        self._listener.close()
        self._empty.clear()
        for connection in tuple(self.connections):
            if connection.idle:
                connection.transport.close()
        if self.connections:
            try:
                await asyncio.wait_for(self._empty.wait(), grace_seconds)
            except TimeoutError:
                log.warning("%d connections outlived the drain", len(self.connections))
        self._timer.cancel()
        cut = tuple(self.connections)
        for connection in cut:
            connection.abort()
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
        admit: called when a request's head is there and its body is not: may answer at once, or
            set ``limit``.
        reuse_port: let several processes share the port.
        tls: a server-side context.

    Raises:
        OSError: the address cannot be bound.
    """
    server = Server(handler, admit, limits or Limits())
    await server.listen(host, port, reuse_port, tls)
    return server
