"""Mutated requests, and what a connection makes of them: the material of the fuzzer's laws."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from slipway.serving.connection import Connection
from slipway.serving.exchange import Exchange
from slipway.serving.http1 import Server

CHUNKED = b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
SEEDS = [
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /a?b=c HTTP/1.0\r\n\r\n",
    b"HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    b"PUT /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab",
    b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\nCookie: c=d\r\nX: \xc3\xa9\r\n\r\n",
    CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
    CHUNKED + b"3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: y\r\n\r\n",
    CHUNKED.replace(b"Host: x", b"Host: x\r\nContent-Length: 3") + b"0\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n",
]
PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b";", b",", b"\x0b", b"\x7f", b"\xff", b"#"),
    *(b"\r\n\r\n", b"\n\n", b"0\r\n\r\n", b"3\r\nabc\r\n", b"-1\r\n", b"+3\r\n", b"0x3\r\n", b"0;"),
    *(
        b"ffffffffffffffff\r\n",
        b"00000003\r\n",
        b" 3\r\n",
        b"3 \r\n",
        b"%00",
        b"%0d%0a",
        b"?",
        b"/",
    ),
    *(b"Content-Length: 3\r\n", b"content-length:3\r\n", b"Content-Length : 3\r\n"),
    *(b"Content-Length: 03\r\n", b"Content-Length: 3, 3\r\n", b"Content-Length: 99\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:\tchunked\r\n", b"TE: trailers\r\n"),
    *(b"Transfer-Encoding: Chunked, identity\r\n", b"Transfer_Encoding: chunked\r\n"),
    *(b"Host: y\r\n", b"Connection: close\r\n", b"Connection: te, close\r\n", b"Upgrade: x\r\n"),
    *(b"Expect: 100-continue\r\n", b"Expect: 200-ok\r\n", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n"),
    *(b" HTTP/2.0\r\n", b" http/1.1\r\n", b"GET ", b"CONNECT x:1", b"OPTIONS *", b"http://x/"),
    *(b"X: " + b"y" * 700 + b"\r\n", b"X:\r\n", b": y\r\n", b"X: y \r\n", b"X: \t\r\n"),
]
STATUS = re.compile(rb"HTTP/1\.1 ([2-5]\d\d) ")


def mutated(chance: random.Random) -> bytes:
    """A few seeds in a row, with a few mutations."""
    data = bytearray(b"".join(chance.choices(SEEDS, k=chance.choice((1, 1, 2, 3)))))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 5))):
        at = chance.randrange(len(data) + 1)
        kind = chance.randrange(6)
        if kind < 2:
            data[at:at] = chance.choice(PIECES)
        elif kind == 2:  # a whole line, where one begins
            begins = data.find(b"\r\n", at) + 2
            data[begins:begins] = chance.choice(PIECES)
        elif kind == 3:
            del data[at : at + chance.choice((1, 1, 2, 7))]
        elif kind == 4 and at < len(data):
            data[at] = chance.randrange(256)
        else:
            end = min(len(data), at + chance.randrange(40))
            data[at:at] = data[at:end]
    return bytes(data)


class Wire:
    """A transport that keeps what is written to it, as far as anybody could read it."""

    def __init__(self) -> None:
        self.out = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        """Keep."""
        assert not self.closed
        self.out += data

    def close(self) -> None:
        """Close."""
        self.closed = True

    abort = close

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

    def write_eof(self) -> None:
        """End the writing side."""

    def pause_reading(self) -> None:
        """Read no more for now."""

    resume_reading = pause_reading


@dataclass
class Outcome:
    """What a connection made of some bytes.

    Attributes:
        taken: the requests that reached the handler.
        statuses: of all answers, in order.
        closed: whether the connection listens no more.
    """

    taken: list[tuple[object, ...]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    closed: bool = False


def outcome(server: Server, pieces: list[bytes], late: bool = False) -> Outcome:
    """Feed a fresh connection and see.

    Args:
        late: whether the handler answers only when everything has been fed.
    """
    found, wire, waiting = Outcome(), Wire(), []

    def handle(exchange: Exchange) -> None:
        e = exchange
        assert not {b"content-length", b"transfer-encoding"} <= e.headers.keys(), e.headers
        headers = tuple(sorted(e.headers.items()))
        found.taken.append((e.method, e.path, e.query, headers, e.body, e.chunkable))
        if late:
            waiting.append(exchange)
        else:
            exchange.respond(200, b"ok")

    server.handler = handle
    connection = Connection(server)
    connection.connection_made(wire)  # type: ignore[arg-type]
    for piece in pieces:
        if not wire.closed:
            connection.data_received(piece)
    while waiting:
        waiting.pop(0).respond(200, b"ok")
    out = bytes(wire.out)
    assert b"callback" not in out, out  # an exception within a callback reads as a bad request
    found.statuses = [int(status) for status in STATUS.findall(out)]
    found.closed = wire.closed or connection._deaf
    connection.connection_lost(None)
    return found


def written(taken: tuple[object, ...]) -> bytes:
    """A request that was taken, written in the one plain way."""
    method, path, query, headers, body, modern = taken
    target = path + (b"?" + query if query else b"")
    lines = [b"%b %b HTTP/1.%d" % (method, target, modern)]
    framing = (b"content-length", b"transfer-encoding")
    lines += [b"%b: %b" % pair for pair in headers if pair[0] not in framing]
    lines += [b"content-length: %d" % len(body)] * any(name in framing for name, _ in headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def plain(taken: tuple[object, ...]) -> tuple[object, ...]:
    """What a request means, whatever its framing and an empty query's mark."""
    method, path, query, headers, body, modern = taken
    framing = (b"content-length", b"transfer-encoding")
    return method, path, query, [p for p in headers if p[0] not in framing], body, modern
