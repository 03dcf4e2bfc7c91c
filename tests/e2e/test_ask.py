"""A release that is held asks for a person's word in Prefect, and does what the person says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from real_prefect import ROOT, Prefect, until

from slipway.stores.sql_ledger import open_ledger

sys.path.append(str(Path(__file__).parents[1] / "flows"))
from small_project import GATES, lay_down

MODEL = "forge"


def _release(worker: Prefect, folder: Path, *changes: str) -> None:
    command = [sys.executable, "-m", "slipway.cli", "release", str(folder), "--set"]
    command += [f"model={MODEL}", *(word for c in changes for word in ("--set", c))]
    environ = {**worker.environ, "PREFECT_API_URL": worker.url}
    done = subprocess.run(
        [*command, "--no-wait"], cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def _waiting(worker: Prefect) -> dict[str, Any] | None:
    """The run that asks about the model, once it waits for an answer."""
    asked = {"flows": {"name": {"any_": ["ask"]}}}
    runs = worker.ask("/flow_runs/filter", asked)
    mine = [r for r in runs if r["parameters"].get("model") == MODEL]
    return next((r for r in mine if r["state_type"] == "PAUSED"), None)


def test_what_is_held_is_decided_in_the_ui(worker: Prefect, tmp_path: Path) -> None:
    """Held, asked, answered: who and why are in the ledger, and everyone gets the release."""
    folder = lay_down(tmp_path / "press")
    pack = folder / "expectations" / "press"
    (pack / "gates.toml").write_text(GATES.replace("alpha = 0.1", 'on_inconclusive = "hold"'))
    same = "expectations=expectations/press"
    ledger = open_ledger(f"sqlite:///{worker.folder / 'ledger.db'}")

    def told() -> list[str]:
        return [str(e.event) for e in ledger.entries(MODEL)]

    _release(worker, folder, same)
    until(lambda: told() == ["opened", "promoted"], 120, "the first release")
    steps = "rollout.steps=[{share: 0.5, min_seconds: 0, max_seconds: 1}]"
    _release(worker, folder, same, steps, "rollout.lease_seconds=120", "trainer.params={c: 0.3}")
    run = until(lambda: _waiting(worker), 180, "the question")
    assert told()[2:] == ["opened", "started", "held"]
    answer = {"decision": "promote", "reason": "the night shift tried it", "who": "Ada"}
    worker.ask(f"/flow_runs/{run['id']}/resume", {"run_input": answer})
    until(lambda: told()[-1] == "promoted", 120, "the promotion")
    last = ledger.entries(MODEL)[-1]
    assert (last.actor, last.reason) == ("Ada", "the night shift tried it")
