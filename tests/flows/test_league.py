"""A league through a real gateway with real users: who joins, who goes out, who is promoted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any

import pytest
from small_project import GATES, MODEL, strokes
from traffic import FEATURES
from workplace import Workplace, until

from slipway.lifecycle import Event

LEAGUE: dict[str, Any] = {
    "strategy": "league",
    "league": {"share": 0.4, "most": 2, "min_seconds": 0.5, "max_seconds": 300},
    **{"lease_seconds": 60, "tick_seconds": 0.2},
}
GOAL = """
[[gate]]
metric = "wrong"
kind = "goal"
type = "rate"
direction = "lower"
margin = { relative = 0.0 }
min_units = 20
"""
RIGHT = {"stable": 0.5, "member-1": 0.95, "member-2": 0.05}
"""How often what really happened is what an arm had said."""
CLOSE = {"stable": 0.5, "member-1": 0.57, "member-2": 0.5}


def _pack(place: Workplace) -> str:
    """The pack, with a goal."""
    pack = place.project / "expectations" / "contest"
    if not pack.exists():
        shutil.copytree(pack.with_name(MODEL), pack)
        (pack / "gates.toml").write_text(GATES + GOAL)
    return "expectations/contest"


def _open(place: Workplace, model: str, c: float, **rules: float) -> str:
    """Release another version, and leave it to the judge. Its id."""
    rollout = {**LEAGUE, "league": {**LEAGUE["league"], **rules}}
    asked = place.asked(
        model, trainer__params={"c": c}, rollout=rollout, expectations=_pack(place)
    )  # fmt: skip
    done = place.press("release", **asked, wait=False)
    assert done.code == 0, done.err
    return str(place.entries(model)[-1].body["release"])


def _ask_and_tell(
    place: Workplace, model: str, count: int, parts: Mapping[str, float] = RIGHT
) -> None:
    """Requests of as many users, and what really happened after each."""
    told = dict.fromkeys(parts, 0)
    for number, row in enumerate(strokes(count, seed=count)):
        body = {"dataframe_records": [{name: row[name] for name in FEATURES}]}
        answer = place.post(f"/{model}/invocations", body, unit=f"user-{number}")
        assert answer.status == 200, answer
        arm, said = answer.headers["x-slipway-arm"], int(answer.body["predictions"][0] >= 0.5)
        told[arm] += 1
        right = told[arm] * parts[arm] % 1.0 < parts[arm]  # that part of each arm's, evenly
        note = {
            "request_id": answer.headers["x-slipway-request-id"],
            "kind": "label",
            "value": said if right else 1 - said,
        }
        assert place.post(f"/{model}/feedback", note).status == 200


def test_a_league_loses_the_worse_and_promotes_the_best(released: Workplace) -> None:
    """The second member joins the first; its standing is told; each goes its own way."""
    model = "cup"
    first = _open(released, model, 1.0)
    released.tick_until(model, "promoted")
    good = _open(released, model, 0.3)
    bad = _open(released, model, 0.5)
    other = {**LEAGUE, "approval": True}
    refused = released.release(model, rollout=other, expectations=_pack(released))
    assert refused.code == 1
    assert "opened with another rollout.approval" in refused.err
    full = released.release(
        model, trainer__params={"c": 0.7}, rollout=LEAGUE, expectations=_pack(released)
    )  # fmt: skip
    assert full.code == 1
    assert "has had the 2 members that it may have" in full.err
    released.tick_until(model, "started")
    _ask_and_tell(released, model, 400)
    standings = until(lambda: _standings(released, model), 30, "standings")
    assert [(s["release"], s["place"]) for s in standings] == [(good, "wins"), (bad, "out")]
    shown = released.slipway("standings", model).out.splitlines()
    assert [line.split()[1] for line in shown if line.endswith((" wins", " out"))] == [
        "member-1", "member-2",
    ]  # fmt: skip
    released.tick_until(model, "promoted")
    told = [(str(e.event), e.body["release"]) for e in released.entries(model)[2:]]
    assert told == [
        ("opened", good), ("joined", bad), ("started", good), ("eliminated", bad),
        ("promoted", good),
    ]  # fmt: skip
    out, won = released.entries(model)[-2:]
    assert out.reason.startswith("member-2: ")  # worse than stable, or than member-1: chance says
    assert "wrong 0.9" in out.reason
    assert out.body["way_back"]["release"] == bad
    assert [s["place"] for s in won.body["verdict"]["standings"]] == ["wins"]
    assert won.body["way_back"]["release"] == first
    answer = released.post(f"/{model}/invocations", b"{}", unit="anyone")
    assert answer.headers["x-slipway-release"] == good


def _standings(place: Workplace, model: str) -> Any:
    """The standings, once all that was logged is read: nothing while nobody is out."""
    told = place.slipway("standings", model, "--json")
    assert told.code == 0, told.err
    rows = json.loads(told.out)
    return rows if any(row["place"] == "out" for row in rows) else None


def test_with_a_floor_users_follow_what_was_seen(released: Workplace) -> None:
    """Who seems better, and not surely yet, gets more of them; the other keeps its floor."""
    model, rules = "cup-follows", {"floor": 0.05, "shift_seconds": 0.5}
    _open(released, model, 1.0, **rules)
    released.tick_until(model, "promoted")
    good, other = (_open(released, model, c, **rules) for c in (0.3, 0.5))
    released.tick_until(model, "started")
    _ask_and_tell(released, model, 900, CLOSE)
    released.tick_until(model, "shifted")
    entry = next(e for e in released.entries(model) if e.event is Event.SHIFTED)
    shares = {arm["release"]: arm["share"] for arm in entry.body["route"]["arms"]}
    assert shares[good] > shares[other] >= 0.05
    assert shares[good] + shares[other] == pytest.approx(4 / 7)  # as before, and stable's as well
    assert entry.reason.startswith("chances of being the best: member-1 ")
    assert entry.body["verdict"]["outcome"] == "inconclusive"


def test_a_league_needs_something_to_compete_for(released: Workplace) -> None:
    """Gates without a goal could promote nobody: refused before anything is made."""
    done = released.release("cup-without", rollout=LEAGUE)
    assert done.code == 1
    assert "a league needs one goal, a rate or mean" in done.err
