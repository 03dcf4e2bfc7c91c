"""Compare live data with a training snapshot by Evidently, in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway import collector
from tasks.warm import Warm, answer_one

MODULE = "tasks.drift"
SECONDS = 600.0
MAX_ROWS = 20_000  # Evidently's preset takes 93 s on a million rows of 20 columns
SEED = 20_130_601


@dataclass(frozen=True, slots=True)
class Drift:
    """What a comparison found.

    Args:
        outcome: ``drift``, ``no_drift`` or ``not_measured``.
        columns: column to Evidently's distance or p-value, and whether it counts as drift.
        unmeasured: columns without a value on one side.
    """

    outcome: str
    reason: str
    columns: dict[str, dict[str, Any]]
    unmeasured: tuple[str, ...]
    rows: tuple[int, int]
    page: str


@task(name="drift", cache_policy=NO_CACHE)
def drift(
    inspector: Warm,
    reference: str,
    current: str,
    columns: Sequence[str],
    *,
    page: Path,
    share: float,
    min_rows: int,
) -> Drift:
    """Compare two Parquet files, column by column.

    Args:
        page: where Evidently's HTML report is kept.
        share: the share of columns whose drift counts as drift of the data.
        min_rows: with fewer rows on either side nothing is measured.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    request = {
        "reference": reference,
        "current": current,
        "columns": list(columns),
        "page": str(page),
        "share": share,
        "min_rows": min_rows,
    }
    answer = inspector.ask(request, SECONDS)
    found = Drift(
        **{**answer, "unmeasured": tuple(answer["unmeasured"]), "rows": tuple(answer["rows"])}
    )
    page.with_suffix(".json").write_text(json.dumps(answer, indent=1))
    get_run_logger().info("%s: %s", found.outcome, found.reason)
    return found


def run(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side."""
    import numpy as np
    import pandas as pd

    wanted = request["columns"]
    frames = [pd.read_parquet(request[side], columns=wanted) for side in ("reference", "current")]
    rows = [len(f) for f in frames]
    # One infinity makes Evidently's count of drifted columns disagree with its own values, and a
    # column without values makes it raise: infinities are missing, empty columns unmeasured.
    frames = [f.replace([np.inf, -np.inf], np.nan) for f in frames]
    empty = [c for c in wanted if any(f[c].isna().all() for f in frames)]
    measured = [c for c in wanted if c not in empty]
    if min(rows) < request["min_rows"] or not measured:
        reason = f"{rows[0]} and {rows[1]} rows; at least {request['min_rows']} of each are needed"
        return _answer("not_measured", reason, {}, empty, rows, "")
    sampled = [f[measured].sample(min(len(f), MAX_ROWS), random_state=SEED) for f in frames]
    columns = _compare(sampled[0], sampled[1], request["page"])
    drifted = sorted(c for c, told in columns.items() if told["drift"])
    found = len(drifted) / len(measured) >= request["share"]
    reason = f"{len(drifted)} of {len(measured)} columns drifted: {', '.join(drifted) or 'none'}"
    return _answer("drift" if found else "no_drift", reason, columns, empty, rows, request["page"])


def _answer(
    outcome: str,
    reason: str,
    columns: dict[str, Any],
    unmeasured: list[str],
    rows: list[int],
    page: str,
) -> dict[str, Any]:
    return {
        "outcome": outcome,
        "reason": reason,
        "columns": columns,
        "unmeasured": unmeasured,
        "rows": rows,
        "page": page,
    }


def _compare(reference: Any, current: Any, page: str) -> dict[str, Any]:
    from evidently import Dataset, Report
    from evidently.presets import DataDriftPreset

    report = Report([DataDriftPreset()], include_tests=True)
    snapshot = report.run(Dataset.from_pandas(current), Dataset.from_pandas(reference))
    snapshot.save_html(page)
    told = snapshot.dict()
    failed = {
        test["metric_config"]["params"].get("column")
        for test in told["tests"]
        if test["status"] != "SUCCESS"
    }
    return {
        metric["config"]["column"]: {
            "method": metric["config"].get("method", ""),
            "value": float(metric["value"]),
            "drift": metric["config"]["column"] in failed,
        }
        for metric in told["metrics"]
        if "column" in metric.get("config", {})
    }


if __name__ == "__main__":
    with collector.paused():
        import evidently
        import evidently.presets  # noqa: F401
    answer_one(run)
    collector.done()
