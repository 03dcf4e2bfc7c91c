"""The laws of a live metric, tried on awkward requests in a real DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

from slipway.conformance import require
from slipway.ports import Metric

Law = Callable[[Metric], None]
Row = Mapping[str, Any]

TYPES = {
    "status": "INTEGER",
    "ok": "BOOLEAN",
    "latency_ms": "DOUBLE",
    "fallback": "VARCHAR",
    "cost": "DOUBLE",
    "score": "DOUBLE",
    "label": "DOUBLE",
    "prediction": "JSON",
    "features": "JSON",
    "peer_ok": "BOOLEAN",
    "peer_latency_ms": "DOUBLE",
    "peer_score": "DOUBLE",
    "peer_prediction": "JSON",
}
UNKNOWABLE = ("cost", "score", "label", "peer_score")
"""What may not be known of a request (yet)."""


def check_metric(make: Callable[[], Metric]) -> None:
    """Every law that a live metric must keep.

    Args:
        make: gives a metric.

    Raises:
        AssertionError: a law is broken; it says which.
    """
    for law in LAWS:
        law(make())


def _rows() -> list[Row]:
    """Requests of every kind: good, refused, failed, slow, rescued, unlabelled, of unknown cost.

    Each as a shadow would have it too: with the answer that its user got, with or without a score.
    """
    served = [(200, True, ""), (200, True, "stable"), (422, True, ""), (503, False, "")]
    values = product(served, (0.5, 5000.0), (None, 0.0, 0.25), (None, 0.0, 0.25, 1.0),
                     (None, 0.0, 1.0), (None, 0.25))  # fmt: skip
    return [
        dict(
            zip(
                TYPES,
                (*(status, ok, latency, fallback, cost, score, label, None, None),
                 *(True, 100.0, peer_score, None)),
                strict=True,
            )
        )
        for (status, ok, fallback), latency, cost, score, label, peer_score in values
    ]  # fmt: skip


def _values(metric: Metric, rows: list[Row]) -> list[float | None]:
    """The metric's number per request, in the order of the requests."""
    import duckdb

    columns = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    marks = ", ".join(f"({', '.join('?' * (len(TYPES) + 1))})" for _ in rows)
    cells = [cell for place, row in enumerate(rows) for cell in (place, *row.values())]
    with duckdb.connect() as db:
        db.execute(f"CREATE TABLE judged (place INTEGER, {columns})")
        db.execute(f"INSERT INTO judged VALUES {marks}", cells)  # noqa: S608 - only ? marks
        # The expression is the metric's own text: that is the port.
        query = f"SELECT CAST({metric.sql()} AS DOUBLE) FROM judged ORDER BY place"  # noqa: S608
        return [value for (value,) in db.execute(query).fetchall()]


def is_described(metric: Metric) -> None:
    """It says its name, its type and its bounds."""
    require(isinstance(metric, Metric), "a metric must have a name, a type, bounds and 'sql'")
    require(metric.name, "a metric must have a name")
    require(metric.type in ("rate", "mean"), "a metric's type must be 'rate' or 'mean'")
    low, high = metric.low, metric.high
    require(low is None or high is None or low < high, "its low bound must lie below its high one")
    require(metric.type != "rate" or (low, high) == (0.0, 1.0), "a rate lies between 0 and 1")


def one_number_per_request(metric: Metric) -> None:
    """An expression over one request: no aggregate, no filter, the same whenever it is asked."""
    rows = _rows()
    values = _values(metric, rows)
    require(len(values) == len(rows), "a metric must give one value per request")
    require(values == _values(metric, rows), "a metric must give the same values again")
    alone = [_values(metric, [row])[0] for row in rows[:: len(rows) // 5]]
    require(alone == values[:: len(rows) // 5], "a request's value must depend on it alone")
    require(any(v is not None for v in values), "a metric must measure some request")


def values_keep_the_bounds(metric: Metric) -> None:
    """No value lies outside of what the metric says, and a rate is 0 or 1."""
    for value in filter(lambda v: v is not None, _values(metric, _rows())):
        assert value is not None
        require(metric.low is None or value >= metric.low, f"{value} lies below the low bound")
        require(metric.high is None or value <= metric.high, f"{value} lies above the high bound")
        require(metric.type != "rate" or value in (0.0, 1.0), f"{value} is no rate of one request")


def the_unknown_is_not_measured(metric: Metric) -> None:
    """Where a metric rests on what is not known of a request, it is NULL, never zero."""
    rows = _rows()
    values = _values(metric, rows)
    for column in UNKNOWABLE:
        groups: dict[tuple[Any, ...], dict[Any, float | None]] = {}
        for row, value in zip(rows, values, strict=True):
            others = tuple(v for name, v in row.items() if name != column)
            groups.setdefault(others, {})[row[column]] = value
        for seen in groups.values():
            known = {v for value, v in seen.items() if value is not None}
            require(
                len(known) < 2 or seen[None] is None,
                f"a metric that rests on '{column}' must be NULL where that is NULL",
            )


def the_callers_faults_are_not_measured(metric: Metric) -> None:
    """A request refused for the caller's own fault says nothing of the arm's failures."""
    refused = [row for row in _rows() if row["status"] == 422 and row["label"] is None]
    values = _values(metric, refused)
    require(
        metric.type != "rate" or all(v is None for v in values),
        "a rate must leave out requests refused for the caller's fault",
    )


LAWS: tuple[Law, ...] = (
    is_described,
    one_number_per_request,
    values_keep_the_bounds,
    the_unknown_is_not_measured,
    the_callers_faults_are_not_measured,
)
