"""What is remembered of every request: its counters and its row in the log."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from slipway.serving.content import score_of, single
from slipway.serving.metrics import Metrics
from slipway.serving.relay import Mirror
from slipway.serving.rows import FeedbackRow, RequestRow

if TYPE_CHECKING:
    from slipway.serving.flight import Flight
    from slipway.serving.routes import Served, ServedArm

_KEPT_BYTES = 16 * 1024
_KEPT_ROWS = 100
"""A larger request's rows and predictions are left out of the log."""


class Log(Protocol):
    """Where rows go; see ``slipway.stores.inference_log``."""

    def request(self, constants: bytes, row: RequestRow) -> None:
        """Log one answered request; ``constants`` begin its JSON."""
        ...

    def feedback(self, row: FeedbackRow) -> None:
        """Log one feedback."""
        ...


class Recorder:
    """Counts and logs what becomes of requests.

    Args:
        metrics: this worker's counters.
        log: takes a row per request.
    """

    def __init__(self, metrics: Metrics, log: Log) -> None:
        self.metrics, self._log = metrics, log
        self.in_flight = 0

    def failed(self, arm: ServedArm, fault: str) -> None:
        """An arm has failed."""
        self.metrics.count("slipway_errors_total", **arm.labels, kind=fault)

    def refused(self, served: Served, status: int) -> None:
        """A request has been refused for the caller's fault."""
        self.metrics.count("slipway_refusals_total", model=served.model, status=str(status))

    def hedged(self, arm: ServedArm) -> None:
        """A slow arm is asked a second time."""
        self.metrics.count("slipway_hedges_total", **arm.labels)

    def lease_out(self, served: Served) -> None:
        """A request's arm may serve no longer."""
        self.metrics.count("slipway_lease_expiries_total", model=served.model)

    def landed(self, flight: Flight, status: int) -> None:
        """A request has been answered: count it, log it, mirror it."""
        metrics, arm = self.metrics, flight.arm
        seconds = monotonic() - flight.began
        self.in_flight -= 1
        if 200 <= status < 300:
            metrics.cells[arm.good] += 1.0
        else:
            metrics.count("slipway_requests_total", **arm.labels, status=f"{status // 100}xx")
        metrics.observe(arm.seconds, seconds)
        if flight.reason:
            labels = {"model": flight.served.model, "arm": arm.name, "reason": flight.reason}
            metrics.count("slipway_fallbacks_total", **labels)
        if arm.prices is not None:
            self._count_cost(flight, arm)
        if flight.logged:
            self._log.request(arm.constants, _row(flight, status, seconds))
        if flight.mirrored and status < 300 and flight.body:
            Mirror.fly(flight)

    def _count_cost(self, flight: Flight, arm: ServedArm) -> None:
        if flight.cost is None:
            self.metrics.count("slipway_cost_unknown_total", **arm.labels)
        else:
            self.metrics.add("slipway_cost_total", flight.cost, **arm.labels)

    def mirror_skipped(self, served: Served) -> None:
        """A request could not be mirrored."""
        self.metrics.count("slipway_shadow_total", model=served.model, outcome="skipped")

    def mirrored(self, mirror: Mirror, fault: str, predictions: list[Any]) -> None:
        """The shadow has answered, or failed."""
        flight, arm, seconds = mirror.flight, mirror.arm, monotonic() - mirror.began
        outcome = fault or "good"
        self.metrics.count("slipway_shadow_total", model=flight.served.model, outcome=outcome)
        if flight.logged:
            row = _row(flight, mirror.status, seconds)
            row.served_by, row.fallback, row.ok, row.cost = "", "", not fault, None
            row.score = score_of(predictions)
            row.prediction = None if row.score is not None else single(predictions)
            self._log.request(arm.constants, row)


def _row(flight: Flight, status: int, seconds: float) -> RequestRow:
    rows, predictions = flight.rows, flight.predictions
    kept = flight.served.policy.log.features and len(flight.body) <= _KEPT_BYTES
    own = flight.served_by == flight.arm.release
    score = score_of(predictions)
    listed = kept and score is None and 0 < len(predictions) <= _KEPT_ROWS
    return RequestRow(
        flight.id,
        flight.at,
        flight.unit,
        seconds * 1000.0,
        flight.given,
        status,
        own and status < 300,
        "" if own else flight.served_by,
        flight.reason,
        flight.cost,
        0 if rows is None else len(rows),
        score,
        single(rows) if kept and rows is not None else None,
        single(predictions) if listed else None,
        flight.override,
    )
