"""The gateway: in front of every prediction, all day.

It splits users over arms by route table, forwards, falls back, logs and counts. The request path
imports no store: `slipway.serving.gateway` wires a ledger and an inference log in.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qs

from slipway.serving import feedback
from slipway.serving.content import read_rows
from slipway.serving.exchange import JSON, Exchange
from slipway.serving.flight import Flight
from slipway.serving.metrics import Metrics
from slipway.serving.request_id import Minter
from slipway.serving.routes import Book, Served, ServedArm
from slipway.serving.rows import FeedbackRow, RequestRow

_TEXT = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"


class Log(Protocol):
    """Where rows go; see ``slipway.stores.inference_log``."""

    dropped: int

    def request(self, row: RequestRow) -> None:
        """Log one answered request."""
        ...

    def feedback(self, row: FeedbackRow) -> None:
        """Log one feedback."""
        ...


class Gateway:
    """Answers every request that the HTTP module hands it.

    Args:
        book: the routes in force.
        minter: makes and checks request ids.
        log: takes a row per request and per feedback.
        metrics: every counter.
    """

    def __init__(self, book: Book, minter: Minter, log: Log, metrics: Metrics) -> None:
        self.book, self.minter, self.log, self.metrics = book, minter, log, metrics
        self._memory = feedback.Memory()
        self._in_flight = metrics.at("slipway_in_flight")
        self._own: dict[bytes, Callable[[Exchange], None]] = {
            b"/healthz": lambda x: x.respond(200, b'{"status":"alive"}', JSON),
            b"/readyz": self._readyz,
            b"/metrics": self._metrics_page,
        }
        self._verbs: dict[bytes, Callable[[Exchange, Served], None]] = {
            b"invocations": self._invocations,
            b"feedback": self._feedback,
        }

    # Where a request goes.

    def admit(self, exchange: Exchange) -> None:
        """Set the body limit of the model that a request is for, before its body is read."""
        served = self.book.served.get(exchange.path[1:].partition(b"/")[0].decode("latin-1"))
        if served:
            exchange.limit = served.policy.max_body_bytes

    def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        model, _, verb = exchange.path[1:].partition(b"/")
        action = self._verbs.get(verb)
        if action is None:
            own = self._own.get(exchange.path)
            if own is None:
                exchange.refuse(404, "there is nothing at this path", _shown(exchange.path), _PATHS)
            elif exchange.method not in (b"GET", b"HEAD"):
                exchange.refuse(405, "this path is only read", _shown(exchange.path), "use GET")
            else:
                own(exchange)
            return
        served = self.book.served.get(model.decode("latin-1"))
        if served is None:
            known = ", ".join(sorted(self.book.served)) or "none yet"
            exchange.refuse(404, "no such model", _shown(model), f"models served: {known}")
        elif exchange.method != b"POST":
            exchange.refuse(405, "this path takes POST", _shown(exchange.path), "use POST")
        else:
            action(exchange, served)

    # Predictions.

    def _invocations(self, exchange: Exchange, served: Served) -> None:
        content_type = exchange.headers.get(b"content-type", b"").partition(b";")[0].strip()
        if content_type.lower() != b"application/json":
            self._reject(exchange, served, 415, "the content type is not application/json")
            return
        try:
            rows = read_rows(exchange.body)
        except ValueError as error:
            self._reject(exchange, served, 400, f"the body is not JSON: {error}")
            return
        most = served.policy.max_rows
        if rows is not None and most is not None and len(rows) > most:
            self._reject(exchange, served, 413, f"{len(rows)} rows are over the limit of {most}")
            return
        self._take_off(exchange, served, rows).fly()

    def _take_off(self, exchange: Exchange, served: Served, rows: list[Any] | None) -> Flight:
        unit = self._unit(exchange, served, rows)
        given = unit is not None
        if unit is None:
            unit = os.urandom(8).hex()
        slot, reason = served.assign(unit), ""
        if served.arms[slot].leased and served.lease_out():
            slot, reason = 0, "lease_expired"
            self.metrics.cells[
                self.metrics.at("slipway_lease_expiries_total", model=served.model)
            ] += 1
        now = time.time()
        self.metrics.cells[self._in_flight] += 1
        return Flight(
            self,
            served,
            exchange,
            slot=slot,
            unit=unit,
            given=given,
            request_id=self.minter.mint(served.name, now),
            rows=rows,
            at=now,
            reason=reason,
        )

    def _unit(self, exchange: Exchange, served: Served, rows: list[Any] | None) -> str | None:
        """Who a request is for, or None where it does not say."""
        source, name = served.policy.unit.source, served.policy.unit.name
        if source == "header":
            value = exchange.headers.get(name.lower().encode(), b"")
            return value.decode("utf-8", "replace") or None
        if source == "query":
            values = parse_qs(exchange.query.decode("latin-1")).get(name)
            return values[0] if values else None
        if source == "cookie":
            return _cookie(exchange.headers.get(b"cookie", b""), name)
        first = rows[0] if rows else None
        found = first.get(name) if isinstance(first, dict) else None
        return None if found is None or found == "" else str(found)

    def _reject(self, exchange: Exchange, served: Served, status: int, what: str) -> None:
        """Refuse for the caller's fault: logged, and no evidence against an arm."""
        flight = self._take_off(exchange, served, None)
        flight.refuse(status, what)

    def count_error(self, served: Served, arm: ServedArm, fault: str) -> None:
        """An arm has failed."""
        labels = {"model": served.model, "release": arm.release, "arm": arm.name, "kind": fault}
        self.metrics.cells[self.metrics.at("slipway_errors_total", **labels)] += 1

    def landed(self, flight: Flight, status: int, served_by: str, seconds: float) -> None:
        """A request has been answered: count it and log it."""
        cells, arm, served = self.metrics.cells, flight.arm, flight.served
        cells[self._in_flight] -= 1
        cells[arm.requests] += 1
        self.metrics.observe(arm.seconds, seconds)
        if flight.reason:
            labels = {"model": served.model, "arm": arm.name, "reason": flight.reason}
            cells[self.metrics.at("slipway_fallbacks_total", **labels)] += 1
        self.log.request(
            RequestRow(
                request_id=flight.id,
                at=flight.at,
                model=served.model,
                unit=flight.unit,
                unit_given=flight.given,
                arm=arm.name,
                release=arm.release,
                route=served.number,
                status=status,
                ok=status == 200 and served_by == arm.release,
                latency_ms=seconds * 1000.0,
                served_by=served_by,
                fallback=flight.reason,
                cost=None,
                rows=None if flight.rows is None else len(flight.rows),
                score=flight.score,
                features=flight.features,
                prediction=flight.prediction,
            )
        )

    # Feedback.

    def _feedback(self, exchange: Exchange, served: Served) -> None:
        try:
            items = feedback.read(exchange.body)
        except ValueError as error:
            exchange.refuse(400, f"this is no feedback: {error}", served.model, _FEEDBACK)
            return
        for request_id, _, _ in items:
            if not self.minter.knows(request_id, served.name):
                what = f"no request of this model has the id {request_id[:64]!r}"
                exchange.refuse(404, what, served.model, "send the x-slipway-request-id you got")
                return
        outcomes = [self._note(served, *item) for item in items]
        single = len(outcomes) == 1
        if "conflict" in outcomes:
            what = "another value is on record for this request and kind"
            exchange.refuse(409, what, served.model, "the first value stays; send it only once")
        elif single:
            exchange.respond(200, b'{"status":"%b"}' % outcomes[0].encode(), JSON)
        else:
            new = outcomes.count("recorded")
            body = b'{"status":"recorded","recorded":%d,"already recorded":%d}'
            exchange.respond(200, body % (new, len(outcomes) - new), JSON)

    def _note(self, served: Served, request_id: str, kind: str, value: Any) -> str:
        outcome = self._memory.note(request_id, kind, value)
        if outcome == "recorded":
            row = FeedbackRow(request_id, time.time(), served.model, kind, value)
            self.log.feedback(row)
        labels = {"model": served.model, "kind": kind, "outcome": outcome}
        self.metrics.cells[self.metrics.at("slipway_feedback_total", **labels)] += 1
        return outcome

    # The gateway's own pages.

    def _readyz(self, exchange: Exchange) -> None:
        if self.book.served:
            exchange.respond(200, b'{"status":"ready"}', JSON)
        else:
            exchange.refuse(503, "no route is known yet", do="release a model first")

    def _metrics_page(self, exchange: Exchange) -> None:
        metrics = self.metrics
        metrics.cells[metrics.at("slipway_log_rows_dropped_total")] = self.log.dropped
        for served in self.book.served.values():
            metrics.cells[metrics.at("slipway_route_number", model=served.model)] = served.number
            left = max(0.0, served.lease_until - time.monotonic())
            metrics.cells[metrics.at("slipway_lease_seconds_left", model=served.model)] = left
        exchange.respond(200, metrics.text(), _TEXT)


_PATHS = "POST /{model}/invocations, POST /{model}/feedback, GET /healthz, /readyz, /metrics"
_FEEDBACK = 'send {"request_id": ..., "kind": "label", "value": ...}, or a list of them'


def _shown(path: bytes) -> str:
    return path.decode("latin-1")


def _cookie(header: bytes, name: str) -> str | None:
    for part in header.decode("latin-1").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value or None
    return None
