"""``python strike.py ACTION POINT FLOW PARAMETERS``: run a flow and strike at a point of it.

The point is a function's name where the flow calls it, after ``before:`` or ``after:``, such as
``after:flows.release.train``. Actions: ``kill`` (SIGKILL to this very process), ``fill`` (from
then on no file can be written beyond 2,000 bytes, as on a full disk), ``swap`` (the newest bundle
gets the model of the oldest one, as by a mix-up on the way to where it serves), ``doubt`` (the
trained model's own answers are other ones than those of what serves), ``tick`` (a scheduled tick of
every open rollout, in a process of its own).
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def kill() -> None:
    """End this process as a lack of memory or of power would."""
    os.kill(os.getpid(), signal.SIGKILL)


def fill() -> None:
    """Let every longer write fail."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


def swap() -> None:
    """Put another model into the bundle that was validated."""
    models = Path(os.environ["SLIPWAY_HOME"]).glob("bundles/*/model.onnx")
    oldest, *_, newest = sorted(models, key=lambda path: path.stat().st_mtime)
    newest.write_bytes(oldest.read_bytes())


def doubt() -> None:
    """Let the trained model have answered otherwise than what serves does."""
    candidates = Path(os.environ["SLIPWAY_HOME"]).glob("candidates/*/native_scores.json")
    newest = max(candidates, key=lambda path: path.stat().st_mtime)
    newest.write_text(json.dumps([0.5 * score for score in json.loads(newest.read_text())]))


def tick() -> None:
    """Let the schedule come by, and let it do all that it wants to."""
    subprocess.run([sys.executable, "-m", "flows", "advance"], check=True)


ACTIONS: dict[str, Callable[[], None]] = {
    "kill": kill,
    "fill": fill,
    "swap": swap,
    "doubt": doubt,
    "tick": tick,
}


def struck(function: Callable[..., Any], when: str, action: Callable[[], None]) -> Any:
    """The function with an action before or after it."""

    def around(*args: Any, **options: Any) -> Any:
        if when == "before":
            action()
        result = function(*args, **options)
        if when == "after":
            action()
        return result

    return around


def main(action: str, point: str, flow: str, parameters: str) -> int:
    """Arm the point, then do what ``python -m flows`` does."""
    from flows.__main__ import main

    when, _, name = point.partition(":")
    module, _, attribute = name.rpartition(".")
    place = importlib.import_module(module)
    setattr(place, attribute, struck(getattr(place, attribute), when, ACTIONS[action]))
    return main(flow, parameters)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
