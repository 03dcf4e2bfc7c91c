"""HTTP/1.1: what is refused, what is answered, in which order, and when a client is cut off."""

import asyncio
import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.serving.connection import Connection, Limits
from slipway.serving.exchange import header_lines
from slipway.serving.http1 import Server

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"


class Wire:
    """A transport that keeps what is written to it."""

    def __init__(self):
        self.out, self.closed, self.ended, self.reading = b"", False, False, True

    def write(self, data):
        """Keep."""
        assert not self.closed
        self.out += data

    def close(self):
        """Close."""
        self.closed = True

    abort = close

    def can_write_eof(self):
        """As TCP can."""
        return True

    def write_eof(self):
        """End the writing side."""
        self.ended = True

    def pause_reading(self):
        """Read no more for now."""
        self.reading = False

    def resume_reading(self):
        """Read on."""
        self.reading = True


def echo(exchange):
    """Answer with what was asked."""
    exchange.respond(200, exchange.method + b" " + exchange.path + b" " + exchange.body)


def talk(*chunks, handler=echo, admit=None, after=None, **limits):
    """What a connection makes of some chunks of bytes: the wire, after everything is said."""
    wire = Wire()

    async def main():
        server = Server(handler, admit, Limits(**limits))
        connection = Connection(server)
        connection.connection_made(wire)
        for chunk in chunks:
            connection.data_received(chunk)
        if after:
            after(connection)
        server.stop_clock()

    asyncio.run(main())
    return wire


def statuses(wire):
    """The statuses of all answers, in order."""
    return [int(s) for s in re.findall(rb"HTTP/1\.1 (\d+) ", wire.out)]


def request(*lines, body=b""):
    """A request of raw lines."""
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


