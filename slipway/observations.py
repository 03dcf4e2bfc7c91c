"""Observations in a CSV or Parquet file or a Prometheus, checked whole before anything is judged.

Columns: ``time, arm, unit`` and one per metric (0 or 1, true or false, a number, or empty). The
rows are in the order of time, as they came.
"""

from __future__ import annotations

import csv
import glob
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.errors import UsageError
from slipway.evidence import Measure
from slipway.gates import LARGEST, Gate, Gates
from slipway.metrics import measure_of
from slipway.stores.prometheus import query_range, resemblance

if TYPE_CHECKING:
    import duckdb

KEYS = ("time", "arm", "unit")
READERS = {
    ".csv": "read_csv({path}, header=true, sample_size=-1, nullstr='')",
    ".parquet": "read_parquet({path})",
}
NUMBER = "file_row_number"
"""What DuckDB calls a Parquet file's count of rows."""
LATEST = 1e11
"""Seconds since 1970 beyond which a time is surely told in something shorter: the year 5138."""
_TIMES = ("TIMESTAMP", "DATE")
_NUMERIC = re.compile(
    r'U?(TINYINT|SMALLINT|INTEGER|BIGINT|HUGEINT)|FLOAT|DOUBLE|DECIMAL.*\)|VARCHAR|ENUM.*\)|"NULL"'
)


@dataclass(frozen=True, slots=True)
class Observations:
    """A checked file.

    Args:
        path: its path, or the address it came from.
        db: its connection, with the table ``observations`` of at (seconds), arm, unit, and v0,
            v1, ... for the gates in order; its rowid is the order of the file.
        measures: what to measure for each gate.
        arms: the baseline first, then the others by name.
        dated: whether times are moments rather than numbers.
        last: when the last row came.
        count: how many rows there are.
        windows: whether each row is a window of time, and not a unit's request.
    """

    db: duckdb.DuckDBPyConnection
    path: Path | str
    measures: tuple[Measure, ...]
    arms: tuple[str, ...]
    dated: bool
    last: float
    count: int
    windows: bool = False

    def refuse_crossed(self) -> None:
        """Stop at units in two arms.

        Raises:
            UsageError: there are some; it names one.
        """
        crossed, unit = _one(
            self.db,
            "SELECT count(*), min(unit) FROM (SELECT min(unit) AS unit FROM observations "
            "GROUP BY hash(unit) HAVING min(arm) <> max(arm))",
        )
        if crossed:
            raise UsageError(
                f"{crossed} units are in two arms, '{unit}' for one"
                if crossed > 1
                else f"unit '{unit}' is in two arms",
                where=str(self.path),
                do="a unit keeps its arm: mend the assignment, or leave such units out",
            )

    @property
    def unit(self) -> str:
        """What a unit is, in a word."""
        return "window" if self.windows else "unit"

    def moment(self, at: float) -> str | float:
        """A time as the file gave it: a moment in ISO 8601, or a number."""
        if self.dated:
            return datetime.fromtimestamp(at, UTC).isoformat()
        return int(at) if at == int(at) else at

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
    if not path.exists():
        raise UsageError("there is no such file", where=str(path), do="give the path of one")
    if reader is None or not path.is_file():
        raise UsageError(
            "observations are read from a .csv or .parquet file, and this is none",
            where=str(path),
            do="give the path of such a file",
        )
    if not path.stat().st_size:
        raise UsageError("the file is empty", where=str(path), do="give it observations")
    _check_shape(path)
    db = duckdb.connect(":memory:")
    db.execute("SET TimeZone = 'UTC'")  # of moments told as text without a zone
    source = reader.format(path="'" + glob.escape(str(path)).replace("'", "''") + "'")
    try:
        types = {r[0]: r[1] for r in db.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()}  # noqa: S608
        _check_columns(path, types, gates)
        _check_kinds(path, types, [g.metric for g in gates.gates])
        dated = _dated(db, source, types["time"])
        _load(db, source, path, types, gates, dated)
        measures = tuple(_measure(i, g) for i, g in enumerate(gates.gates))
        last, count = _check_rows(db, path, gates, measures)
        if last > LATEST and not dated:
            raise UsageError(
                f"a time is {last:.0f}, which is no number of seconds since 1970 that can be meant",
                where=str(path),
                do="give seconds: divide milliseconds by 1e3, microseconds by 1e6",
            )
        arms = _check_arms(db, path, baseline)
    except duckdb.Error as error:
        raise UsageError(
            f"the file cannot be read: {_cell(str(error)) or str(error).splitlines()[0]}",
            where=str(path),
            do="mend the file; every row needs a time (a number, or a moment such as "
            "2026-01-31T12:00:00Z), an arm, a unit, and numbers, true or false, or nothing",
        ) from error
    return Observations(db, path, measures, arms, dated, last, count)


