"""What the columns of someone's data file are: features and their kinds, the target, what to leave.

A CSV file is looked at as text, so that ``007`` stays a code and is not taken for a number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.child.table import MISSING_NUMBER, read_csv, unreadable
from slipway.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

FORMS = {".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
LEAST_ROWS = 200
LEAST_OF_A_CLASS = 20
MOSTLY = 0.9
YES = ("1", "true", "yes", "y", "t", "positive", "pos")
DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d|$)")
CODE = re.compile(r"[+-]?0\d")


@dataclass(frozen=True, slots=True)
class Roles:
    """What the user told of the columns; empty for none."""

    target: str
    time: str = ""
    unit: str = ""

    @property
    def named(self) -> list[str]:
        """The columns that have a role."""
        return [name for name in (self.target, self.time, self.unit) if name]


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be predicted.

    Args:
        kind: ``number`` or ``text``, as it stands in the file.
        two_valued: whether it is yes or no, so that the model gives a probability.
        labels: value in the file to 0 or 1; empty where it is a number to be taken as it is.
        unknown: how many rows lack it.
        size: what 99 of 100 of its absolute values stay below.
    """

    kind: str
    two_valued: bool
    labels: Mapping[Any, int]
    unknown: int
    size: float = 1.0

    @property
    def needs_loader(self) -> bool:
        """Whether the file cannot be trained on as it is."""
        return bool(self.labels or self.unknown)


@dataclass(frozen=True, slots=True)
class Columns:
    """Every column of a file, and what becomes of it.

    Args:
        features: name to ``number`` or ``text``.
        left_out: name to the reason.
    """

    features: Mapping[str, str]
    left_out: Mapping[str, str]
    target: Target


def form_of(path: Path) -> str:
    """``csv`` or ``parquet``, by the file's ending.

    Raises:
        DataError: the file is not there, or is neither.
    """
    do = "give a CSV file with a header line, or a Parquet file"
    if not path.is_file():
        told = "the data file is a folder" if path.is_dir() else "there is no such data file"
        raise DataError(told, where=str(path), do=do)
    if path.suffix.lower() not in FORMS:
        raise DataError(
            f"the data file's ending '{path.suffix}' is not known (allowed: {', '.join(FORMS)})",
            where=str(path),
            do=do,
        )
    return FORMS[path.suffix.lower()]


def look(path: Path, roles: Roles) -> Columns:
    """Read the whole file and tell what each column is.

    Raises:
        DataError: it cannot be read, lacks a column that has a role, has too few rows, a target
            that cannot be learnt, or no feature.
    """
    form = form_of(path)
    rows = _read(path, form)
    _require(rows, roles, path)
    target = _target(rows[roles.target], form, path)
    rows = rows[_present(rows[roles.target])]
    if len(rows) < LEAST_ROWS:
        raise DataError(
            f"the data file has {len(rows)} rows with a target; at least {LEAST_ROWS} are needed",
            where=str(path),
            do="a fifth is kept back for the fixed dataset: gather more rows",
        )
    features, left_out = {}, {}
    for name in (n for n in rows.columns if n not in roles.named):
        kind = _kind(rows[name], form)
        if reason := _useless(rows[name], kind):
            left_out[name] = reason
        else:
            features[name] = kind
    if not features:
        told = "; ".join(f"{n}: {reason}" for n, reason in left_out.items())
        raise DataError(f"no column is left to learn from: {told}", where=str(path))
    return Columns(features, left_out, target)


