"""Heads of requests and answers that came whole, read by remembering the lines seen before.

Clients and servers send the same header lines again and again. A line that has been checked once
against the grammar (RFC 9110, 5.5; RFC 9112, 5) is remembered with its meaning, so that reading a
head is a few look-ups. Lines that carry something new each time (a unit, an id) would only push
others out: of their kind the name is remembered, and the value is looked through. Whatever is
unusual (another version, a transfer coding, an expectation, a
repeated or malformed line) is not understood here and left to llhttp, which judges everything.
What is understood here, llhttp understands in the same way; a test holds them together.
"""

from __future__ import annotations

import re
from typing import TypeVar

Pair = tuple[bytes, bytes]
Line = tuple[bytes, bytes, bytes]
Headers = dict[bytes, bytes]
Meaning = TypeVar("Meaning")

_REMEMBERED = 4096
_LONGEST = 512

_request_line = re.compile(
    rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[A-Za-z0-9/._~:@!$&'()*+,;=%?-]*) HTTP/1\.1"
).fullmatch
_status_line = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [\t\x20-\x7e]*)?").fullmatch
_header_line = re.compile(
    rb"([A-Za-z0-9!#$%&'*+.^_`|~-]+):[ \t]*([\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*"
    rb"[\x21-\x7e\x80-\xff])?)?[ \t]*"
).fullmatch
_digits = re.compile(rb"[0-9]{1,15}").fullmatch
_PLAIN = bytes(range(0x21, 0x7F))

_LEFT_TO_LLHTTP = frozenset((b"transfer-encoding", b"upgrade", b"expect", b"te", b"trailer"))
_JUDGED_BY_VALUE = frozenset((b"content-length", b"connection"))
_NO_BODY = (204, 304)


class _NotUnderstoodError(Exception):
    """A line that is left to llhttp."""


class _Lines(dict[bytes, Pair]):
    """Header lines seen before; one not seen yet is read when it is asked for."""

    def __missing__(self, line: bytes) -> Pair:
        start, _, value = line.partition(b": ")
        name = _names.get(start)
        if name is not None and value and not value.translate(None, _PLAIN):
            return name, value
        return _learn_header(line)


_request_lines: dict[bytes, Line] = {}
_names: dict[bytes, bytes] = {}
_header_lines = _Lines()
_known_line = _header_lines.__getitem__
_answers: dict[bytes, tuple[int, Headers, int]] = {}


def read_request(head: bytes) -> tuple[Line, Headers] | None:
    """Read a request's head, without its last empty line.

    Returns:
        Method, path and query, and the headers by lower-case name; None where it is left to llhttp.
    """
    first, *lines = head.split(b"\r\n")
    line = _request_lines.get(first) or _learn_request(first)
    headers = _headers(lines)
    if line is None or headers is None or not headers.get(b"host"):
        return None
    return line, headers


def read_answer(head: bytes) -> tuple[int, Headers, int] | None:
    """Read an answer's head: its status, headers and length; None where it is left to llhttp.

    The headers are shared with later answers: they must not be changed.
    """
    return _answers.get(head) or _learn_answer(head)


def _headers(lines: list[bytes]) -> Headers | None:
    try:
        headers = dict(map(_known_line, lines))
    except _NotUnderstoodError:
        return None
    return headers if len(headers) == len(lines) else None


def _learn_request(line: bytes) -> Line | None:
    match = _request_line(line)
    if match is None:
        return None
    path, _, query = match[2].partition(b"?")
    read = (match[1], path, query)
    _remember(_request_lines, line, read)
    return read


def _learn_header(line: bytes) -> Pair:
    match = _header_line(line)
    if match is None:
        raise _NotUnderstoodError
    name, value = match[1].lower(), match[2] or b""
    if name in _LEFT_TO_LLHTTP or (name == b"content-length" and not _digits(value)):
        raise _NotUnderstoodError
    if name == b"connection" and value.lower() != b"keep-alive":
        raise _NotUnderstoodError
    pair = (name, value)
    _remember(_header_lines, line, pair)
    if name not in _JUDGED_BY_VALUE:
        _remember(_names, match[1], name)
    return pair


def _learn_answer(head: bytes) -> tuple[int, Headers, int] | None:
    lines = head.split(b"\r\n")
    match = _status_line(lines[0])
    headers = _headers(lines[1:])
    if match is None or headers is None or b"content-length" not in headers:
        return None
    status = int(match[1])
    if status in _NO_BODY:
        return None
    answer = (status, headers, int(headers[b"content-length"]))
    _remember(_answers, head, answer)
    return answer


def _remember(kept: dict[bytes, Meaning], key: bytes, value: Meaning) -> None:
    if len(key) > _LONGEST:
        return
    if len(kept) >= _REMEMBERED:
        kept.clear()
    kept[key] = value
