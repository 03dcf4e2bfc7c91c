"""Heads read by remembering: what is understood there, llhttp understands in the same way."""

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from slipway.serving.heads import read_answer, read_request

NAMES = st.sampled_from(
    [
        b"X-Unit",
        b"x-unit",
        b"Accept",
        b"Cookie",
        b"Content-Length",
        b"Connection",
        b"Expect",
        b"a b",
    ]
)
TEXT = st.text("aZ09 \t:;,=\x00\x01\x0b\x7f\x80\xe9\r\n", max_size=8).map(
    lambda text: text.encode("latin-1")
)
VALUES = st.one_of(TEXT, st.sampled_from([b"5", b"0", b"+5", b"close", b"keep-alive", b"K", b""]))
LINES = st.tuples(NAMES, st.sampled_from([b": ", b":", b" : ", b":\t", b":  "]), VALUES)


class Judge:
    """What llhttp makes of a head, as `slipway.serving.connection` reads it."""

    def __init__(self, head: bytes):
        self.target, self.pairs, self.complete = b"", [], False
        self.parser = httptools.HttpRequestParser(self)
        try:
            self.parser.feed_data(head + b"\r\n\r\n")
        except httptools.HttpParserError:
            self.complete = False

    def on_url(self, url):
        """A part of the target."""
        self.target += url

    def on_header(self, name, value):
        """A header, whose value may have kept blanks at its end."""
        self.pairs.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self):
        """The head is whole, and good."""
        self.complete = True


@given(st.lists(LINES.map(b"".join), max_size=5))
@example([b"X-Unit: N1", b"X-Unit:N2"])
@example([b"X-Unit: a\x01b"])
@example([b"X-Unit: a\nb: c"])
def test_a_head_is_understood_as_llhttp_does_or_left_to_it(lines):
    """For any lines, known by name or new: the same method, target and headers, or none."""
    for known in ([], [b"X-Unit: known", b"Accept: known", b"x-unit: known"]):
        for line in known:  # from here on these names are remembered
            assert read_request(b"GET / HTTP/1.1\r\nHost: x\r\n" + line) is not None
        head = b"\r\n".join([b"POST /a?b HTTP/1.1", b"Host: x", *lines])
        read = read_request(head)
        if read is None:
            continue
        judge = Judge(head)
        assert judge.complete
        assert (judge.parser.get_method(), judge.target) == (b"POST", b"/a?b")
        assert judge.parser.should_keep_alive()
        (method, path, query), headers = read
        assert (method, path, query) == (b"POST", b"/a", b"b")
        assert sorted(headers.items()) == sorted(judge.pairs)


def test_a_new_value_of_a_known_name_is_understood():
    """What carries something new each time is read too, without being remembered whole."""
    for unit in (b"N1", b"N2"):
        read = read_request(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slipway-Unit: " + unit)
        assert read is not None
        assert read[1][b"x-slipway-unit"] == unit


@pytest.mark.parametrize(
    "line",
    [
        *(b"Transfer-Encoding: chunked", b"Connection: close", b"Content-Length: 1x", b"no colon"),
        *(
            b"X-Unit : a",
            b" X-Unit: a",
            b"X-Unit: a\x00",
            b"Expect: 100-continue",
            b"X-Unit: \xff\n",
        ),
    ],
)
def test_what_is_unusual_is_left_to_llhttp(line):
    """Neither a request nor an answer with such a line is read here, however often it comes."""
    read_request(b"GET / HTTP/1.1\r\nHost: x\r\nX-Unit: a\r\nConnection: keep-alive")
    for _ in range(2):
        assert read_request(b"GET / HTTP/1.1\r\nHost: x\r\n" + line) is None
        assert read_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n" + line) is None
