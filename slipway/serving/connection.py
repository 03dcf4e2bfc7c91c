"""One client's connection of HTTP/1.1: limits, faults, the order of pipelined answers.

llhttp parses, and refuses what smuggles: two lengths, a length beside a transfer coding, bare
line feeds, folded lines, blanks where none belong. What it lets pass and RFC 9112 does not is
refused here, and so is what goes beyond the limits. After a refusal the connection is closed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import httptools

from slipway.serving.exchange import Exchange
from slipway.serving.heads import read_request

if TYPE_CHECKING:
    from slipway.serving.http1 import Server

log = logging.getLogger(__name__)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# A list of these would change what the request means; others may be repeated (RFC 9110, 5.3).
_SINGLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"content-type", b"expect"))
# Chunked framing may cost this many bytes on the wire per byte of body, and this much at first.
_FRAMING_PER_BYTE, _FRAMING_SLACK = 8, 128 * 1024
_UNKNOWN_LENGTH = 2**63
_UNREMARKABLE = 64 * 1024
_SLASH, _BLANKS = ord("/"), (b" ", b"\t")
_UNUSUAL = frozenset((b"connection", b"transfer-encoding", b"expect", b"upgrade"))
_SEND_VALID = "send valid HTTP/1.1"
_NO_HOST = (400, "the request has no Host header", "send one")
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
        parting_seconds: that an idle client may still ask something in, once the server drains.
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
    parting_seconds: float = 0.5


Handler = Callable[[Exchange], None]
Fault = tuple[int, str, str]
"""A refusal: the status, what is wrong, what to do."""


class Connection(asyncio.Protocol):
    """One client's connection: what llhttp reads becomes exchanges, answered in order.

    Attributes:
        turn: the exchange whose answer may be sent now.
        waiting: exchanges behind it, of a client that does not wait for answers.
        count: exchanges answered so far.
    """

    __slots__ = (
        "_advancing",
        "_deaf",
        "_feed",
        "_head",
        "_in_head",
        "_paused_reading",
        "_reading",
        "_target",
        "_wire",
        "count",
        "lingering",
        "parser",
        "paused",
        "server",
        "since",
        "since_count",
        "transport",
        "turn",
        "waiting",
    )

    transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self.server = server
        self.parser = httptools.HttpRequestParser(self)
        self._feed = self.parser.feed_data
        self.turn: Exchange | None = None
        self.waiting: deque[Exchange] = deque()
        self.count = self.since_count = 0
        self.since = server.loop.time()
        self.paused = self.lingering = False
        self._reading: Exchange | None = None
        self._head: dict[bytes, bytes] = {}
        self._target = b""
        self._wire = 0
        self._deaf = self._advancing = self._in_head = self._paused_reading = False

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.server.connections.add(self)
        if len(self.server.connections) > self.server.limits.connections:
            self._refuse((503, "too many connections", "try again later"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has left: whoever works for it is told."""
        self.server.forget(self)
        left = [self.turn, *self.waiting] if self.turn else []
        self.turn, self._reading = None, None
        self.waiting.clear()
        for exchange in left:
            exchange.gone = True
            if exchange.handed and not exchange.answered and exchange.on_gone:
                exchange.on_gone()

    def data_received(self, data: bytes) -> None:
        """Read a request that came whole at once, or have llhttp parse."""
        if self._deaf:
            return
        between = not (self._in_head or self.paused or self.turn or self._reading)
        if between and self._take_whole(data):
            return
        self._wire += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserUpgrade:
            self._deaf = True  # the protocol is not switched: the request was taken as it is
        except httptools.HttpParserError as error:
            self._refuse((400, f"this is not a request of HTTP/1.1: {error}", _SEND_VALID))
        if self._in_head or self._reading is not None:
            self._check_wire()

    def _take_whole(self, data: bytes) -> bool:
        """Take one request that these bytes hold exactly; False leaves them to llhttp."""
        head, separator, body = data.partition(b"\r\n\r\n")
        size, limits = len(body), self.server.limits
        if not separator or len(head) > limits.head or size > _UNREMARKABLE or size > limits.body:
            return False
        read = read_request(head)
        if read is None:
            return False
        (method, path, query), headers = read
        if int(headers.get(b"content-length", b"0")) != size or len(headers) > limits.headers:
            return False
        self.turn = exchange = Exchange(
            self, method, path, query, headers, limits.body, body, size, True
        )
        exchange.handed = True
        self._handle(exchange)
        return True

    def eof_received(self) -> bool:
        """The client sends no more: what it asked is still answered, then the connection ends."""
        self._deaf = True
        last = self.waiting[-1] if self.waiting else self.turn
        if last and last.complete:
            last.keep_alive = False
            return True
        return False

    def pause_writing(self) -> None:
        """The client takes its answer slower than it is made."""
        self._flow(False)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._flow(True)

    def _flow(self, going: bool) -> None:
        self.paused = not going
        self.since = self.server.loop.time()
        if self.turn and self.turn.on_flow:
            self.turn.on_flow(going)
        if going:
            self.advance()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """A request's first byte."""
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header line; or a trailer, which lands in a head that is thrown away."""
        name = name.lower()
        if value.endswith(_BLANKS):
            value = value.rstrip(b" \t")
        if name not in self._head:
            self._head[name] = value
        elif name in _SINGLE:
            self._refuse((400, f"the header {name.decode()} is there twice", "send it once"))
        elif value:  # an empty element of a list says nothing (RFC 9110, 5.6.1)
            self._head[name] += (b"; " if name == b"cookie" else b", ") + value

    def on_headers_complete(self) -> None:
        """The head is whole: refuse it, or take the exchange in."""
        target, headers = self._target, self._head
        self._in_head, self._target, self._head = False, b"", {}
        if self._deaf:
            return
        server = self.server
        path, _, query = target.partition(b"?")
        method = self.parser.get_method()
        exchange = Exchange(self, method, path, query, headers, server.limits.body)
        self._reading = exchange
        if self.turn is None:
            self.turn = exchange
        else:
            self.waiting.append(exchange)
        fault = self._head_fault(exchange, target)
        if fault:
            self._refuse(fault)
        elif b"content-length" in headers or b"transfer-encoding" in headers:
            self._expect_body(exchange)

    def on_body(self, chunk: bytes) -> None:
        """A part of the body."""
        exchange = self._reading
        if exchange is not None and not exchange.receive(chunk):
            self._refuse_body(exchange)

    def on_message_complete(self) -> None:
        """The request is whole: handle it if it is its turn."""
        exchange, self._reading = self._reading, None
        self._wire = 0
        if exchange is None:
            return
        exchange.received()
        if self._head:  # trailers
            self._head = {}
        if not exchange.keep_alive:
            self._deaf = True
        if exchange is self.turn:
            self.advance()
        elif not self._paused_reading:
            self._paused_reading = True
            self.transport.pause_reading()

    # Faults of a request.

    def _head_fault(self, exchange: Exchange, target: bytes) -> Fault | None:
        """What llhttp lets pass and the limits or RFC 9112 do not."""
        headers, limits = exchange.headers, self.server.limits
        if len(headers) > limits.headers or (
            self._wire > limits.head and _size(target, headers) > limits.head
        ):
            return _HEAD_TOO_LARGE
        if target[0] != _SLASH or b"#" in target:
            return 400, "the target is no path", "ask for a path that starts with /"
        if _UNUSUAL.isdisjoint(headers) and self.parser.should_keep_alive():
            # Without a Connection header, only HTTP/1.1 keeps alive: the version is known too.
            return None if headers.get(b"host") else _NO_HOST
        return self._unusual_fault(exchange)

    def _unusual_fault(self, exchange: Exchange) -> Fault | None:
        headers, version = exchange.headers, self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            return 505, f"HTTP/{version} is not spoken here", "use HTTP/1.1"
        exchange.chunkable = version == "1.1"
        # An offered upgrade is not taken up (RFC 9110, 7.8), and nothing may follow it.
        if not exchange.chunkable or b"upgrade" in headers or not self.parser.should_keep_alive():
            exchange.keep_alive = False
        if exchange.chunkable and not headers.get(b"host"):
            return _NO_HOST
        if headers.get(b"expect", b"100-continue").lower() != b"100-continue":
            return 417, "only 100-continue can be expected", "leave the Expect header out"
        return self._framing_fault(exchange)

    def _framing_fault(self, exchange: Exchange) -> Fault | None:
        headers = exchange.headers
        coding = headers.get(b"transfer-encoding")
        if coding is not None and (coding.lower() != b"chunked" or not exchange.chunkable):
            return 400, "the transfer coding is not supported", "send chunked over HTTP/1.1"
        if b"upgrade" in headers and (coding or b"content-length" in headers):
            return 400, "a request to upgrade has a body", "leave the Upgrade header out"
        return None

    def _expect_body(self, exchange: Exchange) -> None:
        length = int(exchange.headers.get(b"content-length", _UNKNOWN_LENGTH))
        if length > _UNREMARKABLE and self.server.admit:
            self.server.admit(exchange)
        if exchange.started:
            self._deaf, self._reading = True, None
        elif length > exchange.limit and b"content-length" in exchange.headers:
            self._refuse_body(exchange)
        elif exchange is self.turn:
            self._continue(exchange)

    def _continue(self, exchange: Exchange) -> None:
        """Tell a client that waits for it to go on; one that is not in turn is told in its turn."""
        if b"expect" in exchange.headers and not exchange.size:
            self.transport.write(_CONTINUE)

    def _refuse_body(self, exchange: Exchange) -> None:
        self._refuse((413, f"the body is over {exchange.limit} bytes", "send less at once"))

    def _check_wire(self) -> None:
        """Bounds on what the parser holds without telling: an endless head, endless framing."""
        if self.since_count != self.count + 1:  # the clock of this request starts now
            self.since_count = self.count + 1
            self.since = self.server.loop.time()
        if self._in_head:
            if self._wire > self.server.limits.head:
                self._refuse(_HEAD_TOO_LARGE)
        elif self._reading and self._wire > _FRAMING_PER_BYTE * self._reading.size + _FRAMING_SLACK:
            self._refuse((400, "the chunks are mostly framing", "send larger chunks"))

    def _refuse(self, fault: Fault) -> None:
        """Refuse what is being read and listen no more; answers before it still go out."""
        if self._deaf:
            return
        self._deaf, self._in_head = True, False
        exchange, self._reading = self._reading, None
        if exchange is None:
            exchange = Exchange(self, b"", b"", b"", {}, 0)
            if self.turn is None:
                self.turn = exchange
            else:
                self.waiting.append(exchange)
        if not exchange.started:
            status, what, do = fault
            exchange.refuse(status, what, do=do)

    # Answers, in order.

    def advance(self) -> None:
        """Go on with the exchange whose turn it is; called whenever one may have ended."""
        if self._advancing:  # answered within its handler: the loop below sees it
            return
        exchange = self.turn
        following = self.waiting or self.server.draining
        if exchange is not None and exchange.answered and exchange.keep_alive and not following:
            self.turn = None  # the usual: nothing follows but the client's next request
            self.count += 1
            return
        self._advancing = True
        while exchange is not None:
            if exchange.answered:
                exchange = self._after(exchange)
            elif exchange.complete and not exchange.handed and not self.paused:
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

    def _after(self, last: Exchange) -> Exchange | None:
        """The exchange whose turn is next."""
        self.count += 1
        if not last.keep_alive:
            self.turn = None
            self.waiting.clear()
            self._close(last)
        elif not self.waiting:
            self.turn = None
            if self.server.draining and not self._in_head:
                self.transport.close()
        else:
            self.turn = self.waiting.popleft()
            self.turn.release()
            if not self.turn.complete and not self.turn.started:
                self._continue(self.turn)
        if self._paused_reading and not self.waiting and not self._deaf:
            self._paused_reading = False
            self.transport.resume_reading()
        return self.turn

    def _close(self, last: Exchange) -> None:
        """Close after the last answer; a client still sending gets time to read it."""
        self._deaf = True
        if last.complete or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.lingering = True
        self.since = self.server.loop.time()
        self.transport.write_eof()
        if self._paused_reading:
            self.transport.resume_reading()

    # Time.

    @property
    def idle(self) -> bool:
        """Whether nothing is being read or answered."""
        return self.turn is None and not self._in_head

    def check_time(self, now: float) -> None:
        """Cut off, or refuse, a client that has used up its time."""
        limits, waited = self.server.limits, now - self.since
        if self.lingering:
            late = waited > limits.linger_seconds
        elif self.paused:
            late = waited > limits.write_seconds
        elif self._in_head or self._reading is not None:
            late = False
            if waited > limits.read_seconds + self._wire / limits.min_rate:
                self._refuse((408, "the request took too long to arrive", "send it faster"))
        elif self.turn is not None:
            late = False  # the handler's own time budget counts
        elif self.since_count != self.count:  # it was busy since the last look
            self.since_count, self.since, late = self.count, now, False
        else:
            late = waited > limits.idle_seconds
        if late:
            self.transport.abort()


def _size(target: bytes, headers: dict[bytes, bytes]) -> int:
    return len(target) + sum(len(name) + len(value) + 4 for name, value in headers.items())
