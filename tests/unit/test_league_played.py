"""Whole leagues played through: releases, verdicts, silences, kills and words in any order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.errors import RolloutError
from slipway.lifecycle import Event, State
from slipway.plan import Plan
from slipway.rehearsal import MODEL, Rehearsal
from slipway.routing import STABLE, RouteTable
from slipway.testing import plan

RELEASES = "BCDEF"
UNITS = [f"u{i}" for i in range(60)]
MEMBER = st.integers(0, 3)
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("release"), st.sampled_from(RELEASES)),
        st.tuples(st.sampled_from(["pass", "fail", "broken"]), MEMBER),
        st.tuples(st.sampled_from(["inconclusive", "killed", "shift"]), MEMBER),
        st.tuples(st.sampled_from(["approve", "resume", "roll back", "silence"]), st.just(0)),
    ),
    min_size=6,
    max_size=40,
)
PLANS = st.builds(
    plan,
    st.just((0.2,)),
    min_seconds=st.sampled_from([0.0, 20.0]),
    max_seconds=st.sampled_from([50.0, 600.0]),
    strategy=st.just("league"),
    league=st.sampled_from(
        [{"most": 3}, {"most": 4, "floor": None}, {"most": 4, "floor": 0.03, "shift_seconds": 15.0}]
    ),
    on_inconclusive=st.sampled_from(["rollback", "hold", "extend"]),
    approval=st.booleans(),
)


def played(how: Plan, acts: list[tuple[str, Any]]) -> Rehearsal:
    """A league of two beside A, and then all that may be done, ten seconds apart."""
    told = Rehearsal(how)
    told.release("A")
    for act, whom in [("inconclusive", 0), ("release", "B"), ("release", "C"), *acts]:
        told.clock.advance(61.0 if act == "silence" else 10.0)
        try:
            _do(told, act, whom)
        except RolloutError:
            continue  # not allowed in this state, and so not written
    return told


def _do(told: Rehearsal, act: str, whom: Any) -> None:
    rollout = told.state.rollout
    if act == "release":
        told.release(whom)
    elif rollout is None:
        return
    elif act in ("approve", "resume", "roll back"):
        {"approve": told.approve, "resume": told.resume, "roll back": told.roll_back}[act]()
    elif act == "shift":
        arms = [m.arm for m in rollout.members if not m.out]
        chances = {arm: float(n == whom) for n, arm in enumerate(arms)}
        told.tick(release=rollout.release, chances=chances)
    else:
        release = rollout.releases[whom % len(rollout.releases)] if act != "silence" else ""
        outcome = act if act in ("pass", "fail") else "inconclusive"
        told.tick(
            outcome,
            release=release,
            broken=release if act == "broken" else "",
            killed="before renewal" if act == "killed" else "",
        )


@settings(max_examples=60, deadline=None)
@given(PLANS, ACTS)
def test_a_league_keeps_its_laws_whatever_happens(how: Plan, acts: list[tuple[str, Any]]) -> None:
    """Who is out gets nobody, floors are kept, and only a pass or a person promotes."""
    told = played(how, acts)
    entries = told.ledger.entries(MODEL)
    out: set[str] = set()
    for entry in entries[2:]:
        if entry.event in (Event.OPENED, Event.PROMOTED):
            out = set()
        if entry.event is Event.ELIMINATED:
            out.add(entry.body["release"])
        for arm in (entry.body.get("route") or {"arms": []})["arms"]:
            served = arm["leased"] and arm["share"] > 0.0
            assert not served or arm["release"] not in out
            assert not served or arm["share"] >= (how.league.get("floor") or 0.0) - 1e-9
        if entry.event is Event.PROMOTED and entry.actor == "judge":
            assert entry.body["verdict"]["outcome"] == "pass"
            assert not how.approval
    assert told.ledger.faults(MODEL) == []
    assert set(told.served()) <= set(told.state.needed)


@settings(max_examples=60, deadline=None)
@given(PLANS, ACTS)
def test_users_stay_where_a_league_keeps_its_odds(how: Plan, acts: list[tuple[str, Any]]) -> None:
    """From one of its routes to the next, nobody moves between two arms that are in both."""
    before = None
    for entry in played(how, acts).ledger.entries(MODEL)[2:]:
        route = entry.body.get("route") and RouteTable.from_record(entry.body["route"])
        if not route or len(route.arms) == 1 or how.league.get("floor"):
            before = None if entry.event in (Event.PROMOTED, Event.ROLLED_BACK) else before
            continue
        if before and before.salt == route.salt:
            for unit in UNITS:
                was, now = before.assign(unit), route.assign(unit)
                gone = not (arm := route.arm(was.name)) or arm.share == 0.0
                came = not (arm := before.arm(now.name)) or arm.share == 0.0
                assert was.name == now.name or gone or came
        before = route


def test_the_parts_of_a_league_s_alpha_sum_to_one_at_most() -> None:
    """A league is one step, however often it begins anew."""
    told = Rehearsal(plan([0.2], strategy="league", league={"most": 3}))
    for name in ("A", "B"):
        told.release(name)
        told.tick()
    parts = []
    while told.state.state is not State.IDLE:
        assert told.state.rollout is not None
        parts.append(told.state.rollout.part)
        told.clock.advance(61.0)
        told.tick()
        told.tick()
    assert sum(parts) == pytest.approx(1.0, abs=0.06)
    assert sum(parts) <= 1.0
    assert told.served() == {"A": 1.0}
    assert told.state.route is not None
    assert [arm.name for arm in told.state.route.arms] == [STABLE]