SMUGGLING = {
    "two lengths": request(
        b"POST / HTTP/1.1", b"Host: x", b"Content-Length: 3", b"Content-Length: 3", body=b"abc"
    ),
    "two different lengths": request(
        b"POST / HTTP/1.1", b"Host: x", b"Content-Length: 3", b"Content-Length: 4", body=b"abcd"
    ),
    "a list of lengths": request(
        b"POST / HTTP/1.1", b"Host: x", b"Content-Length: 3, 3", body=b"abc"
    ),
    "length and chunked": request(
        b"POST / HTTP/1.1", b"Host: x", b"Content-Length: 3", b"Transfer-Encoding: chunked"
    ),
    "chunked and length": request(
        b"POST / HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked", b"Content-Length: 3"
    ),
    "length with a sign": request(
        b"POST / HTTP/1.1", b"Host: x", b"Content-Length: +3", body=b"abc"
    ),
    "negative length": request(b"POST / HTTP/1.1", b"Host: x", b"Content-Length: -3"),
    "hexadecimal length": request(
        b"POST / HTTP/1.1", b"Host: x", b"Content-Length: 0x3", body=b"abc"
    ),
    "empty length": request(b"POST / HTTP/1.1", b"Host: x", b"Content-Length: "),
    "length with a blank": request(b"POST / HTTP/1.1", b"Host: x", b"Content-Length: 3 4"),
    "length beyond 64 bits": request(
        b"POST / HTTP/1.1", b"Host: x", b"Content-Length: " + b"9" * 30
    ),
    "unknown coding": request(b"POST / HTTP/1.1", b"Host: x", b"Transfer-Encoding: xchunked"),
    "chunked is not last": request(
        b"POST / HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked, gzip"
    ),
    "a coding before chunked": request(
        b"POST / HTTP/1.1", b"Host: x", b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"
    ),
    "two codings": request(
        b"POST / HTTP/1.1", b"Host: x", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"
    ),
    "chunked in HTTP/1.0": request(
        b"POST / HTTP/1.0", b"Host: x", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "bare line feeds": b"GET / HTTP/1.1\nHost: x\n\n",
    "a bare line feed after a header": b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
    "a bare line feed at the end": b"GET / HTTP/1.1\r\nHost: x\r\n\n",
    "a bare carriage return": b"GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n z\r\n\r\n",
    "a header folded by a tab": b"GET / HTTP/1.1\r\nHost: x\r\nX: y\r\n\tz\r\n\r\n",
    "a blank before the first header": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "a blank before the colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "a tab before the colon": b"GET / HTTP/1.1\r\nHost\t: x\r\n\r\n",
    "a blank in a name": b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
    "an empty name": b"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "a null byte": b"GET / HTTP/1.1\r\nHost: x\x00y\r\n\r\n",
    "a control byte": b"GET / HTTP/1.1\r\nHost: x\x01y\r\n\r\n",
    "a vertical tab": request(b"POST / HTTP/1.1", b"Host: x", b"Transfer-Encoding:\x0bchunked"),
    "two hosts": request(b"GET / HTTP/1.1", b"Host: x", b"Host: y"),
    "no host": request(b"GET / HTTP/1.1", b"X: y"),
    "an empty host": request(b"GET / HTTP/1.1", b"Host: "),
    "two content types": request(
        b"POST / HTTP/1.1", b"Host: x", b"Content-Type: a/b", b"Content-Type: c/d"
    ),
    "a blank in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a fragment in the target": b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a whole address as the target": b"GET http://x/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "a star as the target": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "a high byte in the target": b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tab after the method": b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "an unknown method": b"FOO / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a lower-case protocol": b"GET / http/1.1\r\nHost: x\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\nHost: x\r\n\r\n",
    "a tunnel": b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS where there is none": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an upgrade with a body": request(
        b"POST / HTTP/1.1",
        *(b"Host: x", b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 3"),
        body=b"abc",
    ),
}

CHUNKED = b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
BAD_CHUNKS = {
    "hexadecimal prefix": b"0x3\r\nabc\r\n0\r\n\r\n",
    "negative size": b"-3\r\nabc\r\n0\r\n\r\n",
    "size with a blank": b"3 \r\nabc\r\n0\r\n\r\n",
    "size with a sign": b"+3\r\nabc\r\n0\r\n\r\n",
    "no size": b"\r\nabc\r\n0\r\n\r\n",
    "size beyond 64 bits": b"f" * 17 + b"\r\nabc\r\n0\r\n\r\n",
    "bare line feeds": b"3\nabc\n0\n\n",
    "a bare line feed in an extension": b"3;a\nabc\r\n0\r\n\r\n",
    "no line end after the data": b"3\r\nabcX0\r\n\r\n",
    "a length among the trailers": b"3\r\nabc\r\n0\r\nContent-Length: 4\r\n\r\n",
}


@pytest.mark.parametrize("name", SMUGGLING)
def test_what_could_smuggle_is_refused_and_the_connection_closed(name):
    """Every malformed request gets one 400 and nothing after it is read."""
    wire = talk(SMUGGLING[name] + GET)
    assert statuses(wire) == [400]
    assert wire.closed or wire.ended
    assert b"connection: close" in wire.out


@pytest.mark.parametrize("name", BAD_CHUNKS)
def test_bad_chunks_are_refused(name):
    """Every malformed chunk gets one 400; the request never reaches the handler."""
    seen = []
    wire = talk(CHUNKED + BAD_CHUNKS[name] + GET, handler=seen.append)
    assert statuses(wire) == [400]
    assert seen == []
    assert wire.closed or wire.ended


@pytest.mark.parametrize("version", [b"HTTP/0.9", b"HTTP/2.0"])
def test_another_version_is_refused_by_its_name(version):
    """A version that is not spoken gets 505."""
    assert statuses(talk(b"GET / " + version + b"\r\nHost: x\r\n\r\n")) == [505]


def test_an_error_says_what_and_what_to_do():
    """A refusal's body is JSON with what, where and do."""
    wire = talk(SMUGGLING["two lengths"])
    error = json.loads(wire.out.partition(b"\r\n\r\n")[2])["error"]
    assert "Content-Length" in error["what"]
    assert error["do"]


def test_requests_in_one_packet_are_answered_in_order():
    """Pipelined requests are all answered, in the order in which they came."""
    wire = talk(GET + POST + GET)
    assert statuses(wire) == [200, 200, 200]
    assert re.findall(rb"\r\n\r\n(GET|POST)", wire.out) == [b"GET", b"POST", b"GET"]
    assert not wire.closed


def test_a_slow_answer_holds_back_the_next():
    """The second request is handled only after the first has its answer."""
    handled = []

    def later(connection):
        assert [x.path for x in handled] == [b"/1"]
        handled[0].respond(200, b"one")
        assert [x.path for x in handled] == [b"/1", b"/2"]
        handled[1].respond(200, b"two")

    two = GET.replace(b"/a", b"/1") + GET.replace(b"/a", b"/2")
    wire = talk(two, handler=handled.append, after=later)
    assert wire.out.index(b"one") < wire.out.index(b"two")
    assert wire.reading


def test_a_refusal_waits_for_the_answers_before_it():
    """A bad request behind a good one is refused after the good one's answer."""
    handled = []
    wire = talk(
        GET + b"BAD\r\n\r\n",
        handler=handled.append,
        after=lambda connection: handled[0].respond(200, b"fine"),
    )
    assert statuses(wire) == [200, 400]
    assert wire.closed or wire.ended


@given(st.lists(st.integers(1, len(GET + POST + GET) - 1), max_size=6))
def test_where_packets_are_cut_changes_nothing(cuts):
    """However the bytes are cut into packets, the answers are the same."""
    whole = GET + POST + GET
    edges = [0, *sorted(set(cuts)), len(whole)]
    parts = [whole[a:b] for a, b in itertools.pairwise(edges)]

    def bodies(wire):
        return re.findall(rb"\r\n\r\n([A-Z]+ /a [a-z]*)", wire.out)

    assert bodies(talk(*parts)) == bodies(talk(whole)) == [b"GET /a ", b"POST /a abc", b"GET /a "]


def test_an_empty_line_adds_nothing_to_a_repeated_header():
    """Repeated lines are one list; one without a value leaves no stray comma or blank behind."""
    seen = []
    talk(
        request(b"GET / HTTP/1.1", b"Host: x", b"A: b", b"A:", b"A: c", b"A: "), handler=seen.append
    )
    assert seen[0].headers[b"a"] == b"b, c"


def test_chunks_are_joined_and_trailers_left_out():
    """A chunked body arrives whole, and a trailer never becomes a header."""
    seen = []

    def handler(exchange):
        seen.append((exchange.body, dict(exchange.headers)))
        echo(exchange)

    body = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Late: 1\r\n\r\n"
    wire = talk(CHUNKED + body + GET, handler=handler)
    assert statuses(wire) == [200, 200]
    assert seen[0][0] == b"abcde"
    assert b"x-late" not in seen[0][1] and b"x-late" not in seen[1][1]


def test_a_waiting_client_is_told_to_go_on():
    """Expect: 100-continue gets 100 before its body and 200 after it."""
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    assert statuses(talk(head)) == [100]
    assert statuses(talk(head, b"abc")) == [100, 200]
    assert statuses(talk(head.replace(b"100-continue", b"tea"))) == [417]


def test_a_waiting_client_with_too_much_is_not_told_to_go_on():
    """Expect: 100-continue with a body over the limit gets 413 and no 100."""
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3000\r\n\r\n"
    assert statuses(talk(head, body=100)) == [413]


def test_head_is_answered_without_a_body():
    """HEAD gets the length of the body and not the body."""
    wire = talk(GET.replace(b"GET", b"HEAD") + GET)
    first, _, rest = wire.out.partition(b"\r\n\r\n")
    assert b"content-length: 8" in first
    assert rest.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("asked", "limits"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 5000 + b"\r\n\r\n", {"head": 4096}),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 5000, {"head": 4096}),
        (b"GET /" + b"y" * 5000, {"head": 4096}),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(9)) + b"\r\n",
         {"headers": 8}),
    ],
)  # fmt: skip
def test_large_heads_are_refused(asked, limits):
    """A head over a limit gets 431, also while it is still on its way."""
    wire = talk(asked, **limits)
    assert statuses(wire) == [431]


