"""What is remembered of each request and each feedback: the rows of the inference log.

Both are written as lines of JSON. What all requests of one arm and route have in common is
rendered once (`constants_of`), and what has its usual value is left out (``omit_defaults``): a row
is then a third as long and as costly. ``slipway.stores.inference_log`` puts it back.
"""

from __future__ import annotations

from typing import Any

import msgspec


class RequestRow(msgspec.Struct, omit_defaults=True, gc=False):
    """One answered request.

    Args:
        request_id: the id that the answer carried.
        at: when it came, seconds since 1970 UTC.
        unit: who asked; ``unit_given`` is false where it was drawn at random.
        latency_ms: from the request's last byte to the answer's first.
        status: the HTTP status that the caller got.
        ok: whether the assigned arm itself gave a good answer.
        served_by: the release that answered, or ``rule``, ``cache``, ``gateway``; empty stands for
            the assigned release.
        fallback: why another than the assigned arm answered, or empty.
        cost: None where it is not known.
        rows: rows of the request; 0 where its shape is not known.
        score: the prediction, of a request of one row whose prediction is a number.
        features: the row (or the list of rows), each an object where it names its columns.
        prediction: the prediction (or the list of them), where it is not the score.
        override: how the arm was chosen other than by the route (``allow``, ``signed``), or empty.
            Such a unit was not drawn at random: it is no evidence.
    """

    request_id: str
    at: float
    unit: str
    latency_ms: float
    unit_given: bool = True
    status: int = 200
    ok: bool = True
    served_by: str = ""
    fallback: str = ""
    cost: float | None = None
    rows: int = 1
    score: float | None = None
    features: Any = None
    prediction: Any = None
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


def constants_of(model: str, arm: str, release: str, route: int) -> bytes:
    """What rows of one arm of one route have in common: the beginning of their JSON."""
    constants = {"model": model, "arm": arm, "release": release, "route": route}
    return msgspec.json.encode(constants)[:-1] + b","
