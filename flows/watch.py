"""The scheduled check on live data: has it drifted from what the live model learnt?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.release import release
from slipway.home import Home
from slipway.spec import load
from tasks import drift as drifting
from tasks.drift import drift
from tasks.open import require_stable
from tasks.warm import warm
from tasks.window import reference, report_page, window


@flow(name="watch", flow_run_name="watch {spec} {since} {until}")
def watch(spec: str, since: str = "", until: str = "", release_on_drift: bool = False) -> str:
    """Compare live data with the snapshot that the live model learnt from.

    Args:
        spec: Path of the model's slipway.yaml, or of its folder.
        since: Start of the window, ISO 8601; empty for the last 24 hours of the inference log.
        until: End of the window, ISO 8601; empty for now.
        release_on_drift: Whether drift starts a release.
    """
    home, declared = Home.of(), load(Path(spec))
    live = require_stable(home, declared.model)
    with warm(drifting.MODULE) as inspector:
        current = window(home, declared, since, until)
        found = drift(
            inspector,
            reference(live),
            current,
            [f.name for f in declared.data.features],
            page=report_page(home, declared.model),
            share=declared.watch.drift_share,
            min_rows=declared.watch.min_rows,
        )
    if found.outcome == "drift" and release_on_drift:
        overrides: dict[str, Any] = {"data.range.until": until} if until else {}
        release(spec, overrides=overrides, actor="watch")
    return f"{declared.model}: {found.outcome}: {found.reason}\n{found.page}".rstrip()
