"""The door: read the request, do the verb, write the answer. See ``slipway.child``."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from slipway import collector
from slipway.errors import SlipwayError


def snapshot(request: Mapping[str, Any]) -> dict[str, Any]:
    """Freeze training data."""
    with collector.paused():
        import pyarrow.parquet  # noqa: F401

        from slipway.child.snapshot import take

    return take(request)


def train(request: Mapping[str, Any]) -> dict[str, Any]:
    """Fit and store a model."""
    with collector.paused():
        import skops.io  # noqa: F401

        from slipway.child.train import train

    return train(request)


VERBS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "snapshot": snapshot,
    "train": train,
}


def main(verb: str, request: Path, result: Path) -> None:
    """Do one verb. What is not Slipway's own error ends the process with a traceback."""
    end_with_parent()
    try:
        answer = {"ok": True, "result": VERBS[verb](json.loads(request.read_text()))}
    except SlipwayError as error:
        told = {"type": type(error).__name__, "what": error.what}
        answer = {"ok": False, "error": {**told, "where": error.where, "do": error.do}}
    beside = result.with_suffix(".part")
    beside.write_text(json.dumps(answer, allow_nan=False))
    beside.replace(result)


def end_with_parent() -> None:
    """End this whole process group when the parent is gone, however it went.

    The parent holds the other end of a pipe: reading it gives nothing until the parent ends.
    """
    if lifeline := os.environ.pop("SLIPWAY_LIFELINE", ""):
        threading.Thread(target=_wait_for_end, args=(int(lifeline),), daemon=True).start()


def _wait_for_end(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
    collector.done()
