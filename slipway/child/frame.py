"""From whatever a source gives to columns of the declared kinds: checked, never guessed.

``number`` is float64 with NaN for a missing value, ``text`` is a string with "" for one, ``time``
is an instant in UTC, and the target is a finite number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from slipway.errors import DataError

if TYPE_CHECKING:
    import pandas as pd


def kinds(request: Mapping[str, Any]) -> dict[str, str]:
    """Column name to kind, in the snapshot's order: features, target, time, unit."""
    found = {feature["name"]: feature["kind"] for feature in request["features"]}
    found.setdefault(request["target"], "target")
    for role, kind in (("time", "time"), ("unit", "text")):
        if request.get(role):
            found.setdefault(request[role], kind)
    return found


def coerce(raw: pd.DataFrame, wanted: Mapping[str, str], where: str) -> pd.DataFrame:
    """The wanted columns, each of its kind.

    Raises:
        DataError: a column is missing, or holds what its kind does not allow.
    """
    import pandas as pd

    missing = [name for name in wanted if name not in raw.columns]
    if missing:
        raise DataError(
            f"the data has no column {', '.join(repr(n) for n in missing)}",
            where=where,
            do=f"columns found: {', '.join(map(str, raw.columns))}",
        )
    columns = {name: _CONVERT[kind](raw[name], where) for name, kind in wanted.items()}
    return pd.DataFrame(columns).reset_index(drop=True)


def check_usable(frame: pd.DataFrame, features: Sequence[str], target: str, where: str) -> None:
    """Refuse data that nothing can be learnt from.

    Raises:
        DataError: no rows, a feature that is missing in every row, or a target of one value.
    """
    if frame.empty:
        raise DataError("the data is empty", where=where, do="check the source and the range")
    for name in features:
        column = frame[name]
        if (column.isna() | (column == "")).all():
            raise DataError(
                f"the feature '{name}' is missing in all {len(frame)} rows",
                where=where,
                do="mend the source, or leave the feature out of the spec",
            )
    if frame[target].nunique() < 2:
        raise DataError(
            f"the target '{target}' is {frame[target].iloc[0]:g} in all {len(frame)} rows",
            where=where,
            do="choose a range in which it varies",
        )


def _number(column: pd.Series[Any], where: str) -> pd.Series[Any]:
    import numpy as np
    import pandas as pd

    numbers = pd.to_numeric(column, errors="coerce").astype("float64")
    _refuse(column, numbers.isna() & column.notna(), "no number", where)
    _refuse(column, np.isinf(numbers), "not finite", where)
    return numbers


def _target(column: pd.Series[Any], where: str) -> pd.Series[Any]:
    numbers = _number(column, where)
    _refuse(column, numbers.isna(), "missing, in the target", where)
    return numbers


def _text(column: pd.Series[Any], where: str) -> pd.Series[Any]:
    return column.astype("str").where(column.notna(), "")


def _time(column: pd.Series[Any], where: str) -> pd.Series[Any]:
    import pandas as pd

    times = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    _refuse(column, times.isna(), "no time", where)
    return times.astype("datetime64[us, UTC]")


def _refuse(column: pd.Series[Any], bad: Any, what: str, where: str) -> None:
    count = int(bad.sum())
    if count:
        row = int(bad.to_numpy().argmax())
        raise DataError(
            f"the column '{column.name}' holds '{column.iloc[row]}' in row {row}: {what} "
            f"({count} such rows)",
            where=where,
            do="mend the source, or leave these rows out there",
        )


_CONVERT = {"number": _number, "target": _target, "text": _text, "time": _time}
