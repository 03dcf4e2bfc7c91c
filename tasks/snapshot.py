"""Freeze the training data: the source runs in a child process, the Parquet is named by digest."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway import workshop
from slipway.expectations import FixedSet
from slipway.home import Home
from slipway.release import PREFIX, Column, Snapshot, short
from slipway.spec import Moment, Spec


@task(name="snapshot", cache_policy=NO_CACHE)
def snapshot(home: Home, spec: Spec, fixed_set: FixedSet | None) -> Snapshot:
    """Freeze what the spec's source gives, without the fixed dataset's rows.

    Raises:
        DataError: the source fails, or its data cannot be trained on.
    """
    data, store = spec.data, home.folder("snapshots")
    # The work folder stays only where the source failed: its log is what the error names.
    work = Path(tempfile.mkdtemp(prefix=".work-", dir=store))
    request = {
        "folder": str(spec.folder),
        "source": data.source,
        "params": data.params,
        "from": moment(data.range.start),
        "until": moment(data.range.until),
        "features": features(spec),
        "target": data.target,
        "time": data.time,
        "unit": data.unit,
        "fixed": str(fixed_set.path) if fixed_set else "",
        "fixed_rows": data.fixed_rows,
        "out": str(work),
    }
    told = workshop.run(
        "snapshot", request, python=spec.trainer.python, cwd=spec.folder, timeout=data.timeout
    )
    path = store / f"{told['content'].removeprefix(PREFIX)}.parquet"
    Path(told["path"]).replace(path)
    for left in work.iterdir():
        left.unlink()
    work.rmdir()
    made = Snapshot(
        model=spec.model,
        content=told["content"],
        rows=told["rows"],
        columns=tuple(Column(c["name"], c["kind"]) for c in told["columns"]),
        time_from=told["time_from"],
        time_to=told["time_to"],
        path=str(path),
    )
    get_run_logger().info(
        "snapshot %s: %d rows%s, %d rows of the fixed dataset left out",
        short(made.digest),
        made.rows,
        f", {made.time_from} to {made.time_to}" if made.time_from else "",
        told["dropped"],
    )
    return made


def moment(value: Moment) -> str:
    """A bound of the range as ISO 8601; empty for none."""
    return value.isoformat() if value else ""


def features(spec: Spec) -> list[dict[str, Any]]:
    """The features as the child process takes them."""
    return [{"name": f.name, "kind": f.kind} for f in spec.data.features]
