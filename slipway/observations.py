"""Observations in a CSV or Parquet file, checked whole before anything is judged.

Columns: ``time, arm, unit`` and one per metric (0 or 1, or a number, or empty). The rows are in
the order of time, as they came.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.errors import UsageError
from slipway.evidence import Measure, QuantileMeasure
from slipway.gates import Gate, Gates
from slipway.metrics import measure_of

if TYPE_CHECKING:
    import duckdb

KEYS = ("time", "arm", "unit")
READERS = {
    ".csv": "read_csv({path}, header=true, sample_size=-1, nullstr='')",
    ".parquet": "read_parquet({path})",
}
_TIMES = ("TIMESTAMP", "DATE")


@dataclass(frozen=True, slots=True)
class Observations:
    """A checked file.

    Args:
        db: its connection, with the table ``observations`` of at (seconds), arm, unit, and v0,
            v1, ... for the gates in order.
        measures: what to measure for each gate.
        arms: the baseline first, then the others by name.
        dated: whether times are moments rather than numbers.
        last: when the last row came.
        count: how many rows there are.
    """

    db: duckdb.DuckDBPyConnection
    measures: tuple[Measure, ...]
    arms: tuple[str, ...]
    dated: bool
    last: float
    count: int

    def rows(self, size: int = 50_000) -> Iterator[tuple[Any, ...]]:
        """(at, arm, unit, v0, v1, ...), oldest first; None where there is no value."""
        values = "".join(f", v{i}" for i in range(len(self.measures)))
        found = self.db.cursor().execute(f'SELECT "at", arm, unit{values} FROM observations')  # noqa: S608
        while chunk := found.fetchmany(size):
            yield from chunk


def read(path: Path, gates: Gates, baseline: str) -> Observations:
    """Read a file for these gates.

    Raises:
        UsageError: the file, its columns, its arms or its values cannot be judged; it names the
            place.
    """
    import duckdb

    reader = READERS.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise UsageError(
            "observations are read from a .csv or .parquet file, and this is none",
            where=str(path),
            do="give the path of such a file",
        )
    db = duckdb.connect(":memory:")
    source = reader.format(path="'" + str(path).replace("'", "''") + "'")
    try:
        types = {r[0]: r[1] for r in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}  # noqa: S608
        _check_columns(path, types, gates)
        _load(db, source, path, types, gates)
    except duckdb.Error as error:
        raise UsageError(
            f"the file cannot be read: {str(error).splitlines()[0]}",
            where=str(path),
            do="mend the file; every row needs a time, an arm, a unit, and numbers",
        ) from error
    last, count = _check_rows(db, path)
    arms = _check_arms(db, path, baseline)
    measures = tuple(_measure(db, path, i, g) for i, g in enumerate(gates.gates))
    return Observations(db, measures, arms, types["time"].startswith(_TIMES), last, count)


def _check_columns(path: Path, types: dict[str, str], gates: Gates) -> None:
    missing = [c for c in KEYS if c not in types]
    if missing:
        raise UsageError(
            f"the file has no column {', '.join(missing)}",
            where=str(path),
            do=f"give it the columns {', '.join(KEYS)} and one per metric; it has "
            f"{', '.join(types) or 'none'}",
        )
    unknown = sorted({g.metric for g in gates.gates} - set(types))
    if unknown:
        known = ", ".join(c for c in types if c not in KEYS) or "none"
        raise UsageError(
            f"unknown metric {', '.join(unknown)}: the file has no such column",
            where=str(path),
            do=f"its metrics are: {known}",
        )


def _load(
    db: duckdb.DuckDBPyConnection, source: str, path: Path, types: dict[str, str], gates: Gates
) -> None:
    """Make the table: a copy of a CSV file, a view of a Parquet file."""
    time = "epoch(time)" if types["time"].startswith(_TIMES) else "time::DOUBLE"
    values = "".join(
        ', "{}"::DOUBLE AS v{}'.format(gate.metric.replace('"', '""'), i)
        for i, gate in enumerate(gates.gates)
    )
    kind = "TABLE" if path.suffix.lower() == ".csv" else "VIEW"
    columns = f'{time} AS "at", arm::VARCHAR AS arm, unit::VARCHAR AS unit{values}'
    db.execute(f"CREATE {kind} observations AS SELECT {columns} FROM {source}")  # noqa: S608


def _check_rows(db: duckdb.DuckDBPyConnection, path: Path) -> tuple[float, int]:
    """Every row has its keys and comes after the one before; when the last came, how many."""
    import numpy as np

    count, whole = _one(
        db,
        'SELECT count(*), count(*) FILTER ("at" IS NOT NULL AND isfinite("at") AND arm IS NOT NULL '
        "AND unit IS NOT NULL) FROM observations",
    )
    if not count:
        raise UsageError("the file has no rows", where=str(path), do="give it observations")
    if whole < count:
        raise UsageError(
            f"{count - whole} of {count} rows lack a time, an arm or a unit",
            where=str(path),
            do="leave out such rows, or fill them in",
        )
    times = np.asarray(db.execute('SELECT "at" FROM observations').fetchnumpy()["at"])
    back = np.flatnonzero(times[1:] < times[:-1])
    if len(back):
        raise UsageError(
            f"times are out of order: row {back[0] + 2} is earlier than the row before it",
            where=str(path),
            do="sort the rows by time",
        )
    return float(times[-1]), int(count)


def _check_arms(db: duckdb.DuckDBPyConnection, path: Path, baseline: str) -> tuple[str, ...]:
    arms = [r[0] for r in db.execute("SELECT DISTINCT arm FROM observations ORDER BY 1").fetchall()]
    if baseline not in arms:
        raise UsageError(
            f"there is no arm '{baseline}' to compare with",
            where=str(path),
            do=f"name the reference with --baseline; the file's arms are {', '.join(arms)}",
        )
    if len(arms) == 1:
        raise UsageError(
            f"there is one arm only, '{baseline}'",
            where=str(path),
            do="give it the observations of at least one other arm",
        )
    crossed, unit = _one(
        db,
        "SELECT count(*), min(unit) FROM (SELECT unit FROM observations GROUP BY unit "
        "HAVING min(arm) <> max(arm))",
    )
    if crossed:
        raise UsageError(
            f"{crossed} units are in two arms, '{unit}' for one",
            where=str(path),
            do="a unit keeps its arm: mend the assignment, or leave such units out",
        )
    return (baseline, *(a for a in arms if a != baseline))


def _measure(db: duckdb.DuckDBPyConnection, path: Path, i: int, gate: Gate) -> Measure:
    """A gate's measure, once its column's values are found fit for it."""
    low, high = (0.0, 1.0) if gate.type == "rate" else (gate.low, gate.high)
    measure = measure_of(gate, 1.0, f"v{i}", low, high)
    if isinstance(measure, QuantileMeasure) and low is None:
        low = 0.0
    tests, told = [f"NOT isfinite(v{i})"], ["finite"]
    if gate.type == "rate":
        tests, told = [*tests, f"v{i} NOT IN (0, 1)"], ["0 or 1"]
    tests += [f"v{i} < {low!r}"] if low is not None else []
    tests += [f"v{i} > {high!r}"] if high is not None else []
    if gate.type != "rate":
        told += [f"at least {low:g}"] if low is not None else []
        told += [f"at most {high:g}"] if high is not None else []
    row, value = _one(
        db,
        f"SELECT min(row), arg_min(v{i}, row) FROM (SELECT v{i}, row_number() OVER () AS row "  # noqa: S608
        f"FROM observations) WHERE {' OR '.join(tests)}",
    )
    if row is not None:
        raise UsageError(
            f"metric '{gate.metric}' has the value {value:g} in row {row}",
            where=str(path),
            do=f"its values must be {' and '.join(told)}, or empty where there is none",
        )
    return measure


def _one(db: duckdb.DuckDBPyConnection, query: str) -> Sequence[Any]:
    row = db.execute(query).fetchone()
    assert row is not None
    return tuple(row)