def ask(
    url: str, gates: Gates, baseline: str, *, start: float, end: float, step: float
) -> Observations:
    """Windows of a Prometheus as observations, one of each arm per step: the window is the unit.

    This claims less than units do: it is about windows, and holds if one window's difference
    between the arms says nothing of the next one's. That is checked.

    Raises:
        UsageError: a gate has no query, the server gives nothing fit to judge, or windows that
            resemble their neighbours too much.
    """
    import duckdb

    told = [g.metric for g in gates.gates if g.query is None]
    if told:
        raise UsageError(
            f"the gate of {', '.join(told)} has no query",
            where=url,
            do='give each gate one, with type = "mean"',
        )
    span = {"start": start, "end": end, "step": step}
    found = [query_range(url, str(g.query), **span) for g in gates.gates]
    for gate, values in zip(gates.gates, found, strict=True):
        _refuse_resemblance(gate, values, baseline)
    keys = sorted({(at, arm) for values in found for arm in values for at in values[arm]})
    if not keys:
        raise UsageError(
            "the queries gave nothing from start to end", where=url, do="try them in its own page"
        )
    db = duckdb.connect(":memory:")
    columns = "".join(f", v{i} DOUBLE" for i in range(len(found)))
    db.execute(f'CREATE TABLE observations ("at" DOUBLE, arm VARCHAR, unit VARCHAR{columns})')
    db.execute("BEGIN")
    marks = ", ".join("?" * (3 + len(found)))
    for at, arm in keys:
        row = [values.get(arm, {}).get(at) for values in found]
        db.execute(f"INSERT INTO observations VALUES ({marks})", [at, arm, f"{arm} {at!r}", *row])  # noqa: S608
    db.execute("COMMIT")
    measures = tuple(_measure(i, g) for i, g in enumerate(gates.gates))
    last, count = _check_rows(db, url, gates, measures)
    arms = _check_arms(db, url, baseline)
    return Observations(db, url, measures, arms, True, last, count, windows=True)


def _refuse_resemblance(
    gate: Gate, values: Mapping[str, Mapping[float, float]], baseline: str
) -> None:
    """Stop where windows are no independent witnesses."""
    stable = values.get(baseline, {})
    for arm in values.keys() - {baseline}:
        gaps = {at: x - stable[at] for at, x in values[arm].items() if at in stable}
        r = resemblance(gaps)
        if r * math.sqrt(len(gaps)) > 3.0:
            raise UsageError(
                f"the windows of '{gate.metric}' resemble their neighbours (correlation {r:.2f} "
                f"over {len(gaps)} of them), so that they say less than they seem to",
                where=str(gate.query),
                do="give a longer --step, and the query a range no longer than it",
            )


