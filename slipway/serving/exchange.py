"""One HTTP request with its one answer, as handlers see it.

A handler answers with ``respond`` (whole) or with ``start``, ``write`` and ``end`` (streamed), now
or later. An answer given before its turn (a refusal of a pipelined request) is held until the
answers before it are out. Framing follows RFC 9112.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from slipway.serving.connection import Connection

_PHRASES = {s.value: s.phrase for s in HTTPStatus}
STATUS_LINES = {
    status: f"HTTP/1.1 {status} {_PHRASES.get(status, '')}\r\n".encode()
    for status in range(200, 1000)
}
"""Of every status that an arm may give, registered or not (RFC 9110, 15)."""
JSON = b"content-type: application/json\r\n"
_CLOSE = b"connection: close\r\n"
_NO_BODY = (204, 304)


def _length(size: int) -> bytes:
    return b"content-length: %d\r\n\r\n" % size


_LENGTHS = [_length(size) for size in range(1024)]  # of small bodies, rendered once


def problem(what: str, where: str = "", do: str = "") -> bytes:
    """The JSON body of an error: what failed, where it was seen, what to do."""
    return json.dumps({"error": {"what": what, "where": where, "do": do}}).encode()


def header_lines(headers: dict[str, str]) -> bytes:
    """Render headers for an answer.

    Raises:
        ValueError: a name or value would break the line.
    """
    text = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if text.count("\r") + text.count("\n") != 2 * len(headers) or "\0" in text:
        raise ValueError(f"a header holds a line break: {headers!r}")
    return text.encode("latin-1")


class Exchange(msgspec.Struct, eq=False):
    """One request and its one answer. (A msgspec.Struct, since making one costs a fifth.)

    Attributes:
        method: ``b"POST"``, as sent.
        path, query: of the target, before and after its first ``?``, not decoded.
        headers: lower-case name to value; a repeated header's values are joined by a comma.
        body: the whole body, there once the handler is called.
        size: bytes of body received.
        limit: the body limit; ``admit`` may change it.
        keep_alive: whether the connection outlives the answer.
        chunkable: whether the client understands an answer in chunks (HTTP/1.1).
        complete: whether the whole request is there.
        handed: whether the handler has been called.
        started: whether an answer has begun.
        answered: whether the answer is complete.
        gone: whether the client has left; answering is then without effect.
        on_gone: called when the client leaves before the answer is complete.
        on_flow: called while streaming, with False when the client falls behind and True when it
            has caught up.
    """

    connection: Connection
    method: bytes
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    limit: int
    body: bytes = b""
    size: int = 0
    complete: bool = False
    keep_alive: bool = True
    chunkable: bool = True
    handed: bool = False
    started: bool = False
    answered: bool = False
    gone: bool = False
    on_gone: Callable[[], None] | None = None
    on_flow: Callable[[bool], None] | None = None
    _parts: list[bytes] | None = None
    _held: bytes = b""
    _chunked: bool = False
    _silent: bool = False

    def respond(self, status: int, body: bytes = b"", headers: bytes = b"") -> None:
        """Answer, whole.

        Args:
            status: any status of 200 or more.
            body: the body; left out for HEAD, whose length is still told.
            headers: rendered lines, each ended by CRLF (see `header_lines`).
        """
        connection = self._begin()
        self.answered = True
        if self.gone:
            return
        if self.method == b"HEAD" or status in _NO_BODY:
            data = self._bodiless(status, body, headers)
        else:
            close = b"" if self.keep_alive else _CLOSE
            size = len(body)
            length = _LENGTHS[size] if size < len(_LENGTHS) else _length(size)
            date = connection.server.date
            data = b"".join((STATUS_LINES[status], date, close, headers, length, body))
        if connection.turn is self:
            connection.transport.write(data)
            connection.advance()
        else:
            self._held = data

    def refuse(self, status: int, what: str, where: str = "", do: str = "") -> None:
        """Answer with an error's JSON body."""
        self.respond(status, problem(what, where, do), JSON)

    def start(self, status: int, headers: bytes = b"", length: int | None = None) -> None:
        """Begin a streamed answer: ``write`` its parts, then ``end`` it.

        Args:
            length: the body's length where it is known; else it is sent in chunks, or until the
                connection closes to a client of HTTP/1.0.
        """
        connection = self._begin()
        if self.gone:
            return
        self._silent = self.method == b"HEAD" or status in _NO_BODY
        if status in _NO_BODY:
            pass  # its end is known: what followed would be taken for the next answer
        elif length is not None:
            headers += b"content-length: %d\r\n" % length
        elif self.chunkable:
            headers += b"transfer-encoding: chunked\r\n"
            self._chunked = not self._silent
        else:
            self.keep_alive = False
        close = b"" if self.keep_alive else _CLOSE
        connection.transport.write(
            b"%b%b%b%b\r\n" % (STATUS_LINES[status], connection.server.date, close, headers)
        )

    def write(self, chunk: bytes) -> None:
        """Send a part of a streamed answer; see ``on_flow`` for when to hold back."""
        if self.gone or not chunk or self._silent:
            return
        data = b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk
        self.connection.transport.write(data)

    def end(self) -> None:
        """End a streamed answer."""
        self.answered = True
        if self.gone:
            return
        if self._chunked:
            self.connection.transport.write(b"0\r\n\r\n")
        self.connection.advance()

    def abort(self) -> None:
        """Cut a streamed answer off, so that the client sees that it is not whole."""
        self.answered = True
        self.connection.transport.abort()

    def _begin(self) -> Connection:
        if self.started:
            raise RuntimeError("this request is answered already")
        self.started = True
        connection = self.connection
        if connection.server.draining or not self.complete:
            self.keep_alive = False
        return connection

    def _bodiless(self, status: int, body: bytes, headers: bytes) -> bytes:
        close = b"" if self.keep_alive else _CLOSE
        length = b"" if status in _NO_BODY else b"content-length: %d\r\n" % len(body)
        date = self.connection.server.date
        return b"%b%b%b%b%b\r\n" % (STATUS_LINES[status], date, close, headers, length)

    # What the connection calls.

    def receive(self, chunk: bytes) -> bool:
        """Take a part of the body; False if it is too much."""
        if not self.size:
            self.body = chunk
        else:
            if self._parts is None:
                self._parts = [self.body]
            self._parts.append(chunk)
        self.size += len(chunk)
        if self.size <= self.limit:
            return True
        self.body, self._parts = b"", None
        return False

    def received(self) -> None:
        """The request is whole."""
        if self._parts is not None:
            self.body, self._parts = b"".join(self._parts), None
        self.complete = True

    def release(self) -> None:
        """Its turn has come: send what was held."""
        if self._held:
            self.connection.transport.write(self._held)
            self._held = b""
