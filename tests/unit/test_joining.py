"""Which releases join a league that is open, and which are refused, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slipway.errors import RolloutError
from slipway.joining import joining
from slipway.lifecycle import Event
from slipway.rehearsal import Rehearsal
from slipway.testing import plan

LEAGUE: dict[str, Any] = {"strategy": "league", "league": {"most": 3}}


def league(*releases: str, **changes: Any) -> Rehearsal:
    """A league beside the first of these, of the others."""
    played = Rehearsal(plan([0.2], **{**LEAGUE, **changes}))
    for name in releases:
        played.release(name)
        played.tick()
    return played


def test_only_a_league_that_is_open_is_joined() -> None:
    """Nothing open, a canary that is open, or a release that is to be launched as one."""
    assert joining(league("A").state, "B", plan([0.2], **LEAGUE)) is None
    assert joining(league("A", "B").state, "C", plan([0.2])) is None
    canary = Rehearsal(plan([0.2]))
    canary.release("A")
    canary.tick()
    canary.release("B")
    assert joining(canary.state, "C", plan([0.2], **LEAGUE)) is None


def test_members_are_launched_by_one_plan() -> None:
    """Where and how each runs is its own; what else differs is named as it is declared."""
    played = league("A", "B")
    elsewhere = replace(played.plan, runtime={"kind": "docker"})
    step = joining(played.state, "C", elsewhere)
    assert step is not None
    assert (step.event, step.release) == (Event.JOINED, "C")
    other = replace(
        played.plan, gates={"gate": []}, approval=True, league={"most": 5}, serving={"budget_ms": 9}
    )
    with pytest.raises(RolloutError) as caught:
        joining(played.state, "C", other)
    told = "another gates.toml, rollout.approval, rollout.league, serving"
    assert told in caught.value.what


def test_nobody_joins_while_a_person_is_asked() -> None:
    """Not even once the lease is out; but a judge that is away does not keep a release out."""
    played = league("A", "B", approval=True)
    played.clock.advance(61.0)
    played.tick()
    played.release("C")
    played.tick()
    assert set(played.served()) == {"A", "B", "C"}
    played.tick("pass", release="C")
    for _ in range(2):
        with pytest.raises(RolloutError, match="waits for a person's word on C"):
            joining(played.state, "D", played.plan)
        played.clock.advance(61.0)
        played.tick()


def test_the_first_release_is_no_league() -> None:
    """It is promoted as it is, and a release that joined it would be dropped without a word."""
    played = Rehearsal(plan([0.2], **LEAGUE))
    played.release("A")
    with pytest.raises(RolloutError, match="about to be live"):
        joining(played.state, "B", played.plan)


def test_a_league_that_an_earlier_version_opened_is_joined() -> None:
    """Its plan knows no floor, and one without a floor is the same."""
    played = league("A", "B")
    newer = replace(played.plan, league={"most": 3, "floor": None, "shift_seconds": 86_400.0})
    assert joining(played.state, "C", newer) is not None
    with pytest.raises(RolloutError, match="another rollout"):
        joining(played.state, "C", replace(newer, league={**newer.league, "floor": 0.01}))
