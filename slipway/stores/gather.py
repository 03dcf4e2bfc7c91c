# ruff: noqa: S608 - the SQL is made of metrics' expressions, which is what a metric is.
"""Evidence summed by DuckDB where the rows lie: requests per unit, then units per arm.

Ten million rows become a few hundred numbers before any of them reaches Python. The sums per
unit of rows that are surely all there are kept, so that a look reads only those that came since.

Units are kept by a 64-bit hash: among ten million of them, the chance that any two are taken
for one is about 3 in a million.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from slipway.errors import DataError
from slipway.evidence import (
    BINS,
    LEAST,
    WIDTH,
    Evidence,
    Measure,
    Measured,
    QuantileMeasure,
    Sums,
    Tails,
)
from slipway.gates import LARGEST

if TYPE_CHECKING:
    import duckdb

_LABEL = re.compile(r"\b(label|label_at)\b")
_FEEDBACK = re.compile(r"\bfeedback\b")
_ORDERS = {
    "yy": "y*y", "ny": "n*y", "nn": "n*n", "y4": "y*y*y*y", "y3n": "y*y*y*n", "y2n2": "y*y*n*n",
    "yn3": "y*n*n*n", "n4": "n*n*n*n",
}  # fmt: skip
_SUMS = ("units", "events", "n", "y", *_ORDERS, "first", "first2")
_FAULT = "value out of bounds: "
_START = """
CREATE TABLE IF NOT EXISTS kept.progress (batch VARCHAR PRIMARY KEY, until DOUBLE);
CREATE TABLE IF NOT EXISTS kept.thresholds (measure VARCHAR PRIMARY KEY, value DOUBLE);
CREATE TABLE IF NOT EXISTS kept.histogram (measure VARCHAR, arm VARCHAR, key BIGINT, n BIGINT);
"""


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows are read: SQL tables with columns at, arm, unit and those that measures use.

    Args:
        requests: every request.
        judged: the same with ``label``, ``label_at`` and ``feedback``.
        where: a condition on both.
        since: rows before this time are none of this evidence.
        stable: the arm whose thresholds of quantiles stay where they are.
        order: SQL of the order in which values came to be known, ``{seen}`` being when. No two rows
            share a place in it, or a unit's first value would be that of the faster thread; and it
            says nothing of the values, or the first would be no fair sample of them.
        apart: SQL of which units, in which of their arms, count nowhere, from ``route``, the first
            that gave a unit that arm; or nothing.
    """

    requests: str
    judged: str
    where: str
    since: float
    stable: str = "stable"
    order: str = "row({seen}, request_id)"
    apart: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Values that come to be known at the same time, and so are read together into one table.

    Args:
        name: its table's.
        values: one SQL expression each; NULL where there is none.
        late: they need what comes back after the request: ``label``, ``feedback`` or nothing.
        maturity: they are known this many seconds after the request, if they came by then.
        routed: whether a unit's first route in each arm is found too.
    """

    name: str
    values: tuple[str, ...]
    late: str
    maturity: float
    routed: bool = False

    @property
    def seen(self) -> str:
        """SQL of the time at which a row's values are known."""
        if self.maturity or self.late != "label":
            return f'"at" + {self.maturity!r}'
        return 'greatest("at", label_at)'

    def known(self, since: float, until: float) -> str:
        """SQL of whether a row's values came to be known from ``since`` to ``until``."""
        return f"{self.seen} >= {since!r} AND {self.seen} < {until!r}"

    def earliest(self, since: float) -> float:
        """When the first request may have come of those whose values are known from ``since``."""
        if self._waits:
            return -math.inf
        return since - self.maturity - 1.0 if self.maturity else since

    def asked(self, since: float, until: float) -> str:
        """SQL of whether a row is to be counted as one that was asked for its values.

        A request that waits for its label without a maturity is asked when it comes, and has its
        value when its label does, which a later look may be the one to see.
        """
        return f'"at" >= {since!r}' if self._waits else self.known(since, until)

    def value(self, expression: str, since: float, until: float) -> str:
        """An expression, where it was known in time."""
        if self._waits:
            known = f"label_at IS NOT NULL AND {self.known(since, until)}"
            return f"CASE WHEN {known} THEN {expression} END"
        if self.late and self.maturity:
            return f"CASE WHEN label_at <= {self.seen} THEN {expression} END"
        return expression

    @property
    def _waits(self) -> bool:
        return self.late == "label" and not self.maturity

    @property
    def size(self) -> int:
        """How many values are summed."""
        return len(self.values)

    def summed(self, rows: str) -> str:
        """A query of n, y and f per unit and arm: how many, their sum, the first of them."""
        sums = "".join(
            f", count(v{i})::DOUBLE AS n{i}, coalesce(sum(v{i}), 0.0) AS y{i}, "
            f"arg_min(v{i}, place) AS f{i}"
            for i in range(self.size)
        )
        first = ", min(route) AS route" if self.routed else ""
        return (
            f"SELECT unit, arm, count(*) FILTER (asked) AS requests{first}{sums} FROM ({rows}) "
            "GROUP BY unit, arm"
        )

    def merged(self, before: str, after: str) -> str:
        """A query of the same, of two such results."""
        sums = "".join(
            f", sum(n{i}) AS n{i}, sum(y{i}) AS y{i}, arg_min(f{i}, part) AS f{i}"
            for i in range(self.size)
        )
        first = ", min(route) AS route" if self.routed else ""
        return (
            f"SELECT unit, arm, sum(requests)::BIGINT AS requests{first}{sums} "
            f"FROM (SELECT *, 0 AS part FROM {before} UNION ALL SELECT *, 1 FROM ({after})) "
            "GROUP BY unit, arm"
        )