def _check_shape(path: Path) -> None:
    """Stop at a CSV file whose header names a column twice, or with a row that does not fit it.

    Raises:
        UsageError: it names the columns, or the line.
    """
    if path.suffix.lower() != ".csv":
        return
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            header = next(lines, [])
            twice = sorted({name for name in header if header.count(name) > 1})
            if twice:
                told, do = f"the header names {', '.join(twice)} twice", "name each column once"
                raise UsageError(told, where=str(path), do=do)
            for row in lines:
                if row and len(row) != len(header):
                    raise UsageError(
                        f"line {lines.line_num} has {len(row)} fields, and the header "
                        f"{len(header)}",
                        where=str(path),
                        do="part fields by commas, and give each row one for every column, empty "
                        "where there is no value",
                    )
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"the file is no CSV in UTF-8: {error}", where=str(path), do="save it as such"
        ) from error


def _cell(error: str) -> str:
    """Which cell of a file a database error means, in words; nothing where it means none."""
    value = re.search(r"Could not convert string ['\"](.*?)['\"] to", error)
    moment = re.search(r"timestamp field .*?: \"(.*?)\"", error)
    column = re.search(r"column \"?(\w+)", error)
    line = re.search(r"CSV Error on Line: (\d+)", error)
    found = value or moment
    if not (found and column):
        return ""
    where = f"line {line[1]}, " if line else ""
    return f"{where}column {column[1]}: '{found[1]}' is no {'number' if value else 'moment'}"


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


def _check_kinds(path: Path, types: dict[str, str], metrics: Sequence[str]) -> None:
    """Stop at columns that hold neither numbers nor what can be read as such.

    Raises:
        UsageError: it names the first.
    """
    held = types | _durations(path)
    for name in ("time", *metrics):
        kind = held[name]
        fit = kind.startswith(_TIMES) if name == "time" else kind == "BOOLEAN"
        if "[" in kind or not (fit or _NUMERIC.fullmatch(kind)):
            told = "seconds as numbers, or moments such as 2026-01-31T12:00:00Z"
            raise UsageError(
                f"column {name} holds {kind}, and no {'times' if name == 'time' else 'numbers'}",
                where=str(path),
                do=f"give {told if name == 'time' else 'numbers, true or false, or nothing'}",
            )
    if NUMBER in types and path.suffix.lower() == ".parquet":
        raise UsageError(
            f"a column is named {NUMBER}, which is DuckDB's own name for the count of rows",
            where=str(path),
            do="give the column another name",
        )


def _durations(path: Path) -> dict[str, str]:
    """The columns of a Parquet file that Arrow wrote as durations: DuckDB sees mere integers."""
    if path.suffix.lower() != ".parquet":
        return {}
    import pyarrow.parquet

    found = pyarrow.parquet.read_schema(path)
    return {f.name: str(f.type) for f in found if str(f.type).startswith("duration")}


def _dated(db: duckdb.DuckDBPyConnection, source: str, kind: str) -> bool:
    """Whether times are moments rather than numbers; of text, one of them says it for all."""
    if kind != "VARCHAR":
        return kind.startswith(_TIMES)
    return bool(_one(db, f"SELECT TRY_CAST(min(time) AS DOUBLE) IS NULL FROM {source}")[0])  # noqa: S608


def _load(
    db: duckdb.DuckDBPyConnection,
    source: str,
    path: Path,
    types: dict[str, str],
    gates: Gates,
    dated: bool,
) -> None:
    """Make the table, whose rowid counts rows: a copy of a CSV file, a view of a Parquet file."""
    text = "::TIMESTAMPTZ" if types["time"] == "VARCHAR" else ""
    time = f"epoch(time{text})" if dated else "time::DOUBLE"
    values = "".join(
        f", {_number(gate.metric, types[gate.metric])} AS v{i}"
        for i, gate in enumerate(gates.gates)
    )
    kind, number = "TABLE", ""
    if path.suffix.lower() == ".parquet":
        kind, number = "VIEW", f", {NUMBER} AS rowid"
        source = source.removesuffix(")") + f", {NUMBER}=true)"
    columns = f'{time} AS "at", arm::VARCHAR AS arm, unit::VARCHAR AS unit{values}{number}'
    db.execute(f"CREATE {kind} observations AS SELECT {columns} FROM {source}")  # noqa: S608