def _read(path: Path, form: str) -> pd.DataFrame:
    import pandas as pd

    try:
        if form == "parquet":
            return pd.read_parquet(path).rename(columns=str)
        return read_csv(path, dtype="str", keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' and pyarrow's own errors are ValueErrors
        raise unreadable(path, " ".join(str(error).split())) from error


def _require(rows: pd.DataFrame, roles: Roles, path: Path) -> None:
    missing = [name for name in roles.named if name not in rows.columns]
    if not missing:
        return
    found = list(rows.columns)
    do = f"columns found: {', '.join(found)}"
    if len(found) == 1 and (other := re.search(r"[;\t|]", found[0])):
        do = f"the file seems to be separated by {other[0]!r}: save it with commas"
    named = ", ".join(repr(name) for name in missing)
    raise DataError(f"the data file has no column {named}", where=str(path), do=do)


def _present(column: pd.Series[Any]) -> pd.Series[Any]:
    """Whether each value is there."""
    return column.notna() & ~column.isin(MISSING_NUMBER)


def _kind(column: pd.Series[Any], form: str) -> str:
    """``number``, ``text``, ``date``, or what else the column holds."""
    import pandas as pd
    from pandas.api.types import infer_dtype, is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(column) or is_bool_dtype(column):
        return "number"
    values = column[_present(column)]
    if isinstance(column.dtype, pd.CategoricalDtype):
        values = values.astype("object")
    held = infer_dtype(values, skipna=True)
    if held in ("boolean", "decimal", "integer", "floating", "mixed-integer-float"):
        return "number"
    if held != "string":
        return "date" if held.startswith(("date", "time")) else held
    return _kind_of_texts(values, form)


def _kind_of_texts(values: pd.Series[Any], form: str) -> str:
    """What texts stand for. Only in CSV is a number written as one."""
    import pandas as pd

    if values.str.match(DATE).all():
        return "date"
    if form == "parquet" or values.str.match(CODE).any():
        return "text"
    numbers = pd.to_numeric(values, errors="coerce")
    if numbers.notna().mean() <= MOSTLY:
        return "text"
    odd = values[numbers.isna()]
    return "number" if odd.empty else f"numbers, but for {odd.iloc[0]!r}: mend the file"


def _useless(column: pd.Series[Any], kind: str) -> str:
    """Why a column is no feature, or nothing."""
    import pandas as pd

    values = column[_present(column)]
    if values.empty:
        return "it is empty"
    if kind not in ("number", "text"):
        return "dates: derive numbers from it, such as the weekday" if kind == "date" else kind
    distinct = values.nunique()
    if distinct == 1:
        return f"it is {values.iloc[0]} in every row"
    if kind == "text" and distinct > len(values) / 2:
        return f"{distinct} different texts in {len(values)} rows: ids or free text"
    whole = kind == "number" and (pd.to_numeric(values).astype("float64") % 1 == 0).all()
    if whole and distinct == len(column):
        return "another whole number in every row: an id"
    return ""


def _target(column: pd.Series[Any], form: str, path: Path) -> Target:
    """What the target column asks for.

    Raises:
        DataError: it has one value, too few rows of one of two, or texts that are not two.
    """
    import pandas as pd

    values, kind = column[_present(column)], _kind(column, form)
    if kind == "number":
        values = pd.to_numeric(values).astype("float64")
    counts = values.astype("object").value_counts()
    unknown = len(column) - len(values)
    name = f"the target '{column.name}'"
    if len(counts) < 2:
        held = f"has one value, {_shown(counts.index[0])}" if len(counts) else "is empty"
        raise DataError(f"{name} {held}", where=str(path), do="choose a column that varies")
    if kind not in ("number", "text") or (len(counts) > 2 and kind == "text"):
        such = ", ".join(_shown(value) for value in counts.index[:3])
        raise DataError(
            f"{name} holds {kind} of {len(counts)} kinds, such as {such}",
            where=str(path),
            do="a target is a number, or has two values such as yes and no",
        )
    if len(counts) > 2:
        size = float(values.abs().quantile(0.99))
        return Target(kind, two_valued=False, labels={}, unknown=unknown, size=size)
    if counts.min() < LEAST_OF_A_CLASS:
        raise DataError(
            f"{name} is {_shown(counts.idxmin())} in only {counts.min()} of {len(values)} rows; at "
            f"least {LEAST_OF_A_CLASS} are needed",
            where=str(path),
            do="gather more rows of that kind",
        )
    labels = {} if set(counts.index) == {0.0, 1.0} else _labels(counts, kind)
    return Target(kind, two_valued=True, labels=labels, unknown=unknown)


def _shown(value: Any) -> str:
    """A value as its file shows it: 1 and not 1.0."""
    return f"{value:g}" if isinstance(value, float) else repr(value)


def _labels(counts: pd.Series[int], kind: str) -> dict[Any, int]:
    """Which of two values is the one: the larger number, the text that says yes, the rarer one."""
    values = sorted(float(v) if kind == "number" else str(v) for v in counts.index)
    yes = [v for v in values if str(v).strip().lower() in YES]
    if kind == "number":
        positive = values[1]
    elif len(yes) == 1:
        positive = yes[0]
    else:
        positive = min(values, key=lambda v: counts[v])
    return {value: int(value == positive) for value in values}
