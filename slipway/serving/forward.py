"""HTTP/1.1, the client's side: pooled connections to a replica, without a task per request.

A `Call` is one try at one replica. Its ``done`` is called exactly once, with a status or with a
fault, never later than its time budget. A replica's connections are kept and reused; one that
turns out to have been closed meanwhile, before any byte of an answer, is replaced by a fresh one
once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import cast

import httptools

REFUSED = "refused"
CLOSED = "closed"
TIMEOUT = "timeout"
MALFORMED = "malformed"
TOO_LARGE = "too_large"

HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
        b"host",
        b"expect",
    )
)
"""Headers that belong to one connection (RFC 9110, 7.6.1) or that are written anew for each."""

_TICK_SECONDS = 0.01


class Deadlines:
    """Time budgets of many calls by one timer.

    Calls of one budget run out in the order they were made, so a queue per budget holds them;
    a timer of its own for each call would cost more than the rest of the call.
    """

    def __init__(self) -> None:
        self._queues: dict[float, deque[tuple[float, Call]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Call, seconds: float) -> None:
        """Watch a call."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = deque()
        queue.append((monotonic() + seconds, call))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        now = monotonic()
        for queue in self._queues.values():
            while queue and (queue[0][1].finished or queue[0][0] <= now):
                call = queue.popleft()[1]
                if not call.finished:
                    call.give_up(TIMEOUT)
        self._timer = None
        if any(self._queues.values()):
            self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)


class Call:
    """One try at one replica, its answer collected whole.

    Args:
        head: the request's head up to and without the Host header, which the replica adds.
        body: its body.
        done: called once, with the call.
        limit: bytes of answer that are taken.

    Attributes:
        status: the answer's status, or 0 where there is a fault.
        headers: lower-case name to value.
        answer: the answer's body.
        fault: ``refused``, ``closed``, ``timeout``, ``malformed``, ``too_large``, or empty.
    """

    __slots__ = (
        "answer",
        "body",
        "chunks",
        "connection",
        "done",
        "fault",
        "finished",
        "fresh",
        "head",
        "headers",
        "limit",
        "replica",
        "status",
    )

    def __init__(
        self, head: bytes, body: bytes, done: Callable[[Call], None], limit: int = 1 << 26
    ) -> None:
        self.head = head
        self.body = body
        self.done = done
        self.limit = limit
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.answer = b""
        self.fault = ""
        self.finished = self.fresh = False
        self.chunks: list[bytes] = []
        self.connection: Upstream | None = None
        self.replica: Replica | None = None

    def receive(self, chunk: bytes) -> None:
        """A part of the answer's body."""
        self.limit -= len(chunk)
        if self.limit < 0:
            self.give_up(TOO_LARGE)
        else:
            self.chunks.append(chunk)

    def complete(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The answer is whole."""
        self.status, self.headers = status, headers
        self.answer = self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)
        self._finish()

    def give_up(self, fault: str) -> None:
        """No answer will come. The connection, if it has one, is of no more use."""
        if self.finished:
            return
        self.fault, self.status = fault, 0
        connection, self.connection = self.connection, None
        if connection:
            connection.drop()
        self._finish()

    def _finish(self) -> None:
        self.finished = True
        self.connection = None
        self.done(self)


class Upstream(asyncio.Protocol):
    """One connection to a replica: one call at a time."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.parser = httptools.HttpResponseParser(self)
        self.call: Call | None = None
        self.transport: asyncio.Transport
        self._headers: dict[bytes, bytes] = {}
        self._status = 0
        self._started = self._in_head = False

    def send(self, call: Call) -> None:
        """Send a call's request."""
        self.call = call
        call.connection = self
        self._started = False
        self.transport.write(call.head + self.replica.host_line + call.body)

    def drop(self) -> None:
        """Close at once; the call is no longer ours."""
        self.call = None
        self.transport.abort()

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """The replica has gone; an answer that only its end delimits is whole now."""
        self.replica.forget(self)
        call, self.call = self.call, None
        if call is None or call.finished:
            return
        call.connection = None
        if not self._started and not call.fresh:
            self.replica.retry(call)
        elif self._until_close and exc is None:
            call.complete(self._status, self._headers)
        else:
            call.give_up(CLOSED)

    def data_received(self, data: bytes) -> None:
        """Parse; what nobody asked for means that the replica is confused."""
        self._started = True
        if self.call is None:
            self.transport.abort()
            return
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.call:
                self.call.give_up(MALFORMED)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """An answer's first byte."""
        self._headers = {}
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line; trailers are left out."""
        if self._in_head:
            self._headers[name.lower()] = value.rstrip(b" \t")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        self._status = self.parser.get_status_code()

    def on_body(self, chunk: bytes) -> None:
        """A part of the body."""
        if self.call:
            self.call.receive(chunk)

    def on_message_complete(self) -> None:
        """The answer is whole; an interim one (1xx) is passed over."""
        call = self.call
        if call is None or self._status < 200:
            return
        self.call = None
        if self.parser.should_keep_alive():
            self.replica.idle.append(self)
        else:
            self.transport.close()
        call.complete(self._status, self._headers)

    @property
    def _until_close(self) -> bool:
        return (
            self._status >= 200
            and not self._in_head
            and b"content-length" not in self._headers
            and b"transfer-encoding" not in self._headers
        )


class Replica:
    """One ``host:port`` that serves a release, and the connections kept to it."""

    def __init__(self, endpoint: str, deadlines: Deadlines) -> None:
        host, _, port = endpoint.rpartition(":")
        self.endpoint = endpoint
        self.host, self.port = host.strip("[]"), int(port)
        self.host_line = b"host: %b\r\n\r\n" % endpoint.encode()
        self.idle: list[Upstream] = []
        self._all: set[Upstream] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self._deadlines = deadlines

    def send(self, call: Call, seconds: float) -> None:
        """Make a call; its ``done`` is called within ``seconds``."""
        call.replica = self
        self._deadlines.add(call, seconds)
        if self.idle:
            self.idle.pop().send(call)
        else:
            self._connect(call)

    def retry(self, call: Call) -> None:
        """Try once more on a fresh connection: a kept one was closed before any answer."""
        self._connect(call)

    def _connect(self, call: Call) -> None:
        call.fresh = True
        task = asyncio.get_running_loop().create_task(self._open(call))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _open(self, call: Call) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, upstream = await loop.create_connection(lambda: Upstream(self), self.host, self.port)
        except OSError:
            call.give_up(REFUSED)
            return
        self._all.add(upstream)
        if call.finished:  # its time ran out while connecting: the next call may have it
            self.idle.append(upstream)
        else:
            upstream.send(call)

    def forget(self, upstream: Upstream) -> None:
        """A connection has ended."""
        self._all.discard(upstream)
        if upstream in self.idle:
            self.idle.remove(upstream)

    def close(self) -> None:
        """Close what is idle; calls under way finish."""
        for upstream in tuple(self.idle):
            upstream.transport.close()