def test_large_bodies_are_refused_before_they_are_read():
    """A declared length over the limit gets 413 at once, and what follows is thrown away."""
    wire = talk(
        b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n", b"x" * 1000, body=99
    )
    assert statuses(wire) == [413]
    assert wire.ended and not wire.closed  # the client gets time to read the refusal


def test_large_chunked_bodies_are_refused_at_the_limit():
    """A chunked body gets 413 as soon as it is over the limit."""
    wire = talk(CHUNKED, *[b"40\r\n" + b"x" * 64 + b"\r\n"] * 4, body=200)
    assert statuses(wire) == [413]


def test_endless_framing_is_refused():
    """A body of tiny chunks with long extensions is cut off: it costs more than it brings."""
    chunk = b"1;" + b"e" * 8000 + b"\r\nx\r\n"
    assert statuses(talk(CHUNKED, *[chunk] * 40)) == [400]


def test_admission_can_refuse_before_the_body():
    """``admit`` sees large requests before their body, and may answer or raise the limit."""
    head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    assert statuses(talk(head, admit=lambda x: x.refuse(403, "no"))) == [403]

    def raise_limit(exchange):
        exchange.limit = 200_000

    wire = talk(head, b"x" * 100_000, admit=raise_limit, body=1000)
    assert statuses(wire) == [200]


