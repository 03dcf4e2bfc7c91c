"""What a watch compares: the snapshot that the live model learnt from, and a window of now."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path

from slipway.errors import DataError
from slipway.home import Home
from slipway.release import Release
from slipway.spec import Spec
from tasks.snapshot import snapshot

DAY_SECONDS = 86_400.0


def reference(live: Release) -> str:
    """The path of the snapshot behind a release.

    Raises:
        DataError: it is not there any more.
    """
    path = live.locators["snapshot"]
    if not Path(path).exists():
        raise DataError(
            "the live release's snapshot is gone", where=path, do="restore it, or release again"
        )
    return path


def window(home: Home, spec: Spec, since: str, until: str) -> str:
    """The path of a Parquet file with the features of a window of live data.

    With bounds the spec's own source is asked; without, the last day of the inference log.
    """
    if since or until:
        bounds = {"from": since or None, "until": until or None}
        data = spec.data.model_copy(update={"range": type(spec.data.range).model_validate(bounds)})
        return snapshot(home, spec.model_copy(update={"data": data}), None).path
    return _from_log(home, spec, time.time() - DAY_SECONDS)


def _from_log(home: Home, spec: Spec, since: float) -> str:
    """The features of every request that was answered since, row by row."""
    import pandas as pd

    from slipway.child import frame
    from slipway.stores.inference_log import open_log

    logged = open_log(home.log).execute(
        'SELECT features FROM requests WHERE model = ? AND "at" >= ? AND status = 200',
        [spec.model, since],
    )
    bodies = [json.loads(text) for (text,) in logged.fetchall() if text]
    records = [r for body in bodies for r in (body if isinstance(body, list) else [body])]
    kinds = {f.name: f.kind for f in spec.data.features}
    rows = pd.DataFrame([r for r in records if isinstance(r, dict)], columns=list(kinds))
    path = home.folder("runs", "windows") / f"{spec.model}-{_stamp()}.parquet"
    frame.coerce(rows, kinds, "the inference log").to_parquet(path)
    return str(path)


def report_page(home: Home, model: str) -> Path:
    """Where this run's page is kept."""
    return home.folder("runs", "drift") / f"{model}-{_stamp()}.html"


def _stamp() -> str:
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%fZ")
