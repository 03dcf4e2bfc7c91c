"""The laws of a strategy, tried in every state, with every verdict, before and after its times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product

from slipway.conformance import require
from slipway.controller import CHOICES, LEAGUE_S_OWN
from slipway.lifecycle import TABLE, Event, State
from slipway.ports import Strategy
from slipway.rehearsal import Rehearsal
from slipway.rollout import ModelState, Rollout, Step
from slipway.testing import plan, verdict
from slipway.verdict import Outcome, Verdict

Law = Callable[[Strategy], None]
STEPS = (0.05, 0.25, 0.5)
ENDINGS = ("rollback", "hold", "extend")
BOTH = (False, True)


def check_strategy(make: Callable[[], Strategy]) -> None:
    """Every law that a strategy must keep.

    Args:
        make: gives a strategy.

    Raises:
        AssertionError: a law is broken; it says which.
    """
    for law in LAWS:
        law(make())


@dataclass(frozen=True, slots=True)
class Case:
    """A question to a strategy: where a rollout stands, what the judge says, and when."""

    state: ModelState
    rollout: Rollout
    verdict: Verdict
    elapsed: float

    def ask(self, strategy: Strategy) -> Step:
        """The strategy's answer."""
        return strategy.next(self.state, self.verdict, self.rollout.since + self.elapsed)

    def told(self, chosen: Step) -> str:
        """The case and the answer, for an error."""
        return (
            f"{self.state.state} at step {self.rollout.step + 1} of {len(STEPS)} after "
            f"{self.elapsed:g} s, verdict {self.verdict.outcome}: it chose {chosen}"
        )


@cache
def _cases() -> tuple[Case, ...]:
    """Every step of a ladder, live and held, with every verdict, before and after its times."""
    made = []
    for ending, approval, step, held in product(ENDINGS, BOTH, range(len(STEPS)), BOTH):
        state = _state(ending, approval, step, held)
        assert state.rollout is not None
        for outcome, elapsed in product(Outcome, (0.0, 59.9, 60.0, 599.9, 600.0, 1e6)):
            made.append(Case(state, state.rollout, verdict(outcome), elapsed))
    return tuple(made)


def _state(ending: str, approval: bool, step: int, held: bool) -> ModelState:
    played = Rehearsal(plan(STEPS, min_seconds=60.0, on_inconclusive=ending, approval=approval))
    played.release("A")
    played.tick()
    played.release("B")
    for number, share in enumerate(STEPS[: step + 1]):
        played.take(Step(Event.ADVANCED if number else Event.STARTED, "climbed", share))
    if held:
        played.take(Step(Event.HELD, "held"))
    return played.state


def _require_always(strategy: Strategy, law: str, holds: Callable[[Case, Step], object]) -> None:
    for case in _cases():
        chosen = case.ask(strategy)
        require(holds(case, chosen), f"{law} ({case.told(chosen)})")


def _forward(case: Case, chosen: Step) -> bool:
    onward = (Event.ADVANCED, Event.PROMOTED)
    return chosen.event in onward or chosen.share > case.rollout.share


def says_who_and_why(strategy: Strategy) -> None:
    """It has a name, and a reason for every step."""
    require(isinstance(strategy, Strategy), "a strategy must have a name and a method 'next'")
    require(strategy.name, "a strategy must have a name")
    _require_always(strategy, "every step must have a reason", lambda _, chosen: chosen.reason)


def only_what_can_happen(strategy: Strategy) -> None:
    """Every event is one that the lifecycle allows in that state, and a strategy's to choose."""
    _require_always(
        strategy,
        "a step's event must be allowed by the lifecycle",
        lambda case, chosen: chosen.event is None or chosen.event in TABLE[case.state.state],
    )
    _require_always(
        strategy,
        "a strategy may only advance, hold, roll back or promote a rollout that is no league",
        lambda _, chosen: chosen.event in CHOICES and chosen.event not in LEAGUE_S_OWN,
    )


def a_fail_returns_everyone(strategy: Strategy) -> None:
    """On a fail everyone returns to stable at once, whatever the time and the plan."""
    _require_always(
        strategy,
        "a verdict of fail must roll back",
        lambda case, chosen: (
            case.verdict.outcome is not Outcome.FAIL or chosen.event is Event.ROLLED_BACK
        ),
    )


def only_a_pass_moves_forward(strategy: Strategy) -> None:
    """No other verdict raises a share or promotes, and no pass before its step's least time."""
    _require_always(
        strategy,
        "only a pass, after the step's least time, may move traffic forward",
        lambda case, chosen: (
            not _forward(case, chosen)
            or (case.verdict.outcome is Outcome.PASS and case.elapsed >= 60.0)
        ),
    )


def no_step_is_skipped(strategy: Strategy) -> None:
    """A move forward leads to the plan's next share, and to 1 only by promotion."""
    _require_always(
        strategy,
        "a move forward must lead to the plan's next share",
        lambda case, chosen: (
            not _forward(case, chosen)
            or (chosen.event is Event.PROMOTED, chosen.share)
            == (case.rollout.next_share == 1.0, case.rollout.next_share)
        ),
    )


def a_hold_waits_for_a_person(strategy: Strategy) -> None:
    """What is held does not move forward by itself, and approval is a person's."""
    _require_always(
        strategy,
        "a strategy must not move a held rollout forward",
        lambda case, chosen: case.state.state is not State.HELD or not _forward(case, chosen),
    )
    _require_always(
        strategy,
        "a strategy must not promote where the plan asks for approval",
        lambda case, chosen: not case.rollout.plan.approval or chosen.event is not Event.PROMOTED,
    )


def the_same_again(strategy: Strategy) -> None:
    """It is a pure function: the same state, verdict and time give the same step."""
    first = [case.ask(strategy) for case in _cases()]
    again = [case.ask(strategy) for case in reversed(_cases())]
    require(first == again[::-1], "a strategy must not remember or draw at random")


LAWS: tuple[Law, ...] = (
    says_who_and_why,
    only_what_can_happen,
    a_fail_returns_everyone,
    only_a_pass_moves_forward,
    no_step_is_skipped,
    a_hold_waits_for_a_person,
    the_same_again,
)
