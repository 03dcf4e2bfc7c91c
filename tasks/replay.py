"""Replay recorded traffic against the gateway: a process of its own, beside the rollout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slipway.errors import RuntimeFailure

STOP_SECONDS = 60.0


@dataclass(slots=True)
class Replay:
    """A replay under way; ``summary`` is what it reported once it has ended."""

    process: subprocess.Popen[bytes]
    report: Path
    log: Path
    summary: dict[str, Any] = field(default_factory=dict)

    def begin(self) -> None:
        """Have it send, once it is prepared."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.close()

    def finish(self) -> dict[str, Any]:
        """Wait until all of it has been sent, with its outcomes.

        Raises:
            RuntimeFailure: it failed; its last lines are told.
        """
        if self.process.wait() != 0:
            said = self.log.read_text(errors="replace").splitlines()[-3:]
            raise RuntimeFailure(f"the replay failed: {' | '.join(said)}", where=str(self.log))
        self.summary.update(json.loads(self.report.read_text()))
        return self.summary

    def stop(self) -> None:
        """Have it stop sending, send the outcomes still due, and report."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.finish()


@contextmanager
def replay(folder: Path, gateway: str, since: str, until: str, rate: int) -> Iterator[Replay]:
    """The traffic of a time range, prepared at once and sent from ``begin`` to the block's end."""
    place = Path(tempfile.mkdtemp(prefix="slipway-replay-"))
    command = [sys.executable, str(folder / "replay.py"), "--gateway", f"http://{gateway}"]
    command += ["--from", since, "--until", until, "--rate", str(rate)]
    command += ["--summary", str(place / "summary.json"), "--when-told"]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=dict(os.environ)
        )
    running = Replay(process, place / "summary.json", place / "log")
    try:
        yield running
        running.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
