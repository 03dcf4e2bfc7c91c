"""The other buttons: a pushed commit, every open rollout at once, and the watch."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import yaml
from small_project import MODEL, lay_down, strokes, table
from workplace import Workplace

from slipway.daemon import Daemon
from slipway.home import Home
from slipway.release import short


def _git(folder: Path, *arguments: str) -> str:
    person = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    told = subprocess.run(
        ["git", "-C", str(folder), *person, *arguments], capture_output=True, text=True, check=True
    )
    return told.stdout.strip()


def _repository(folder: Path) -> tuple[str, str]:
    """A repository whose last commit's trainer raises; the commit before it, and the last."""
    lay_down(folder / "models" / "press")
    trainer = folder / "models" / "press" / "train.py"
    _git(folder, "init", "-q")
    commits = []
    for text in (trainer.read_text(), "raise RuntimeError('not this commit')\n"):
        trainer.write_text(text)
        _git(folder, "add", "-A")
        _git(folder, "commit", "-qm", "Change the trainer")
        commits.append(_git(folder, "rev-parse", "HEAD"))
    return commits[0], commits[1]


def test_a_commit_is_released_as_it_was(released: Workplace, tmp_path: Path) -> None:
    """The files of the commit are released, whatever the working tree holds by now."""
    good, bad = _repository(tmp_path)
    asked = {**released.asked("pushed"), "spec": "models/press", "repository": str(tmp_path)}
    done = released.press("release", **asked, commit=good[:10])
    assert done.code == 0, done.err
    release = released.entries("pushed")[0].body["release"]
    assert released.ledger.manifest(release).commit == good
    refused = released.press("release", **asked, commit=bad)
    assert refused.code == 1
    assert "not this commit" in refused.err
    assert released.events("pushed") == ["opened", "promoted"]


def test_a_commit_that_is_not_there_is_refused(released: Workplace, tmp_path: Path) -> None:
    """A wrong commit, or no repository at all, is told with git's own words."""
    heads = released.heads()
    for repository in (released.project.parents[0], tmp_path):
        asked = {**released.asked(), "repository": str(repository), "commit": "f" * 40}
        done = released.press("release", **asked)
        assert done.code == 1
        assert "git says: fatal:" in done.err
        assert "a commit that it has" in done.err
    assert released.heads() == heads


def test_advance_without_a_name_ticks_every_model(released: Workplace) -> None:
    """The scheduled tick tells of every model on record, and changes none without a cause."""
    head = released.heads()[MODEL]
    stable = short(released.ledger.route(MODEL).table.stable.release)
    done = released.press("advance")
    assert done.code == 0, done.err
    assert f"{MODEL} is idle, stable is {stable}" in done.out
    assert all(f"{model} is " in done.out for model in released.ledger.models())
    assert released.heads()[MODEL] == head


def test_advance_starts_a_gateway_again_that_has_died(released: Workplace) -> None:
    """The scheduled tick brings it back where its users ask for it: at the same port."""
    daemon = Daemon("the gateway", Home(released.root, "").gateway, "/healthz")
    endpoint, pid = daemon.endpoint, daemon.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    done = released.press("advance")
    assert done.code == 0, done.err
    assert daemon.answers()
    assert daemon.endpoint == endpoint
    assert daemon.pid != pid


def _hot(place: Workplace) -> Path:
    """The same model's spec over hotter strokes."""
    hotter = [{**r, "temperature": r["temperature"] + 60, "load": 99.0} for r in strokes(300, 5)]
    table(place.project / "hot.csv", hotter)
    spec = yaml.safe_load((place.project / "slipway.yaml").read_text())
    spec["data"]["params"]["path"] = "hot.csv"
    spec["watch"] = {"min_rows": 100}
    path = place.project / "hot.yaml"
    path.write_text(yaml.safe_dump(spec))
    return path


def test_the_watch_finds_drift_and_keeps_its_page(released: Workplace) -> None:
    """Two of three columns have moved: drift, by name, with Evidently's page kept."""
    done = released.press("watch", spec=str(_hot(released)), since="2026-01-01", until="2026-02-01")
    assert done.code == 0, done.err
    told, page = done.out.splitlines()
    assert told.startswith(f"{MODEL}: drift: 2 of 3 columns drifted: load, temperature")
    assert "<html" in Path(page).read_text()


def test_the_watch_says_when_it_has_too_little(released: Workplace) -> None:
    """Few rows are not measured, which is never the same as no drift."""
    asked = {"since": "2026-01-01T00:00", "until": "2026-01-01T00:30"}
    done = released.press("watch", spec=str(_hot(released)), **asked)
    assert done.code == 0, done.err
    assert f"{MODEL}: not_measured: 400 and 30 rows; at least 100 of each" in done.out
