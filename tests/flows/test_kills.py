"""Killed anywhere, then run again: it goes on, nothing happens twice, and users are safe."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from traffic import send
from workplace import Workplace, until

KILLED = -signal.SIGKILL


def _versions(place: Workplace, model: str) -> int:
    registry = MlflowClient(f"sqlite:///{place.root}/mlflow.db")
    return len(registry.search_model_versions(f"name = '{model}'"))


def _aliases(place: Workplace, model: str) -> dict[str, str]:
    found = MlflowClient(f"sqlite:///{place.root}/mlflow.db").get_registered_model(model).aliases
    return {alias: str(version) for alias, version in found.items()}


def test_a_release_killed_anywhere_goes_on_where_it_was(released: Workplace) -> None:
    """Four kills at four points of one release, and the fifth press ends it: everything once."""
    asked = released.asked("anvil")
    points = {
        "after:flows.release.train": [],
        "after:flows.release.register": [],
        "after:tasks.open.record": ["opened"],
        "after:flows.advance.record": ["opened", "promoted"],
    }
    for point, events in points.items():
        assert released.strike("kill", point, "release", **asked).code == KILLED, point
        assert released.events("anvil") == events, point
    done = released.release("anvil")
    assert done.code == 0, done.err
    assert released.events("anvil") == ["opened", "promoted"]
    assert _versions(released, "anvil") == 1
    assert released.slipway("verify", "anvil").code == 0
    assert set(send(released, "anvil", 10, seed=1)) == {
        released.entries("anvil")[0].body["release"]
    }
    assert released.left_behind() == []


def test_without_its_controller_a_candidate_loses_its_users(released: Workplace) -> None:
    """Killed before the lease is granted, or later, users are back on stable within the lease."""
    first = released.release("forge")
    assert first.code == 0, first.err
    stable = released.entries("forge")[0].body["release"]
    asked = released.asked("forge", trainer__params={"c": 0.3})

    struck = released.strike("kill", "after:flows.advance.record", "release", **asked)
    assert struck.code == KILLED
    assert released.events("forge")[2:] == ["opened", "started"]
    assert set(send(released, "forge", 40, seed=2)) == {stable}

    _interrupted_once_it_serves(released, "forge", stable)
    seconds = _seconds_until_all_get(released, "forge", stable)
    assert seconds < 5 + 2  # the lease, and the gateway's look

    assert _aliases(released, "forge") == {"champion": "1", "challenger": "2"}
    for _ in range(2):
        assert released.press("advance", model="forge").code == 0
    # Of the lease that was never granted as well, where the next press took longer than it lasts.
    lapse = ["expired", "resumed"]
    assert released.events("forge")[4:] in (lapse, 2 * lapse)
    back = released.press("rollback", model="forge", reason="enough", actor="tester")
    assert back.code == 0, back.err
    assert released.events("forge")[-1] == "rolled_back"
    assert _aliases(released, "forge") == {"champion": "1"}  # nothing is on trial any more
    assert released.slipway("verify", "forge").code == 0


def _interrupted_once_it_serves(place: Workplace, model: str, stable: str) -> None:
    """Press again, so that it goes on; Ctrl-C as soon as the candidate has users."""
    pairs = (f"model={model}", "expectations=expectations/press", "trainer.params={c: 0.3}")
    child = place.start("release", str(place.project), *(f"--set={pair}" for pair in pairs))
    until(lambda: set(send(place, model, 40, seed=2)) - {stable}, 60, "an answer of the candidate")
    os.killpg(child.pid, signal.SIGINT)
    _, said = child.communicate(timeout=30)
    assert child.returncode == 130, said
    assert "interrupted; run the same again and it goes on" in said
    assert "Traceback" not in said


def _seconds_until_all_get(place: Workplace, model: str, stable: str) -> float:
    began = time.monotonic()
    until(lambda: set(send(place, model, 40, seed=2)) == {stable}, 30, "everyone on stable")
    return time.monotonic() - began


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_while_it_trains_it_leaves_nothing_running(
    released: Workplace, sent: signal.Signals, code: int
) -> None:
    """Ctrl-C or SIGTERM during the training ends the trainer too, with a sentence."""
    heads, before = released.heads(), released.processes()
    seen = set(released.root.glob("candidates/*"))
    pairs = ("trainer.use=train:hangs", f"trainer.seed={sent}")
    child = released.start("release", str(released.project), *(f"--set={pair}" for pair in pairs))
    until(lambda: _trains(released, seen), 60, "the training")
    os.killpg(child.pid, sent)
    _, said = child.communicate(timeout=30)
    assert child.returncode == code, said
    assert "interrupted; run the same again and it goes on" in said
    assert "Traceback" not in said
    until(lambda: released.processes() <= before, 20, "the end of what it started")
    assert released.heads() == heads


def _trains(place: Workplace, seen: set[Path]) -> bool:
    new = set(place.root.glob("candidates/*")) - seen
    return any((folder / "train.log").exists() for folder in new)
