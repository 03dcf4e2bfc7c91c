"""What is remembered of each request and each feedback: the rows of the inference log."""

from __future__ import annotations

from typing import Any

import msgspec


class RequestRow(msgspec.Struct, gc=False):
    """One answered request.

    Args:
        request_id: the id that the answer carried.
        at: when it came, seconds since 1970 UTC.
        unit: who asked; ``unit_given`` is false where it was drawn at random.
        arm, release: as assigned.
        route: the route table's number.
        status: the HTTP status that the caller got.
        ok: whether the assigned arm itself gave a good answer.
        latency_ms: from the request's last byte to the answer's first.
        served_by: the release that answered, or ``rule``, ``cache``, ``gateway``.
        fallback: why another than the assigned arm answered, or empty.
        cost: None where it is not known.
        rows: rows of the request, None where its shape is not known.
        score: the prediction, of a request of one row whose prediction is a number.
        features: the row (or the list of rows), each an object where it names its columns.
        prediction: the prediction (or the list of them).
        override: how the arm was chosen other than by the route (``allow``, ``signed``), or empty.
            Such a unit was not drawn at random: it is no evidence.
    """

    request_id: str
    at: float
    model: str
    unit: str
    unit_given: bool
    arm: str
    release: str
    route: int
    status: int
    ok: bool
    latency_ms: float
    served_by: str
    fallback: str
    cost: float | None
    rows: int | None
    score: float | None
    features: Any
    prediction: Any
    override: str = ""


class FeedbackRow(msgspec.Struct, gc=False):
    """One judgement of one answer, sent later by request id.

    Args:
        kind: ``label``, ``rating``, ...
        value: any JSON value; a number, or true or false, can be judged.
    """

    request_id: str
    at: float
    model: str
    kind: str
    value: Any
