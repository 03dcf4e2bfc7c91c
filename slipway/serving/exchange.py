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

if TYPE_CHECKING:
    from slipway.serving.http1 import Connection

STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
JSON = b"content-type: application/json\r\n"
_CLOSE = b"connection: close\r\n"


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


class Exchange:
    """One request and its one answer.

    Attributes:
        method: ``b"POST"``, as sent.
        path, query: of the target, before and after its first ``?``, not decoded.
        headers: lower-case name to value; a repeated header's values are joined by a comma.
        body: the whole body, there once the handler is called.
        size: bytes of body received.
        limit: the body limit; ``admit`` may change it.
        keep_alive: whether the connection outlives the answer.
        answered: whether the answer is complete.
        gone: whether the client has left; answering is then without effect.
        on_gone: called when the client leaves before the answer is complete.
        on_flow: called while streaming, with False when the client falls behind and True when it
            has caught up.
    """

    __slots__ = (
        "_chunked",
        "_chunks",
        "_held",
        "answered",
        "body",
        "complete",
        "connection",
        "gone",
        "handed",
        "headers",
        "keep_alive",
        "limit",
        "method",
        "on_flow",
        "on_gone",
        "path",
        "query",
        "size",
        "started",
    )

    def __init__(self, connection: Connection, method: bytes, target: bytes) -> None:
        self.connection = connection
        self.method = method
        self.path, _, self.query = target.partition(b"?")
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.limit = connection.limits.body
        self.complete = self.handed = self.started = self.answered = self.gone = False
        self.keep_alive = True
        self.on_gone: Callable[[], None] | None = None
        self.on_flow: Callable[[bool], None] | None = None
        self._chunks: list[bytes] = []
        self.size = 0
        self._held: bytes | None = None
        self._chunked = False

    def respond(self, status: int, body: bytes = b"", headers: bytes = b"") -> None:
        """Answer, whole.

        Args:
            status: any status of 200 or more.
            body: the body; left out for HEAD, whose length is still told.
            headers: rendered lines, each ended by CRLF (see `header_lines`).
        """
        if self.started:
            raise RuntimeError("this request is answered already")
        self.started = self.answered = True
        if self.gone:
            return
        if not self.complete:
            self.keep_alive = False
        if status in (204, 304):
            head = self._head(status, headers)
            body = b""
        else:
            head = self._head(status, b"%bcontent-length: %d\r\n" % (headers, len(body)))
        self._send(head if self.method == b"HEAD" else head + body)
        self.connection.advance()

    def refuse(self, status: int, what: str, where: str = "", do: str = "") -> None:
        """Answer with an error's JSON body."""
        self.respond(status, problem(what, where, do), JSON)

    def start(self, status: int, headers: bytes = b"", length: int | None = None) -> None:
        """Begin a streamed answer: ``write`` its parts, then ``end`` it.

        Args:
            length: the body's length where it is known; else it is sent in chunks, or until the
                connection closes to a client of HTTP/1.0.
        """
        if self.started:
            raise RuntimeError("this request is answered already")
        self.started = True
        if self.gone:
            return
        if length is not None:
            headers += b"content-length: %d\r\n" % length
        elif self.connection.parser.get_http_version() == "1.1":
            headers += b"transfer-encoding: chunked\r\n"
            self._chunked = True
        else:
            self.keep_alive = False
        if not self.complete:
            self.keep_alive = False
        self._send(self._head(status, headers))

    def write(self, chunk: bytes) -> None:
        """Send a part of a streamed answer; see ``on_flow`` for when to hold back."""
        if self.gone or not chunk or self.method == b"HEAD":
            return
        self._send(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunked else chunk)

    def end(self) -> None:
        """End a streamed answer."""
        self.answered = True
        if self.gone:
            return
        if self._chunked and self.method != b"HEAD":
            self._send(b"0\r\n\r\n")
        self.connection.advance()

    def abort(self) -> None:
        """Cut a streamed answer off, so that the client sees that it is not whole."""
        self.answered = True
        self.connection.abort()

    def _head(self, status: int, headers: bytes) -> bytes:
        server = self.connection.server
        close = b"" if self.keep_alive and not server.draining else _CLOSE
        return b"%b%b%b%b\r\n" % (STATUS_LINES[status], server.date, close, headers)

    def _send(self, data: bytes) -> None:
        if self.connection.turn is self:
            self.connection.transport.write(data)
        else:  # refused before its turn: kept until the answers before it are out
            self._held = data

    def receive(self, chunk: bytes) -> bool:
        """Take a part of the body; False if it is too much."""
        self.size += len(chunk)
        if self.size > self.limit:
            self._chunks.clear()
            return False
        self._chunks.append(chunk)
        return True

    def received(self) -> None:
        """The body is whole."""
        chunks = self._chunks
        self.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._chunks = []
        self.complete = True

    def release(self) -> None:
        """Its turn has come: send what was held."""
        if self._held is not None:
            self.connection.transport.write(self._held)
            self._held = None
