"""Where the flows' tests work: one home, one Prefect server, the small project, and its buttons."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.home import Home
from slipway.ledger import Entry, head
from slipway.stores.sql_ledger import SqlLedger, open_ledger

ROOT = Path(__file__).parents[2]


def until(told: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true answer; fails with what was awaited and the last answer."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (answer := told()):
        assert time.monotonic() < deadline, f"{what} not seen within {seconds} s: {answer!r}"
        pause.wait(0.05)
    return answer


@dataclass(frozen=True)
class Done:
    """How a button's press ended: exit code, what it printed, what it said on stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as a program reads it."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Workplace:
    """A home, a project folder, and the environment that the command line runs in.

    Args:
        project: the small project's folder.
        root: the home's folder.
        environ: names the home and the shared Prefect server.
    """

    project: Path
    root: Path
    environ: dict[str, str]

    @property
    def home(self) -> Home:
        """The home as the code sees it."""
        return Home.of(self.environ)

    @property
    def ledger(self) -> SqlLedger:
        """The home's ledger."""
        return open_ledger(self.home.ledger_url)

    def entries(self, model: str) -> tuple[Entry, ...]:
        """A model's entries, oldest first."""
        return self.ledger.entries(model)

    def events(self, model: str) -> list[str]:
        """A model's events, oldest first."""
        return [str(e.event) for e in self.entries(model)]

    def heads(self) -> dict[str, str]:
        """Model to the head of its chain: the same before and after means nothing was recorded."""
        return {m: head(self.entries(m)) for m in self.ledger.models()}

    def slipway(self, *arguments: str) -> Done:
        """Run the command line to its end."""
        child = self.start(*arguments)
        out, err = child.communicate(timeout=180)
        return Done(child.returncode, out, err)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command line, in a process group of its own as a terminal would."""
        return self.spawn("-m", "slipway.cli", *arguments)

    def strike(self, action: str, point: str, flow: str, **parameters: Any) -> Done:
        """Run a flow in a process that is struck at a point; see ``strike.py``."""
        script = str(Path(__file__).with_name("strike.py"))
        child = self.spawn(script, action, point, flow, json.dumps(parameters))
        out, err = child.communicate(timeout=180)
        return Done(child.returncode, out, err)

    def spawn(self, *command: str) -> subprocess.Popen[str]:
        """Start Python in the home's environment."""
        return subprocess.Popen(
            [sys.executable, *command],
            env=self.environ,
            cwd=self.project.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def press(self, flow: str, **parameters: Any) -> Done:
        """Run a flow here, by the very function that ``python -m flows`` runs."""
        from flows.__main__ import main

        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(flow, json.dumps(parameters))
        return Done(code, out.getvalue(), err.getvalue())

    def tick_until(self, model: str, event: str) -> None:
        """Advance a model, as the schedule does, until an event is its last."""

        def ticked() -> bool:
            done = self.press("advance", model=model)
            assert done.code == 0, done.err
            return self.events(model)[-1] == event

        until(ticked, 60, f"{event} of {model}")

    def release(self, model: str = "", **overrides: Any) -> Done:
        """Release the small project here, under a name and with keys overridden.

        A key's dots are written as two underscores: ``trainer__use="train:raises"``.
        """
        return self.press("release", **self.asked(model, **overrides))

    def asked(self, model: str = "", **overrides: Any) -> dict[str, Any]:
        """The release flow's parameters for the small project under a name."""
        changes = {k.replace("__", "."): v for k, v in overrides.items()}
        if model:
            changes = {"model": model, "expectations": "expectations/press", **changes}
        return {"spec": str(self.project), "overrides": changes, "actor": "tester"}

    def processes(self) -> set[int]:
        """The pids of everything that runs for this home."""
        mark = f"SLIPWAY_HOME={self.root}".encode()
        return {pid for pid, environ in _environments() if mark in environ.split(b"\0")}

    def left_behind(self) -> list[str]:
        """What a run may have left half-made."""
        made = [*self.root.glob("bundles/.*"), *self.root.glob("**/*.part")]
        return [str(p.relative_to(self.root)) for p in made]

    @property
    def gateway(self) -> str:
        """The gateway's ``host:port``."""
        said = json.loads(self.home.gateway.read_text())
        return f"{said['host']}:{said['port']}"

    def post(self, path: str, body: Any, unit: str = "m1", **headers: str) -> Answer:
        """POST to the gateway: JSON, or bytes as they are."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        told = {"content-type": "application/json", "x-slipway-unit": unit, **headers}
        connection = http.client.HTTPConnection(self.gateway, timeout=30)
        with contextlib.closing(connection):
            connection.request("POST", path, sent, told)
            answer = connection.getresponse()
            headers = {k.lower(): v for k, v in answer.getheaders()}
            return Answer(answer.status, headers, json.loads(answer.read()))


def _environments() -> Iterator[tuple[int, bytes]]:
    for place in Path("/proc").glob("[0-9]*"):
        try:
            yield int(place.name), (place / "environ").read_bytes()
        except OSError:
            continue  # it ended while we looked, or is another user's


def environment(root: Path, **more: str) -> dict[str, str]:
    """This process's environment with a home, and without the machine's own addresses."""
    away = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "SLIPWAY_LEDGER")
    kept = {k: v for k, v in os.environ.items() if k not in away}
    path = os.pathsep.join(p for p in [str(ROOT), kept.get("PYTHONPATH", "")] if p)
    return {
        **kept,
        "PYTHONPATH": path,
        "SLIPWAY_HOME": str(root),
        "SLIPWAY_GATEWAY_PORT": "0",
        **more,
    }
