"""Evidence from the inference log, summed by DuckDB where the log lies.

One query per look: requests are summed per unit, and units per arm, so that ten million rows
become a few hundred numbers before any of them reaches Python.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slipway.errors import DataError
from slipway.evidence import BINS, Evidence, Measured, Sums

if TYPE_CHECKING:
    import duckdb

    from slipway.ports import Metric

_ORDERS = {
    "yy": "y*y", "ny": "n*y", "nn": "n*n", "y4": "y*y*y*y", "y3n": "y*y*y*n", "y2n2": "y*y*n*n",
    "yn3": "y*n*n*n", "n4": "n*n*n*n",
}  # fmt: skip


class LogEvidence:
    """The evidence source of a gateway's inference log.

    Args:
        folder: the log's directory.
        shares: arm name to share of the route that is asked for, where they are known.
    """

    def __init__(
        self, folder: str | os.PathLike[str], shares: Mapping[str, float] | None = None
    ) -> None:
        self._folder = folder
        self._shares = dict(shares or {})

    def observe(
        self, model: str, route: int, metrics: Sequence[Metric], *, since: float, until: float
    ) -> Evidence:
        """The evidence of one route number, from requests with since <= at < until."""
        from slipway.stores.inference_log import open_log

        connection = open_log(self._folder)
        try:
            connection.execute(
                "CREATE TEMP TABLE seen AS SELECT * FROM judged WHERE model = ? AND route = ? "
                'AND "at" >= ? AND "at" < ?',
                [model, route, since, until],
            )
            return summarise(connection, "seen", metrics, self._shares)
        finally:
            connection.close()


def summarise(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    metrics: Sequence[Metric],
    shares: Mapping[str, float],
) -> Evidence:
    """The evidence in a table with columns at, arm, unit and those that the metrics use.

    Units seen in more than one arm are counted, and left out of every sum.

    Raises:
        DataError: a bounded metric gave a value outside its bounds, or a value is not finite.
    """
    connection.execute(  # noqa: S608
        f"CREATE OR REPLACE TEMP TABLE assigned AS SELECT unit, min(arm) AS arm, "
        f"min(arm) <> max(arm) AS crossed FROM {table} GROUP BY unit"
    )
    units = connection.execute(
        "SELECT arm, count(*) FROM assigned WHERE NOT crossed GROUP BY arm ORDER BY arm"
    ).fetchall()
    crossed = connection.execute("SELECT count(*) FROM assigned WHERE crossed").fetchone()
    measured = {m.name: _measure(connection, table, m) for m in metrics}
    return Evidence(dict(units), measured, dict(shares), crossed[0] if crossed else 0)


def _measure(connection: duckdb.DuckDBPyConnection, table: str, metric: Metric) -> Measured:
    connection.execute(  # noqa: S608
        f"CREATE OR REPLACE TEMP TABLE per_unit AS SELECT t.unit, min(t.arm) AS arm, "
        f'count(v)::DOUBLE AS n, sum(v) AS y, arg_min(v, "at") AS first, min(v) AS low, '
        f'max(v) AS high FROM (SELECT "at", arm, unit, ({metric.sql()})::DOUBLE AS v FROM {table}) t '
        "JOIN assigned a ON t.unit = a.unit AND NOT a.crossed WHERE v IS NOT NULL GROUP BY t.unit"
    )
    low, high, centre = _row(
        connection, "SELECT min(low), max(high), sum(y) / sum(n) FROM per_unit"
    )
    if centre is None:
        return Measured(metric.low, metric.high, {})
    _check(metric, low, high)
    arms = {
        arm: _sums(connection, arm, metric, centre)
        for (arm,) in connection.execute("SELECT DISTINCT arm FROM per_unit").fetchall()
    }
    return Measured(metric.low, metric.high, arms, centre)


def _check(metric: Metric, low: float, high: float) -> None:
    bottom = -float("inf") if metric.low is None else metric.low
    top = float("inf") if metric.high is None else metric.high
    # Written so that NaN fails it too; an infinity is a value that no mean survives.
    if not (bottom <= low and high <= top and high - low < float("inf")):
        raise DataError(
            f"metric '{metric.name}' gave values from {low:g} to {high:g}",
            where="inference log",
            do=f"its values must be finite and lie between {bottom:g} and {top:g}: mend the "
            "metric, or what it measures",
        )


def _sums(connection: duckdb.DuckDBPyConnection, arm: str, metric: Metric, centre: float) -> Sums:
    names = ", ".join(f"sum({sql}) AS {name}" for name, sql in _ORDERS.items())
    plain = _row(
        connection,
        f"SELECT count(*), count(*) FILTER (whole <> 0), sum(n), sum(y), {names}, "
        "sum(f), sum(f * f) FROM (SELECT n, y AS whole, y - n * $centre AS y, first - $centre AS f "
        "FROM per_unit WHERE arm = $arm)",
        {"arm": arm, "centre": centre},
    )
    keys = ["units", "events", "n", "y", *_ORDERS, "first", "first2"]
    return Sums(**dict(zip(keys, plain, strict=True)), bins=_bins(connection, arm, metric))


def _bins(connection: duckdb.DuckDBPyConnection, arm: str, metric: Metric) -> tuple[float, ...]:
    """Units by first value; one between two points counts for each in proportion."""
    if metric.low is None or metric.high is None:
        return ()
    rows = connection.execute(
        "SELECT low, sum(1 - (p - low)), sum(p - low) FROM (SELECT p, "
        "least(floor(p), $bins - 1)::INTEGER AS low FROM (SELECT (first - $low) / ($high - $low) "
        "* $bins AS p FROM per_unit WHERE arm = $arm)) GROUP BY low",
        {"arm": arm, "low": metric.low, "high": metric.high, "bins": BINS},
    ).fetchall()
    bins = [0.0] * (BINS + 1)
    for place, below, above in rows:
        bins[place] += below
        bins[place + 1] += above
    return tuple(bins)


def _row(
    connection: duckdb.DuckDBPyConnection, query: str, values: dict[str, Any] | None = None
) -> tuple[Any, ...]:
    row = connection.execute(query, values or {}).fetchone()
    assert row is not None
    return tuple(row)