def _number(column: str, kind: str) -> str:
    """SQL of a column as numbers: true is 1, false is 0."""
    name = '"' + column.replace('"', '""') + '"'
    # A mere cast would have DuckDB read the words of a CSV file as numbers in the first place.
    return f"({name} = true)::DOUBLE" if kind == "BOOLEAN" else f"{name}::DOUBLE"


def _check_rows(
    db: duckdb.DuckDBPyConnection, path: Path | str, gates: Gates, measures: Sequence[Measure]
) -> tuple[float, int]:
    """Every row has its keys, comes after the one before, and has fit values: in one pass.

    Returns:
        When the last row came, and how many there are.
    """
    unfit = [_unfit(i, m) for i, m in enumerate(measures)]
    wrong = "".join(f", count(*) FILTER ({test})" for test in unfit)
    count, whole, back, last, *wrongs = _one(
        db,
        'SELECT count(*), count(*) FILTER ("at" IS NOT NULL AND isfinite("at") AND arm IS NOT NULL '  # noqa: S608
        'AND unit IS NOT NULL), count(*) FILTER ("at" < before), max("at")'
        f'{wrong} FROM (SELECT *, lag("at") OVER () AS before FROM observations)',
    )
    if not count:
        raise UsageError("the file has no rows", where=str(path), do="give it observations")
    if whole < count:
        raise UsageError(
            f"{count - whole} of {count} rows lack a finite time, an arm or a unit",
            where=str(path),
            do="leave out such rows, or fill them in",
        )
    if back:
        row, _ = _first(db, '"at"', '"at" < before')
        raise UsageError(
            f"times are out of order: row {row} is earlier than the row before it",
            where=str(path),
            do="sort the rows by time",
        )
    for i, gate in enumerate(gates.gates):
        if wrongs[i]:
            row, value = _first(db, f"v{i}", unfit[i])
            raise UsageError(
                f"metric '{gate.metric}' has the value {value:g} in row {row}",
                where=str(path),
                do=f"its values must be {_fit(measures[i])}, or empty where there is none",
            )
    return float(last), int(count)


def _first(db: duckdb.DuckDBPyConnection, value: str, test: str) -> Sequence[Any]:
    """The first row of which a test is true, and its value."""
    return _one(
        db,
        f"SELECT min(row), arg_min({value}, row) FROM (SELECT *, row_number() OVER () AS row, "  # noqa: S608
        f'lag("at") OVER () AS before FROM observations) WHERE {test}',
    )


def _check_arms(db: duckdb.DuckDBPyConnection, path: Path | str, baseline: str) -> tuple[str, ...]:
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
    return (baseline, *(a for a in arms if a != baseline))


def _measure(i: int, gate: Gate) -> Measure:
    low, high = (0.0, 1.0) if gate.type == "rate" else (gate.low, gate.high)
    if gate.type == "quantile" and low is None:
        low = 0.0  # its histogram is logarithmic
    return measure_of(gate, 1.0, f"v{i}", low, high)


def _unfit(i: int, measure: Measure) -> str:
    """SQL: whether a row's value is none that the measure may have."""
    if measure.type == "rate":
        return f"v{i} NOT IN (0, 1)"
    low, high = _bounds(measure)
    return f"v{i} NOT BETWEEN {low!r} AND {high!r}"  # NaN is greater than any number to DuckDB


def _bounds(measure: Measure) -> tuple[float, float]:
    low, high = measure.low, measure.high
    return -LARGEST if low is None else low, LARGEST if high is None else high


def _fit(measure: Measure) -> str:
    """What values a measure may have, in words."""
    if measure.type == "rate":
        return "finite and 0 or 1"
    low, high = _bounds(measure)
    return f"at least {low:g} and at most {high:g}"


def _one(db: duckdb.DuckDBPyConnection, query: str) -> Sequence[Any]:
    row = db.execute(query).fetchone()
    assert row is not None
    return tuple(row)
