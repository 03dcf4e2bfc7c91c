"""Other ways to launch, each through a real gateway with real users."""

from __future__ import annotations

import shutil
from typing import Any

from small_project import GATES, MODEL
from traffic import traffic
from workplace import Workplace

TIMES = {"min_seconds": 0.5, "max_seconds": 90}
LEASE = {"lease_seconds": 5, "tick_seconds": 0.2}


def _first(place: Workplace, model: str) -> str:
    done = place.release(model)
    assert done.code == 0, done.err
    return place.entries(model)[0].body["release"]


def _limits(place: Workplace) -> str:
    """A pack whose gates hold the candidate's own figures."""
    pack = place.project / "expectations" / "limits"
    if not pack.exists():
        shutil.copytree(pack.with_name(MODEL), pack)
        text = GATES.replace("budget = 0.3", "limit = 0.3").replace("budget = 0.4", "limit = 0.4")
        (pack / "gates.toml").write_text(text)
    return "expectations/limits"


def test_blue_green_switches_everyone_and_bakes(released: Workplace) -> None:
    """One route gives everyone the candidate on trial; its own figures earn the promotion."""
    model = "blue"
    first = _first(released, model)
    rollout: dict[str, Any] = {"strategy": "blue_green", "bake": TIMES, **LEASE}
    with traffic(released, model):
        done = released.release(
            model, trainer__params={"c": 0.3}, rollout=rollout, expectations=_limits(released)
        )
    assert done.code == 0, done.err
    opened, started, promoted = released.entries(model)[2:]
    assert [str(e.event) for e in (opened, started, promoted)] == ["opened", "started", "promoted"]
    shares = {arm["release"]: arm["share"] for arm in started.body["route"]["arms"]}
    assert shares == {first: 0.0, opened.body["release"]: 1.0}
    verdict = promoted.body["verdict"]
    assert verdict["outcome"] == "pass"
    assert all("at a limit of" in gate["reason"] for gate in verdict["gates"])


def test_blue_green_refuses_gates_that_compare(released: Workplace) -> None:
    """A margin to stable could never be measured where nobody is left with stable."""
    done = released.release("blue", rollout={"strategy": "blue_green"})
    assert done.code == 1
    assert "these gates compare: error, brier" in done.err


def test_auto_takes_the_share_that_the_evidence_supports(released: Workplace) -> None:
    """No share is planned after the first: each entry's verdict was judged for the next one."""
    model = "auto"
    _first(released, model)
    rollout: dict[str, Any] = {"steps": "auto", "auto": {"first": 0.2, **TIMES}, **LEASE}
    with traffic(released, model):
        done = released.release(model, trainer__params={"c": 0.3}, rollout=rollout)
    assert done.code == 0, done.err
    moved = [e for e in released.entries(model)[3:] if str(e.event) in ("advanced", "promoted")]
    assert str(moved[-1].event) == "promoted"
    for entry in moved:
        assert entry.body["verdict"]["outcome"] == "pass"
        assert entry.body["verdict"]["next_share"] == entry.body.get("share", 1.0)
