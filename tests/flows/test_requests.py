"""Bad requests through the real gateway: the caller is told what, where and what to do."""

from __future__ import annotations

import http.client
from typing import Any

import pytest
from small_project import MODEL
from workplace import Answer, Workplace

PATH = f"/{MODEL}/invocations"
ROW = {"temperature": 80.0, "load": 70.0, "material": "tin"}


def _records(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"dataframe_records": list(rows)}


BODIES: dict[str, tuple[Any, int, str]] = {
    "not JSON": (b'{"dataframe_records": [', 400, "JSON"),
    "missing column": (_records({"temperature": 80.0, "load": 70.0}), 400, "material"),
    "extra column": (_records({**ROW, "colour": "red"}), 400, "colour"),
    "wrong type": (_records({**ROW, "load": "heavy"}), 400, "load"),
    "10,000 rows": (_records(*[ROW] * 10_000), 413, "10000 rows"),
    "no rows": (_records(), 400, "row"),
}


def _told(answer: Answer, status: int, words: str) -> None:
    """A refusal as people and programs read it."""
    assert answer.status == status, answer
    assert words in str(answer.body), answer.body


@pytest.mark.parametrize("case", BODIES)
def test_a_bad_body_is_refused_with_its_reason(released: Workplace, case: str) -> None:
    """A body that the model cannot take is the caller's fault, and the next request is served."""
    body, status, words = BODIES[case]
    heads = released.heads()
    _told(released.post(PATH, body), status, words)
    assert released.post(PATH, _records(ROW)).status == 200
    assert released.heads() == heads


def test_fifty_megabytes_are_refused_before_they_are_read(released: Workplace) -> None:
    """The announced length is enough to refuse: the body need not be sent, nor be kept."""
    connection = http.client.HTTPConnection(released.gateway, timeout=10)
    connection.putrequest("POST", PATH)
    connection.putheader("content-type", "application/json")
    connection.putheader("content-length", str(50 * 1024 * 1024))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert b"bytes" in answer.read()
    connection.close()


def test_feedback_counts_once_and_only_for_known_requests(released: Workplace) -> None:
    """Unknown ids are refused; the same feedback twice is once; the first value stays."""
    given = released.post(PATH, _records(ROW)).headers["x-slipway-request-id"]

    def feedback(request_id: str, value: int) -> Answer:
        note = {"request_id": request_id, "kind": "label", "value": value}
        return released.post(f"/{MODEL}/feedback", note)

    _told(feedback("no-such-id", 1), 404, "no-such-id")
    assert feedback(given, 1).body == {"status": "recorded"}
    assert feedback(given, 1).body == {"status": "already recorded"}
    _told(feedback(given, 0), 409, "another value is on record")


def test_an_unknown_model_is_told_the_known_ones(released: Workplace) -> None:
    """A name that nothing is served under is 404, with the names that are."""
    _told(released.post("/pres/invocations", _records(ROW)), 404, MODEL)
