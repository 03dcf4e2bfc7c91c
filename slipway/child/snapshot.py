"""Freezing training data: load, check, cut to the range, drop the fixed rows, sort, write."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.child import frame, table, usercode
from slipway.errors import DataError
from slipway.release import digest_file

if TYPE_CHECKING:
    import pandas as pd

FILE = "snapshot.parquet"


def take(request: Mapping[str, Any]) -> dict[str, Any]:
    """Freeze what a source gives; request and result are described in ``slipway.child``.

    Raises:
        DataError: the source fails, or its data cannot be trained on.
    """
    started = time.monotonic()
    wanted, where = frame.kinds(request), str(request["params"].get("path", request["source"]))
    since, until = _instant(request.get("from")), _instant(request.get("until"))
    rows = frame.coerce(_load(request, since, until), wanted, where)
    rows = _within(rows, request.get("time", ""), since, until)
    rows, dropped = _without_fixed(rows, wanted, request)
    frame.check_usable(rows, [f["name"] for f in request["features"]], request["target"], where)
    rows = rows.sort_values(_order(wanted, request), kind="stable", ignore_index=True)
    path = Path(request["out"]) / FILE
    table.write(rows, path)
    return {
        "path": str(path),
        "content": digest_file(path),
        "rows": len(rows),
        "dropped": dropped,
        **_span(rows, request.get("time", "")),
        "columns": [{"name": n, "kind": _plain(k)} for n, k in wanted.items()],
        "seconds": round(time.monotonic() - started, 3),
    }


def _load(request: Mapping[str, Any], since: Any, until: Any) -> pd.DataFrame:
    folder, source, params = Path(request["folder"]), request["source"], request["params"]
    if source in ("csv", "parquet"):
        if "path" not in params:
            raise DataError(
                f"the source '{source}' needs a path", where="data.params", do="add 'path: FILE'"
            )
        return table.read(folder / params["path"], frame.kinds(request), source)
    rows = usercode.call(source, folder, DataError, params=params, since=since, until=until)
    import pandas as pd

    if not isinstance(rows, pd.DataFrame):
        raise DataError(
            f"the source '{source}' returned a {type(rows).__name__}",
            where=str(folder),
            do="return a pandas.DataFrame",
        )
    return rows


def _instant(moment: str | None) -> Any:
    if not moment:
        return None
    import pandas as pd

    found = pd.Timestamp(moment)
    return found.tz_localize("UTC") if found.tz is None else found.tz_convert("UTC")


def _within(rows: pd.DataFrame, column: str, since: Any, until: Any) -> pd.DataFrame:
    if since is None and until is None:
        return rows
    if not column:
        raise DataError(
            "a range was given, but no time column", where="data.range", do="declare data.time"
        )
    if since is not None:
        rows = rows[rows[column] >= since]
    return rows if until is None else rows[rows[column] < until]


def _without_fixed(
    rows: pd.DataFrame, wanted: Mapping[str, str], request: Mapping[str, Any]
) -> tuple[pd.DataFrame, int]:
    """Rows that are not in the fixed dataset: the same features, time and unit is the same row."""
    if not request.get("fixed"):
        return rows, 0
    where = str(request["fixed"])
    fixed = table.read(Path(where), wanted)
    keys = {n: k for n, k in wanted.items() if k != "target" and n in fixed.columns}
    features = {f["name"]: f["kind"] for f in request["features"]}
    frozen = frame.coerce(fixed, {**features, **keys}, where).drop_duplicates()
    both = rows[list(frozen.columns)].merge(frozen, how="left", indicator=True)["_merge"]
    overlap = (both == "both").to_numpy()
    count = int(overlap.sum())
    if count and request.get("fixed_rows") != "drop":
        raise DataError(
            f"{count} rows of the fixed dataset are in the training data",
            where=where,
            do="a model is never tested on what it learnt: choose another range, or leave them "
            "out with 'data.fixed_rows: drop'",
        )
    return rows[~overlap], count


def _order(wanted: Mapping[str, str], request: Mapping[str, Any]) -> list[str]:
    """Time, then unit, then all the rest: the source's own order must not matter."""
    first = [request[role] for role in ("time", "unit") if request.get(role)]
    return [*first, *(name for name in wanted if name not in first)]


def _span(rows: pd.DataFrame, column: str) -> dict[str, str]:
    if not column:
        return {"time_from": "", "time_to": ""}
    return {
        "time_from": rows[column].min().isoformat(),
        "time_to": rows[column].max().isoformat(),
    }


def _plain(kind: str) -> str:
    return "number" if kind == "target" else kind
