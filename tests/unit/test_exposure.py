"""How large a share of users a verdict can vouch for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from slipway.exposure import judge_step
from slipway.rehearsal import Rehearsal
from slipway.rollout import FIRST_TRY, Rollout
from slipway.testing import plan, verdict
from slipway.verdict import Finding, GateResult, Outcome, Verdict


def _rollout(share: float, auto: bool) -> Rollout:
    """A rollout that serves a share."""
    played = Rehearsal(plan([share, 0.5] if share < 0.5 else [share], auto=auto))
    for name in ("A", "B"):
        played.release(name)
        played.tick()
    assert played.state.rollout is not None
    return played.state.rollout


def _judge(supported: float, asked: list[float]) -> Callable[[float], Verdict]:
    """A judge whose one guardrail supports a share; notes what it was asked for."""

    def judge_at(share: float) -> Verdict:
        asked.append(share)
        gate = GateResult(
            "error",
            "guardrail",
            Finding.UNDECIDED,
            0.0,
            (0.0, 0.1),
            1.0,
            (9, 9),
            0.1,
            0.05,
            "seen",
            share=supported,
        )
        outcome = Outcome.PASS if supported >= share else Outcome.INCONCLUSIVE
        return Verdict(outcome, "judged", (gate,), 1, (9, 9), next_share=share)

    return judge_at


def test_a_planned_step_is_judged_for_its_own_next_share() -> None:
    """The plan says 50 %, so 50 % is asked for, whatever the evidence could support."""
    asked: list[float] = []
    assert judge_step(_rollout(0.1, auto=False), _judge(0.8, asked)).next_share == 0.5
    assert asked == [0.5]


def test_auto_moves_to_the_largest_share_that_the_evidence_supports() -> None:
    """Rounded down, never up; and a share over a half is promotion's only."""
    asked: list[float] = []
    told = judge_step(_rollout(0.01, auto=True), _judge(0.12345, asked))
    assert (told.outcome, told.next_share) == (Outcome.PASS, 0.123)
    told = judge_step(_rollout(0.01, auto=True), _judge(0.9, asked))
    assert (told.outcome, told.next_share) == (Outcome.PASS, 0.5)
    told = judge_step(_rollout(0.01, auto=True), _judge(1.0, asked))
    assert (told.outcome, told.next_share) == (Outcome.PASS, 1.0)


def test_auto_waits_rather_than_take_a_small_step() -> None:
    """Each step starts its evidence afresh, so a little more is not worth one."""
    assert judge_step(_rollout(0.1, auto=True), _judge(0.14, [])).outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("outcome", ["fail", "not_measured"])
def test_auto_passes_on_what_is_no_question_of_the_share(outcome: str) -> None:
    """A fail is a fail at any share, and what was not measured supports none."""
    told = judge_step(_rollout(0.01, auto=True), lambda share: verdict(outcome, next_share=share))
    assert told.outcome == outcome


def test_the_parts_of_alpha_of_all_steps_sum_to_at_most_one() -> None:
    """However many steps auto takes."""
    played = Rehearsal(plan([0.001], auto=True))
    for name in ("A", "B"):
        played.release(name)
        played.tick()
    parts = []
    for number in range(1, 30):
        assert played.state.rollout is not None
        parts.append(played.state.rollout.part)
        played.tick("pass", next_share=0.001 + number / 100)
    assert sum(parts) <= 1.0
    assert parts[:2] == [pytest.approx(FIRST_TRY / 2), pytest.approx(FIRST_TRY / 6)]
