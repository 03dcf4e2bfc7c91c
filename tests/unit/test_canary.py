"""Canary: rising shares, each earned by a pass."""

from dataclasses import replace

import pytest

from slipway.errors import SpecError
from slipway.lifecycle import Event
from slipway.rehearsal import Rehearsal
from slipway.rollout import Step
from slipway.strategies import BUILT_IN, resolve
from slipway.strategies.canary import Canary
from slipway.testing import plan, verdict
from slipway.verdict import Finding, GateResult


def live(**changes: object) -> Rehearsal:
    """A candidate at its first share, in a plan of two steps of 60 to 600 seconds."""
    played = Rehearsal(plan([0.1, 0.5], min_seconds=60.0, **changes))  # type: ignore[arg-type]
    played.release("A")
    played.tick()
    played.release("B")
    played.tick()
    return played


def asked(played: Rehearsal, outcome: str, elapsed: float) -> Step:
    """What the canary says after some seconds of the step."""
    rollout = played.state.rollout
    assert rollout is not None
    return Canary().next(played.state, verdict(outcome), rollout.since + elapsed)


@pytest.mark.parametrize("elapsed", [0.0, 60.0, 1e6])
def test_a_fail_returns_everyone_at_once(elapsed: float) -> None:
    """No least time protects a candidate that fails."""
    assert asked(live(), "fail", elapsed) == Step(Event.ROLLED_BACK, "the judge says fail")


@pytest.mark.parametrize("ending", ["rollback", "hold", "extend"])
def test_a_worse_signal_holds_for_a_person_whatever_the_plan_says_of_doubt(ending: str) -> None:
    """More time would not change what is sure, and a signal is no reason to roll back."""
    played = live(on_inconclusive=ending)
    assert played.state.rollout is not None
    told = "a signal holds the rollout: cost is worse"
    found = replace(verdict("inconclusive", told), gates=(signal(Finding.WORSE),))
    since = played.state.rollout.since
    assert Canary().next(played.state, found, since + 59.9).event is None
    for elapsed in (60.0, 1e6):
        assert Canary().next(played.state, found, since + elapsed) == Step(Event.HELD, told)


def signal(outcome: Finding) -> GateResult:
    """What a gate that may hold, and no more, has found."""
    return GateResult("cost", "signal", outcome, 1.0, (0.5, 1.5), 99.0, (100, 100), 0.0, 0.05, "")


def test_a_pass_leads_to_the_next_share_after_the_least_time() -> None:
    """Not a moment earlier, and in the verdict's own words."""
    assert asked(live(), "pass", 59.9).event is None
    assert asked(live(), "pass", 60.0) == Step(Event.ADVANCED, "the judge says pass", 0.5)


def test_a_pass_at_the_last_step_promotes() -> None:
    """After the last share comes everyone."""
    played = live()
    played.take(Step(Event.ADVANCED, "x", 0.5))
    assert asked(played, "pass", 60.0) == Step(Event.PROMOTED, "the judge says pass", 1.0)


def test_promotion_waits_for_a_person_where_the_plan_says_so() -> None:
    """With approval a pass at the last step holds."""
    played = live(approval=True)
    played.take(Step(Event.ADVANCED, "x", 0.5))
    chosen = asked(played, "pass", 60.0)
    assert chosen.event is Event.HELD
    assert "approval" in chosen.reason


@pytest.mark.parametrize(
    ("ending", "event"),
    [("rollback", Event.ROLLED_BACK), ("hold", Event.HELD), ("extend", None)],
)
@pytest.mark.parametrize("outcome", ["inconclusive", "not_measured"])
def test_a_step_out_of_time_ends_as_the_plan_says(
    ending: str, event: Event | None, outcome: str
) -> None:
    """Rolled back (the default), held for a person, or given more time; the reason says why."""
    played = live(on_inconclusive=ending)
    assert asked(played, outcome, 599.9).event is None
    chosen = asked(played, outcome, 600.0)
    assert chosen.event is event
    assert chosen.reason == f"{outcome} at the end of the step's 600 s: the judge says {outcome}"


def test_what_is_held_waits_and_still_fails() -> None:
    """A hold keeps the share; only a fail moves it, and that is back."""
    played = live()
    played.take(Step(Event.HELD, "x"))
    assert asked(played, "pass", 1e6).event is None
    assert asked(played, "fail", 0.0).event is Event.ROLLED_BACK


def test_every_built_in_strategy_is_found_by_its_own_name() -> None:
    """The name in the table is the name that the class has."""
    assert {name: resolve(name).name for name in BUILT_IN} == {name: name for name in BUILT_IN}


@pytest.mark.parametrize("name", ["yolo", "no.such.module:Class", "slipway.release:Nothing", ""])
def test_an_unknown_strategy_lists_the_known_ones(name: str) -> None:
    """A name that leads nowhere stops the run."""
    with pytest.raises(SpecError, match="there is no strategy") as caught:
        resolve(name)
    assert "canary" in caught.value.do


def test_a_strategy_of_ones_own_comes_in_by_its_reference() -> None:
    """The same door as the built-in ones."""
    assert isinstance(resolve("slipway.strategies.canary:Canary"), Canary)
