"""A real ``git push`` to a real bare repository starts a release on a self-hosted Prefect."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from real_prefect import Prefect, until

from slipway.hook import install
from slipway.stores.sql_ledger import open_ledger

sys.path.append(str(Path(__file__).parents[1] / "flows"))
from small_project import MODEL, lay_down

BROKEN = "model: flights\nlaunch_it_now: please\n"


def _git(where: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", "-C", str(where), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip() + done.stderr.strip()


def _repository(folder: Path) -> tuple[Path, Path]:
    _git(folder, "init", "-q", "--bare", "-b", "main", "models.git")
    _git(folder, "clone", "-q", "models.git", "work")
    return folder / "models.git", folder / "work"


def _commit(work: Path, message: str) -> str:
    _git(work, "add", ".")
    _git(work, "commit", "-q", "-m", message)
    return _git(work, "rev-parse", "HEAD")


def _finished(prefect: Prefect, commit: str) -> dict[str, Any] | None:
    """The run of this commit, once it has started and come to its end."""
    runs = prefect.ask("/flow_runs/filter", {"flows": {"name": {"any_": ["release"]}}})
    mine = [r for r in runs if r["parameters"].get("commit") == commit]
    ended = [r for r in mine if r["state_type"] in ("COMPLETED", "FAILED", "CRASHED")]
    return ended[0] if ended else None


def test_a_push_starts_a_release_of_that_commit(worker: Prefect, tmp_path: Path) -> None:
    """The pushed commit's own spec is what the release reads: its fault is what the run reports."""
    bare, work = _repository(tmp_path)
    install(bare, worker.url, spec="flights/slipway.yaml")
    (work / "flights").mkdir()
    (work / "flights" / "slipway.yaml").write_text(BROKEN)
    commit = _commit(work, "A model whose spec has a fault")
    assert f"told Prefect of {commit[:12]}" in _git(work, "push", "origin", "main")
    run = until(lambda: _finished(worker, commit), 90, "the release")
    assert run["parameters"]["repository"] == str(bare)
    assert run["parameters"]["spec"] == "flights/slipway.yaml"
    assert run["start_time"] is not None
    assert "launch_it_now" in run["state"]["message"]


def test_a_push_puts_a_model_live(worker: Prefect, tmp_path: Path) -> None:
    """From `git push` to a promoted release of that very commit, with nobody pressing anything."""
    bare, work = _repository(tmp_path)
    install(bare, worker.url, spec="press")
    lay_down(work / "press")
    commit = _commit(work, "A model that works")
    _git(work, "push", "origin", "main")
    run = until(lambda: _finished(worker, commit), 240, "the release")
    assert run["state_type"] == "COMPLETED", run["state"]["message"]
    ledger = open_ledger(f"sqlite:///{worker.folder / 'ledger.db'}")
    opened, promoted = ledger.entries(MODEL)
    assert (str(promoted.event), opened.actor) == ("promoted", "git push")
    assert ledger.manifest(promoted.body["release"]).commit == commit
    shown = worker.ask("/artifacts/filter", {"artifacts": {"key": {"any_": [f"report-{MODEL}"]}}})
    assert [a["flow_run_id"] for a in shown] == [run["id"]]


def test_every_parameter_has_a_type_and_a_description(prefect: Prefect) -> None:
    """What the Prefect UI shows to the person who presses a button explains itself."""
    deployments = prefect.ask("/deployments/filter", {})
    assert {d["name"] for d in deployments} >= {"release", "advance", "watch", "rollback"}
    for deployment in deployments:
        for name, schema in deployment["parameter_openapi_schema"]["properties"].items():
            assert schema.get("description"), f"{deployment['name']}: {name} has no description"
            assert "type" in schema or "anyOf" in schema, f"{deployment['name']}: {name}"


def test_watch_runs_daily(prefect: Prefect) -> None:
    """The watch has one active schedule, once a day."""
    [watch] = prefect.ask("/deployments/filter", {"deployments": {"name": {"any_": ["watch"]}}})
    [schedule] = watch["schedules"]
    assert schedule["active"]
    assert schedule["schedule"]["cron"] == "0 6 * * *"