@dataclass(frozen=True, slots=True)
class TailBatch(Batch):
    """One value, of which is summed whether it lies beyond each of some borders.

    Args:
        borders: SQL of one number each.
    """

    borders: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """How many values are summed."""
        return len(self.borders)

    def summed(self, rows: str) -> str:
        """As of any batch, with one state per unit for all borders."""
        beyond = [f"v0 > {border}" for border in self.borders]
        counts = "".join(f", count(*) FILTER ({b}) AS y{i}" for i, b in enumerate(beyond))
        bits = " + ".join(f"{1 << i} * ({b})::INTEGER" for i, b in enumerate(beyond))
        told = "".join(
            f", n AS n{i}, y{i}::DOUBLE AS y{i}, ((f >> {i}) & 1)::DOUBLE AS f{i}"
            for i in range(self.size)
        )
        return (
            f"SELECT unit, arm, requests{told} FROM (SELECT unit, arm, "
            f"count(*) FILTER (asked) AS requests, count(v0)::DOUBLE AS n{counts}, "
            f"arg_min({bits}, place) AS f FROM ({rows}) GROUP BY unit, arm)"
        )


class Gathering:
    """All evidence of some measures, growing look by look.

    Args:
        db: a connection with a database ``kept`` attached, in memory or a file, for the sums per
            unit. It belongs to these measures and these rows alone.
        source: where rows are read now.
        settled: the age in seconds at which a row is surely there. Sums are kept of older rows
            alone; younger ones are read anew by each look, so that none is passed over.
    """

    def __init__(
        self,
        db: duckdb.DuckDBPyConnection,
        source: Source,
        measures: Sequence[Measure],
        settled: float = math.inf,
    ) -> None:
        self._db, self._source, self._measures, self._settled = db, source, measures, settled
        db.execute(_START)

    def look(self, until: float, shares: Mapping[str, float]) -> Evidence:
        """The evidence before ``until``: of what is kept, and of the rows since.

        Raises:
            DataError: a bounded metric gave a value outside its bounds, or one is not finite.
        """
        plain = [m for m in self._measures if not isinstance(m, QuantileMeasure)]
        batches = _batches(plain, bool(self._source.apart))
        for batch in batches.values():
            self._read(batch, until)
        self._set_apart()
        seen: dict[str, Measured | Tails] = {}
        for m in plain:
            batch = batches[_late(m), m.maturity]
            seen[m.name] = self._measured(
                batch.name, batch.values.index(_checked(m)), (m.low, m.high)
            )
        for index, m in enumerate(self._measures):
            if isinstance(m, QuantileMeasure):
                seen[m.name] = self._tails(f"tail{index}", m, until)
        units = self._rows(
            f"SELECT arm, count(*) FROM {_counted('requests')} GROUP BY arm ORDER BY arm"
        )
        crossed = self._rows("SELECT count(*) FROM crossed")[0][0]
        return Evidence(dict(units), seen, dict(shares), crossed)

    def _rows(self, query: str, values: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = self._db.execute(query, dict(values or {})).fetchall()
        return rows

    # Reading

    def _read(self, batch: Batch, until: float, fixed: bool = True) -> None:
        """Sum a batch's rows before ``until`` per unit: those kept, and those since.

        Args:
            fixed: whether later looks will sum the same.
        """
        begun, end = self._begun(batch, until), until - self._settled
        since = self._source.since if begun is None else begun
        # Each look reads the last rows anew, so it costs little to let as many again come first.
        # Feedback is never kept: when it came is not known.
        if fixed and batch.late != "feedback" and end - since >= self._settled:
            anew = f"DELETE FROM kept.histogram WHERE measure = '{batch.name}'"
            self._commit(
                *([anew] if begun is None else []),
                *self._spread(batch, since, end, "INSERT INTO kept.histogram"),
                f"CREATE OR REPLACE TABLE kept.{batch.name} AS {self._summed(batch, begun, end)}",
                f"INSERT OR REPLACE INTO kept.progress VALUES ('{batch.name}', {end!r})",
            )
            begun = since = end
        self._commit(
            *self._spread(batch, since, until, "CREATE OR REPLACE TEMP TABLE histogram AS"),
            f"CREATE OR REPLACE TEMP TABLE sums_{batch.name} AS "
            f"{self._summed(batch, begun, until)}",
        )

    def _spread(self, batch: Batch, since: float, until: float, into: str) -> list[str]:
        """A statement that puts the histogram of a quantile's new values somewhere."""
        if not isinstance(batch, TailBatch):
            return []
        return [
            f"{into} SELECT '{batch.name}' AS measure, arm, floor(ln(greatest(v0, {LEAST!r})) / "
            f"ln(1 + {WIDTH!r}))::BIGINT AS key, count(v0) AS n "
            f"FROM ({self._values(batch, since, until)}) ANTI JOIN apart USING (unit, arm) "
            "WHERE v0 IS NOT NULL GROUP BY ALL"
        ]

    def _begun(self, batch: Batch, until: float) -> float | None:
        """How far a batch was read, if it was, and no further than this look is to read."""
        told = self._rows("SELECT until FROM kept.progress WHERE batch = $b", {"b": batch.name})
        return float(told[0][0]) if told and told[0][0] <= until else None

    def _summed(self, batch: Batch, begun: float | None, until: float) -> str:
        """A query of a batch's sums per unit before ``until``."""
        if begun is None:
            return batch.summed(self._values(batch, self._source.since, until))
        after = batch.summed(self._values(batch, begun, until))
        return batch.merged(f"kept.{batch.name}", after)

    def _values(self, batch: Batch, since: float, until: float) -> str:
        """A query of a batch's rows that came, or came to be known, from ``since`` to ``until``."""
        source = self._source
        asked, known = batch.asked(since, until), batch.known(since, until)
        columns = "".join(
            f", ({batch.value(v, since, until)})::DOUBLE AS v{i}"
            for i, v in enumerate(batch.values)
        )
        place = source.order.format(seen=batch.seen)
        route = ", route" if batch.routed else ""
        # The bounds on "at" itself let DuckDB pass over the parts of files that are of other times.
        earliest = max(source.since, batch.earliest(since))
        return (
            f"SELECT hash(unit) AS unit, arm, {batch.seen} AS seen, {place} AS place, "
            f"{asked} AS asked{route}{columns} "
            f"FROM {source.judged if batch.late else source.requests} "
            f'WHERE {source.where} AND "at" >= {earliest!r} AND "at" < {until!r} '
            f"AND (({asked}) OR ({known}))"
        )

    def _set_apart(self) -> None:
        """Find what counts nowhere: what the source sets apart, and units in several arms."""
        apart = self._source.apart
        self._db.execute(
            "CREATE OR REPLACE TEMP TABLE apart AS SELECT unit, arm FROM sums_requests "
            f"{f'QUALIFY {apart}' if apart else 'LIMIT 0'}"
        )
        self._db.execute(
            "CREATE OR REPLACE TEMP TABLE crossed AS SELECT unit FROM sums_requests "
            "ANTI JOIN apart USING (unit, arm) GROUP BY unit HAVING count(*) > 1"
        )

    def _commit(self, *statements: str) -> None:
        """Run statements that hold together or not at all."""
        import duckdb

        self._db.execute("BEGIN")
        try:
            for statement in statements:
                self._db.execute(statement)
        except duckdb.Error as error:
            self._db.execute("ROLLBACK")
            raise _told(error) from error
        self._db.execute("COMMIT")

    # Summing

    def _measured(self, table: str, i: int, bounds: tuple[float | None, float | None]) -> Measured:
        """The sums per arm of value i of a table."""
        rows = _counted(table)
        asked = dict(self._rows(f"SELECT arm, sum(requests)::BIGINT FROM {rows} GROUP BY arm"))
        centre = self._rows(f"SELECT sum(y{i}) / nullif(sum(n{i}), 0) FROM {rows}")[0][0]
        if centre is None:
            return Measured(*bounds, {}, requests=asked)
        orders = ", ".join(f"sum({sql})" for sql in _ORDERS.values())
        sums = self._rows(
            f"SELECT arm, count(*), count(*) FILTER (whole <> 0), sum(n), sum(y), {orders}, "
            f"sum(f), sum(f * f) FROM (SELECT arm, n{i} AS n, y{i} AS whole, "
            f"y{i} - n{i} * $c AS y, f{i} - $c AS f FROM {rows} WHERE n{i} > 0) GROUP BY arm",
            {"c": centre},
        )
        bins = self._bins(rows, i, *bounds)
        arms = {
            row[0]: Sums(**dict(zip(_SUMS, row[1:], strict=True)), bins=bins.get(row[0], ()))
            for row in sums
        }
        return Measured(*bounds, arms, centre, asked)

    def _bins(
        self, rows: str, i: int, low: float | None, high: float | None
    ) -> dict[str, tuple[float, ...]]:
        """Units by first value; one between two points counts for each in proportion."""
        if low is None or high is None:
            return {}
        found = self._rows(
            "SELECT arm, low, sum(1 - (p - low)), sum(p - low) FROM (SELECT arm, p, "
            "least(floor(p), $bins - 1)::INTEGER AS low FROM (SELECT arm, "
            f"(f{i} - $low) / ($high - $low) * $bins AS p FROM {rows} WHERE n{i} > 0)) "
            "GROUP BY arm, low",
            {"low": low, "high": high, "bins": BINS},
        )
        bins: dict[str, list[float]] = {}
        for arm, place, below, above in found:
            row = bins.setdefault(arm, [0.0] * (BINS + 1))
            row[place] += below
            row[place + 1] += above
        return {arm: tuple(row) for arm, row in bins.items()}

    # Quantiles

    def _tails(self, name: str, measure: QuantileMeasure, until: float) -> Tails:
        """The tails of a quantile; until its threshold can be fixed, how many values there are."""
        threshold, have = self._threshold(name, measure, until)
        if threshold is None:
            return Tails.awaited(measure.q, have, measure.first)
        moved = [threshold * a + b for a, b in (measure.worse, measure.no_worse)]
        stable = self._source.stable.replace("'", "''")
        borders = tuple(
            f"CASE arm WHEN '{stable}' THEN {threshold!r} ELSE {border!r} END"
            for border in (threshold, *moved)
        )
        fixed = self._kept_threshold(name) is not None
        batch = TailBatch(
            name, (_checked(measure),), _late(measure), measure.maturity, borders=borders
        )
        self._read(batch, until, fixed)
        level, worse, no_worse = (self._measured(name, i, (0.0, 1.0)) for i in range(3))
        before = "" if self._begun(batch, until) is None else "FROM kept.histogram UNION ALL "
        histograms: dict[str, dict[int, int]] = {}
        for arm, key, n in self._rows(
            f"SELECT arm, key, sum(n)::BIGINT FROM ({before}FROM histogram) "
            "WHERE measure = $m GROUP BY ALL",
            {"m": name},
        ):
            histograms.setdefault(arm, {})[key] = n
        return Tails(measure.q, threshold, level, worse, no_worse, histograms)

    def _threshold(
        self, name: str, measure: QuantileMeasure, until: float
    ) -> tuple[float | None, int]:
        """The pooled quantile of the first values, once they are all there; fixed ever after.

        Returns:
            It or None, and how many of those values there are.
        """
        kept = self._kept_threshold(name)
        if kept is not None:
            return kept, measure.first
        alone = Batch(name, (_checked(measure),), _late(measure), measure.maturity)
        values = self._values(alone, self._source.since, until)
        count, value, last = self._rows(
            f"SELECT count(*), quantile_cont(v0, {measure.q!r}), max(seen) FROM (SELECT v0, seen "
            f"FROM ({values}) ANTI JOIN apart USING (unit, arm) "
            f"WHERE v0 IS NOT NULL ORDER BY place LIMIT {measure.first})"
        )[0]
        if count < measure.first:
            return None, count
        if last < until - self._settled and alone.late != "feedback":
            self._commit(f"INSERT INTO kept.thresholds VALUES ('{name}', {value!r})")
        return float(value), count

    def _kept_threshold(self, name: str) -> float | None:
        kept = self._rows("SELECT value FROM kept.thresholds WHERE measure = $m", {"m": name})
        return float(kept[0][0]) if kept else None


def _counted(table: str) -> str:
    """The sums of a table that count."""
    return f"sums_{table} ANTI JOIN crossed USING (unit) ANTI JOIN apart USING (unit, arm)"


def _batches(measures: Iterable[Measure], routed: bool) -> dict[tuple[str, float], Batch]:
    """Measures by when their values are known; requests themselves always, first."""
    values: dict[tuple[str, float], list[str]] = {("", 0.0): []}
    for m in measures:
        values.setdefault((_late(m), m.maturity), []).append(_checked(m))
    return {
        key: Batch(f"batch{i}" if i else "requests", tuple(listed), *key, routed and not i)
        for i, (key, listed) in enumerate(values.items())
    }


def _late(measure: Measure) -> str:
    """What a measure's values wait for."""
    if _FEEDBACK.search(measure.sql()):
        return "feedback"
    return "label" if _LABEL.search(measure.sql()) else ""


def _checked(measure: Measure) -> str:
    """A measure's expression, which stops at a value that it must not have."""
    value = f"({measure.sql()})::DOUBLE"
    low = -LARGEST if measure.low is None else measure.low
    high = LARGEST if measure.high is None else measure.high
    if isinstance(measure, QuantileMeasure) and measure.low is None:
        low = 0.0  # its histogram is logarithmic
    named = measure.name.replace("'", "''")  # options are part of it
    told = f"'{_FAULT}{named}|' || {value} || '|{low!r}|{high!r}'"
    # NaN is greater than any number to DuckDB, so it is out of bounds as well.
    return f"CASE WHEN {value} NOT BETWEEN {low!r} AND {high!r} THEN error({told}) ELSE {value} END"


def _told(error: Exception) -> Exception:
    """What a query failed of: a value out of bounds, if it was ``_checked`` that stopped it."""
    _, mark, told = str(error).partition(_FAULT)
    if not mark:
        return error
    name, value, low, high = told.strip().split("|")[:4]
    return DataError(
        f"'{name}' has the value {value}",
        where=name,
        do=f"its values must lie between {low} and {high}: mend what it measures",
    )
