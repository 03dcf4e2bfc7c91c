"""What a server that is no Prometheus, or an ill one, answers: one clear error for each."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from slipway.errors import UsageError
from slipway.stores.prometheus import query_range

STABLE = {"arm": "stable"}
REFUSAL = '{"status": "error", "error": "parse error"}'


@contextmanager
def server(reply: bytes) -> Iterator[str]:
    """A server on loopback that answers whatever it is asked with these bytes, as its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_answer, args=(listening, reply), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _answer(listening: socket.socket, reply: bytes) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:  # the test is over
            return
        with client:
            client.recv(65536)
            client.sendall(reply)


def http(body: str, status: str = "200 OK", *headers: str) -> bytes:
    """An HTTP answer."""
    return "\r\n".join([f"HTTP/1.0 {status}", *headers, "", body]).encode()


def matrix(*series: Any, kind: str = "matrix") -> bytes:
    """A success in Prometheus's form."""
    return http(
        json.dumps({"status": "success", "data": {"resultType": kind, "result": list(series)}})
    )


def refused(address: str) -> UsageError:
    """The error of asking there."""
    with pytest.raises(UsageError) as caught:
        query_range(address, "x", start=0.0, end=60.0, step=60.0)
    assert caught.value.do
    return caught.value


@pytest.mark.parametrize(
    "reply",
    [
        http('{"status": "success"}'),
        http('{"status": "success", "data": {}}'),
        http('{"status": "success", "data": {"resultType": "matrix", "result": null}}'),
        http('{"sta', "200 OK", "Content-Length: 100"),
        http("[]"),
        http("null"),
        http("<html>"),
        http("[" * 100_000),
        matrix(1, "2", kind="scalar"),
        matrix({"metric": STABLE, "value": [1, "2"]}, kind="vector"),
        matrix({"metric": STABLE}),
        matrix({"metric": STABLE, "values": [[1, "abc"]]}),
        matrix({"metric": STABLE, "values": [1]}),
        matrix({"metric": STABLE, "values": [[None, "1"]]}),
        matrix({"metric": {"arm": 1}, "values": [[1, "1"]]}),
        matrix({"metric": None, "values": [[1, "1"]]}),
        matrix("series"),
    ],
)
def test_an_answer_that_no_prometheus_gives_is_refused(reply: bytes) -> None:
    """Of another form, or of other kinds than a range query has."""
    with server(reply) as address:
        error = refused(address)
    assert "not as Prometheus answers a range query" in error.what
    assert error.where == address


@pytest.mark.parametrize(
    ("reply", "what", "do"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "does not answer", "that the address is right"),
        (http("<html>", "503 Unavailable"), "answers with status 503", "see that it runs"),
        (http("", "302 Found", "Location: file:///x"), "answers with status 302", "see that it"),
        (http('{"error": "too slow"}', "503 Unavailable"), "503: too slow", "see that it runs"),
        (http(REFUSAL, "400 Bad"), "refuses the query: parse error", "mend the query"),
        (http(REFUSAL, "422 Bad"), "refuses the query: parse error", "mend the query"),
    ],
)
def test_a_server_that_is_ill_is_not_blamed_on_the_query(reply: bytes, what: str, do: str) -> None:
    """Only what the server says of the query is the query's fault."""
    with server(reply) as address:
        error = refused(address)
    assert what in error.what
    assert do in str(error.do)


def test_histograms_are_no_numbers() -> None:
    """A native histogram is refused in words that say how to make a number of it."""
    with server(matrix({"metric": STABLE, "histograms": [[1, {}]]})) as address:
        error = refused(address)
    assert "native histograms" in error.what
    assert "histogram_quantile" in str(error.do)


@pytest.mark.parametrize("address", ["http://[::1", "http://a b/", "http://", "http://h:99999"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """Each before, or as, it is asked."""
    assert "127.0.0.1:9090" in str(refused(address).do)


def test_numbers_are_read() -> None:
    """The form that Prometheus documents, with what is no finite number left out."""
    with server(matrix({"metric": STABLE, "values": [[60, "0.5"], [120, "NaN"]]})) as address:
        found = query_range(address, "x", start=0.0, end=120.0, step=60.0)
    assert found == {"stable": {60.0: 0.5}}