def test_http_1_0_is_answered_and_closed():
    """A client of HTTP/1.0 gets its answer, unchunked, and the connection ends."""

    def stream(exchange):
        exchange.start(200)
        exchange.write(b"abc")
        exchange.end()

    wire = talk(b"GET / HTTP/1.0\r\n\r\n", handler=stream)
    assert wire.out.endswith(b"\r\n\r\nabc")
    assert wire.closed


def test_an_offered_upgrade_is_ignored():
    """A request that offers to upgrade is answered as HTTP/1.1 and then closed."""
    wire = talk(
        b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"
    )
    assert statuses(wire) == [200]
    assert wire.closed


def test_streams_are_sent_in_chunks():
    """A streamed answer without a length is chunked and ended; HEAD gets only its head."""

    def stream(exchange):
        exchange.start(200, header_lines({"x-a": "b"}))
        exchange.write(b"abc")
        exchange.write(b"")
        exchange.end()

    wire = talk(GET + GET.replace(b"GET", b"HEAD") + GET, handler=stream)
    assert wire.out.count(b"3\r\nabc\r\n0\r\n\r\n") == 2
    assert statuses(wire) == [200, 200, 200]


def test_a_failing_handler_is_answered_for():
    """What a handler raises becomes 500 for its request and touches no other."""

    def fail(exchange):
        if exchange.body:
            raise ValueError("on purpose")
        echo(exchange)

    assert statuses(talk(GET + POST + GET, handler=fail)) == [200, 500, 200]


def test_answering_twice_is_an_error_of_the_program():
    """The second answer to one request raises and is not sent."""

    def twice(exchange):
        exchange.respond(200)
        exchange.respond(200)

    assert statuses(talk(GET, handler=twice)) == [200]


def test_too_many_connections_are_turned_away():
    """A connection over the limit gets 503."""
    assert statuses(talk(connections=0)) == [503]


def cut_off(*chunks, seconds, handler=echo, paused=False, **limits):
    """The wire of a connection whose clock is looked at some seconds after its last byte."""

    def look(connection):
        if paused:
            connection.pause_writing()
        now = connection.server.loop.time()
        connection.check_time(now)
        connection.check_time(now + seconds)

    return talk(*chunks, after=look, handler=handler, **limits)


def test_a_slow_sender_is_refused():
    """A request that takes too long to arrive gets 408; one still within its time does not."""
    half = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Le"
    assert statuses(cut_off(half, seconds=30, read_seconds=20)) == [408]
    assert statuses(cut_off(half, seconds=10, read_seconds=20)) == []
    body = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"
    assert statuses(cut_off(body, seconds=30, read_seconds=20)) == [408]


def test_an_idle_connection_is_closed_silently():
    """A connection on which nothing comes is closed after the idle time, and not before."""
    assert cut_off(GET, seconds=80, idle_seconds=75).closed
    assert not cut_off(GET, seconds=60, idle_seconds=75).closed


def test_a_request_under_way_is_not_cut_off():
    """However long the handler takes, the connection waits for it."""
    assert not cut_off(GET, seconds=1e6, handler=lambda x: None).closed


def test_a_client_that_does_not_read_is_cut_off():
    """A client that takes nothing of its answer is closed after the write time."""
    assert cut_off(GET, seconds=40, paused=True, write_seconds=30).closed


def test_a_client_that_leaves_is_told_to_the_handler():
    """``on_gone`` is called once, and answering afterwards does nothing."""
    told = []

    def handler(exchange):
        exchange.on_gone = lambda: told.append(exchange)

    def leave(connection):
        connection.connection_lost(None)
        told[0].respond(200, b"too late")

    wire = talk(GET, handler=handler, after=leave)
    assert len(told) == 1
    assert wire.out == b""


def test_a_header_cannot_break_its_line():
    """Rendering refuses line breaks and null bytes."""
    assert header_lines({"a": "b", "c": "d"}) == b"a: b\r\nc: d\r\n"
    for value in ("x\r\ny: z", "x\ny", "x\0"):
        with pytest.raises(ValueError, match="line break"):
            header_lines({"a": value})
