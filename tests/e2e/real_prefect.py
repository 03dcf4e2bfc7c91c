"""A running Prefect server as the end-to-end tests talk to it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
POOL = "slipway"


def until(told: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true answer; fails with what was awaited and the last answer."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (answer := told()):
        assert time.monotonic() < deadline, f"{what} not seen within {seconds} s: {answer!r}"
        pause.wait(0.1)
    return answer


@dataclass(frozen=True)
class Prefect:
    """A running server, and the environment in which Prefect's own commands reach it."""

    url: str
    environ: dict[str, str]
    folder: Path

    def run(self, *arguments: str) -> str:
        """Run ``prefect ...`` in the project's folder; its output, or the test fails with it."""
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(
            command, cwd=ROOT, env=self.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """POST to the API; its answer."""
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=30) as answer:
            return json.load(answer)
