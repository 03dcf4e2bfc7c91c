"""Judgements of earlier answers, sent by request id: checked, told apart from repeats, logged."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import msgspec

from slipway.serving.exchange import JSON, Exchange
from slipway.serving.metrics import Metrics
from slipway.serving.recorder import Log
from slipway.serving.request_id import Minter
from slipway.serving.routes import Served
from slipway.serving.rows import FeedbackRow
from slipway.serving.shared import Table

RECORDED, REPEATED, CONFLICT = "recorded", "already recorded", "conflict"
MOST_KINDS, OTHER = 32, "other"
"""Kinds of feedback that are counted by their names, per model; and the name of all others."""
MOST_ITEMS = 1000
"""Of one request."""
_SHAPE = 'send {"request_id": ..., "kind": "label", "value": ...}, or a list of them'


class Memory:
    """The feedback of late, of all workers, so that a repeat is told from a contradiction.

    It is bounded and may forget. The log's view counts only the first of each (request, kind), so
    what is forgotten here is still never counted twice.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def note(self, request_id: str, kind: str, value: Any) -> str:
        """``recorded`` for news, ``already recorded`` for a repeat, ``conflict`` otherwise."""
        key = f"{request_id} {kind}".encode()
        digest = hashlib.blake2b(msgspec.json.encode(value), digest_size=6).digest()
        number = float(int.from_bytes(digest, "big"))  # 48 bits fit a double exactly
        before = self._table.get(key)
        if before is not None:
            return REPEATED if before[0] == number else CONFLICT
        self._table.put(key, number, 0.0)
        return RECORDED


class Desk:
    """Takes feedback."""

    def __init__(self, minter: Minter, memory: Memory, log: Log, metrics: Metrics) -> None:
        self._minter, self._memory, self._log, self._metrics = minter, memory, log, metrics
        self._kinds: dict[str, set[str]] = {}

    def take(self, exchange: Exchange, served: Served) -> None:
        """Answer one ``POST /{model}/feedback``: all of it is taken, or it is refused."""
        if exchange.method != b"POST":
            exchange.refuse(405, "feedback is posted", served.model, "use POST")
            return
        try:
            items = read(exchange.body)
        except ValueError as error:
            exchange.refuse(400, f"this is no feedback: {error}", served.model, _SHAPE)
            return
        for request_id, _, _ in items:
            if not self._minter.knows(request_id, served.name):
                what = f"no request of this model has the id {request_id[:64]!r}"
                exchange.refuse(404, what, served.model, "send the x-slipway-request-id you got")
                return
        self._answer(exchange, served, [self._note(served, *item) for item in items])

    def _note(self, served: Served, request_id: str, kind: str, value: Any) -> str:
        outcome = self._memory.note(request_id, kind, value)
        if outcome != CONFLICT:  # a repeat too: the first may have met a disk that was full
            self._log.feedback(FeedbackRow(request_id, time.time(), served.model, kind, value))
        told = self._told(served.model, kind)
        self._metrics.count(
            "slipway_feedback_total", model=served.model, kind=told, outcome=outcome
        )
        return outcome

    def _told(self, model: str, kind: str) -> str:
        """A kind as it is counted: who sends feedback must not fill the metrics with names."""
        known = self._kinds.setdefault(model, set())
        if kind in known or len(known) < MOST_KINDS:
            known.add(kind)
            return kind
        return OTHER

    def _answer(self, exchange: Exchange, served: Served, outcomes: list[str]) -> None:
        if CONFLICT in outcomes:
            what = "another value is on record for this request and kind"
            exchange.refuse(409, what, served.model, "the first value stays; send it only once")
        elif len(outcomes) == 1:
            exchange.respond(200, b'{"status":"%b"}' % outcomes[0].encode(), JSON)
        else:
            new = outcomes.count(RECORDED)
            body = b'{"status":"recorded","recorded":%d,"already recorded":%d}'
            exchange.respond(200, body % (new, len(outcomes) - new), JSON)


def read(body: bytes) -> list[tuple[str, str, Any]]:
    """The feedback in a body: one object, or a list of them, of ``request_id, kind, value``.

    Raises:
        ValueError: the body is something else; the message says what.
    """
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from error
    items = value if isinstance(value, list) else [value]
    if not items:
        raise ValueError("the list of feedback is empty")
    if len(items) > MOST_ITEMS:
        raise ValueError(f"the list has {len(items)} items, and may have {MOST_ITEMS}")
    return [_item(item) for item in items]


def _item(item: Any) -> tuple[str, str, Any]:
    if not isinstance(item, dict) or set(item) != {"request_id", "kind", "value"}:
        raise ValueError("feedback is an object of exactly request_id, kind and value")
    request_id, kind = item["request_id"], item["kind"]
    if not isinstance(request_id, str) or not isinstance(kind, str) or not 0 < len(kind) <= 64:
        raise ValueError("request_id and kind are texts, and kind is at most 64 characters long")
    return request_id, kind, item["value"]
