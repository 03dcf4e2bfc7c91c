"""HTTP/1.1, the client's side: pooled connections to a replica, without a task per request.

A `Call` is one try at one replica. It ends exactly once, with a status or with a fault, never
later than its time budget. A replica's connections are kept and reused; one that turns out to have
been closed meanwhile, before any byte of an answer, is replaced by a fresh one once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from time import monotonic
from typing import Protocol, cast

import httptools
import msgspec

from slipway.serving.heads import read_answer

REFUSED = "refused"
CLOSED = "closed"
TIMEOUT = "timeout"
MALFORMED = "malformed"
TOO_LARGE = "too_large"
CANCELLED = "cancelled"

CONNECT_SECONDS = 0.5
"""How long a connection may take to be made: a replica that is down must not use up the budget."""
REST_SECONDS = 1.0
"""How long a replica that refused a connection is passed over, where there is another."""
MOST_CONNECTIONS = 512
"""To one replica; further calls wait for one of them, within their time budget."""

_TICK_SECONDS = 0.01
_BLANKS = (b" ", b"\t")
_DELIMITED = (b"content-length", b"transfer-encoding")


class Call(msgspec.Struct, eq=False, kw_only=True):
    """One try at one replica, its answer collected whole. Subclasses say what follows in ``done``.

    (Its fields go by name so that a subclass's go by position, which costs a fifth.)

    Attributes:
        head: the request's head without the Host header and the empty line, which are added.
        body: its body.
        limit: bytes of answer that are still taken.
        status: the answer's status, or 0 where there is a fault.
        headers: of the answer: lower-case name to value; a repeated header's values are lines of
            their own. Shared with other answers: not to be changed.
        answer: the answer's body.
        fault: one of the words above, or empty.
        finished: whether it has ended.
        fresh: whether its connection was made for it.
    """

    head: bytes
    body: bytes
    limit: int
    status: int = 0
    headers: dict[bytes, bytes] = {}
    answer: bytes = b""
    fault: str = ""
    finished: bool = False
    fresh: bool = False
    connection: Upstream | None = None
    _parts: list[bytes] | None = None

    def done(self) -> None:
        """Called once, when the call has ended."""
        raise NotImplementedError

    def late(self) -> None:
        """Its time budget is used up."""
        self.give_up(TIMEOUT)

    def give_up(self, fault: str) -> None:
        """No answer will come, or it is of no more use. The connection is not used again."""
        if self.finished:
            return
        self.finished = True
        self.fault, self.status = fault, 0
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.drop()
        self.done()

    # What the connection calls.

    def begin(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The answer's head."""
        self.status, self.headers = status, headers

    def receive(self, chunk: bytes) -> None:
        """A part of the answer's body."""
        self.limit -= len(chunk)
        if self.limit < 0:
            self.give_up(TOO_LARGE)
        elif not self.answer:
            self.answer = chunk
        else:
            if self._parts is None:
                self._parts = [self.answer]
            self._parts.append(chunk)

    def whole(self, status: int, headers: dict[bytes, bytes], answer: bytes) -> None:
        """An answer that came in one piece: all of the above and below at once."""
        if len(answer) > self.limit:
            self.give_up(TOO_LARGE)
            return
        self.status, self.headers, self.answer = status, headers, answer
        self.finished = True
        self.connection = None
        self.done()

    def complete(self) -> None:
        """The answer is whole."""
        self.finished = True
        self.connection = None
        if self._parts is not None:
            self.answer, self._parts = b"".join(self._parts), None
        self.done()


class Timed(Protocol):
    """What can be late."""

    @property
    def finished(self) -> bool:
        """Whether it no longer matters."""
        ...

    def late(self) -> None:
        """Its time is up."""
        ...


class Deadlines:
    """Time budgets of many calls by one timer.

    Calls of one budget run out in the order they were made, so a queue per budget holds them;
    a timer of its own for each call would cost more than the rest of the call.
    """

    def __init__(self) -> None:
        self._queues: dict[float, deque[tuple[float, Timed]]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, call: Timed, seconds: float) -> None:
        """Call ``late`` in so many seconds, unless the call has ended by then."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = deque()
        queue.append((monotonic() + seconds, call))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        now = monotonic()
        self._timer = None
        for queue in tuple(self._queues.values()):
            while queue and (queue[0][1].finished or queue[0][0] <= now):
                call = queue.popleft()[1]
                if not call.finished:
                    call.late()
        if self._timer is None and any(self._queues.values()):
            self._timer = asyncio.get_running_loop().call_later(_TICK_SECONDS, self._tick)


class Upstream(asyncio.Protocol):
    """One connection to a replica: one call at a time."""

    transport: asyncio.Transport

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.call: Call | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._feed = self._parser.feed_data
        self._headers: dict[bytes, bytes] = {}
        self._status = 0
        self._started = self._open_ended = self.unsent = False

    def take(self, call: Call) -> None:
        """Be a call's connection; its request is written now or at the end of the loop's turn."""
        self.call = call
        call.connection = self
        self._started = self._open_ended = False
        self._status = 0
        self.unsent = True
        self.replica.post(self)

    def send(self) -> None:
        """Write the request, unless its call has ended before."""
        call, self.unsent = self.call, False
        if call is not None:
            self.transport.write(b"".join((call.head, self.replica.host_line, call.body)))

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
        elif self._open_ended and exc is None:
            call.complete()
        else:
            call.give_up(CLOSED)

    def data_received(self, data: bytes) -> None:
        """Parse; what nobody asked for means that the replica is confused."""
        if self.call is None or self.unsent:
            self.transport.abort()
            return
        if not self._started:
            self._started = True
            if self._take_whole(data, self.call):
                return
        try:
            self._feed(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.call is not None:
                self.call.give_up(MALFORMED)

    def _take_whole(self, data: bytes, call: Call) -> bool:
        """Take an answer that these bytes hold exactly; False leaves them to llhttp."""
        head, _, body = data.partition(b"\r\n\r\n")
        read = read_answer(head)
        if read is None or read[2] != len(body):
            return False
        self.call = None
        self.replica.give_back(self)
        call.whole(read[0], read[1], body)
        return True

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line."""
        name = name.lower()
        if value.endswith(_BLANKS):
            value = value.rstrip(b" \t")
        if name in self._headers:  # Set-Cookie cannot be joined by a comma: lines stay lines
            value = b"%b\r\n%b: %b" % (self._headers[name], name, value)
        self._headers[name] = value

    def on_headers_complete(self) -> None:
        """The head is whole; an interim one (1xx) is passed over."""
        headers, self._headers = self._headers, {}
        status = self._parser.get_status_code()
        call = self.call
        if status >= 200 and call is not None:
            self._status = status
            self._open_ended = headers.keys().isdisjoint(_DELIMITED)
            call.begin(status, headers)
            if call.head.startswith(b"HEAD "):  # its answer has no body, whatever its length says
                self.drop()
                call.complete()

    def on_body(self, chunk: bytes) -> None:
        """A part of the body."""
        if self.call is not None:
            self.call.receive(chunk)

    def on_message_complete(self) -> None:
        """The answer is whole: the connection is free, and the caller goes on."""
        call = self.call
        if call is None or self._status < 200:
            return
        self.call = None
        if self._headers:  # trailers
            self._headers = {}
        if self._parser.should_keep_alive():
            self.replica.give_back(self)
        else:
            self.transport.close()
        call.complete()


class Replica:
    """One ``host:port`` that serves a release, and the connections kept to it.

    Attributes:
        endpoint: ``host:port``.
        resting_until: by the monotonic clock; it refused a connection lately.
    """

    def __init__(self, endpoint: str, deadlines: Deadlines) -> None:
        host, _, port = endpoint.rpartition(":")
        self.endpoint = endpoint
        self.host, self.port = host.strip("[]"), int(port)
        self.host_line = b"host: %b\r\n\r\n" % endpoint.encode()
        self.resting_until = 0.0
        self.idle: list[Upstream] = []
        self._waiting: deque[Call] = deque()
        self._unsent: list[Upstream] = []
        self._open = 0
        self._connecting: set[asyncio.Task[None]] = set()
        self._deadlines = deadlines

    def send(self, call: Call, seconds: float) -> None:
        """Make a call; it ends within ``seconds``."""
        self._deadlines.add(call, seconds)
        if self.idle:
            self.idle.pop().take(call)
        elif self._open < MOST_CONNECTIONS:
            self._connect(call)
        else:
            self._waiting.append(call)

    def post(self, upstream: Upstream) -> None:
        """Write a request: at once where it is alone, else with the others of the loop's turn.

        Each write may wake the replica and cost this process its core and its caches. When all
        that has been read is worked off first, a busy replica is woken once for many requests.
        """
        if self._open - len(self.idle) <= 1:
            upstream.send()
            return
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._send_all)
        self._unsent.append(upstream)

    def _send_all(self) -> None:
        unsent, self._unsent = self._unsent, []
        for upstream in unsent:
            upstream.send()

    def retry(self, call: Call) -> None:
        """Try once more on a fresh connection: a kept one was closed before any answer."""
        self._connect(call)

    def give_back(self, upstream: Upstream) -> None:
        """A connection is free: the longest waiting call may have it."""
        while self._waiting:
            call = self._waiting.popleft()
            if not call.finished:
                upstream.take(call)
                return
        self.idle.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        """A connection has ended."""
        self._open -= 1
        if upstream in self.idle:
            self.idle.remove(upstream)
        while self._waiting and self._open < MOST_CONNECTIONS:
            call = self._waiting.popleft()
            if not call.finished:
                self._connect(call)

    def close(self) -> None:
        """Close what is idle; calls under way finish."""
        for upstream in tuple(self.idle):
            upstream.transport.close()

    def _connect(self, call: Call) -> None:
        call.fresh = True
        self._open += 1
        task = asyncio.get_running_loop().create_task(self._connected(call))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connected(self, call: Call) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                _, upstream = await loop.create_connection(
                    lambda: Upstream(self), self.host, self.port
                )
        except (OSError, TimeoutError):
            self._open -= 1
            self.resting_until = monotonic() + REST_SECONDS
            call.give_up(REFUSED)
            return
        if call.finished:  # its time ran out while connecting: the next call may have it
            self.give_back(upstream)
        else:
            upstream.take(call)
