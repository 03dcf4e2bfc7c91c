"""How a ladder of shares is climbed: what canary and blue/green have in common."""

from __future__ import annotations

from slipway.lifecycle import Event, State
from slipway.rollout import ModelState, Rollout, Step
from slipway.verdict import Outcome, Verdict


def climb(state: ModelState, verdict: Verdict, now: float) -> Step:
    """The next step of a rollout that is live or held.

    Only a *pass*, after the step's least time, moves forward; a signal that is worse by then holds
    for a person. A verdict of *fail* returns everyone to stable at once. A step that ends its time
    without a pass does what the plan says: roll back (the default), hold for a person, or go on
    waiting.
    """
    rollout = state.rollout
    assert rollout is not None
    if verdict.outcome is Outcome.FAIL:
        return Step(Event.ROLLED_BACK, verdict.reason)
    if state.state is State.HELD:
        return Step(None, "held: waiting for a person's decision")
    elapsed = now - rollout.since
    if verdict.outcome is Outcome.PASS and elapsed >= rollout.limits["min_seconds"]:
        return _forward(rollout, verdict)
    if verdict.holds and elapsed >= rollout.limits["min_seconds"]:
        return Step(Event.HELD, verdict.reason)
    if elapsed >= rollout.limits["max_seconds"]:
        return _out_of_time(rollout, verdict, elapsed)
    return Step(None, f"{verdict.outcome} after {elapsed:.0f} s: {verdict.reason}")


def _forward(rollout: Rollout, verdict: Verdict) -> Step:
    share = rollout.earned(verdict)
    if share < 1.0 or rollout.steps_follow:
        return Step(Event.ADVANCED, verdict.reason, share)
    if rollout.plan.approval:
        return Step(Event.HELD, f"passed, and promotion waits for approval: {verdict.reason}")
    return Step(Event.PROMOTED, verdict.reason, 1.0)


def _out_of_time(rollout: Rollout, verdict: Verdict, elapsed: float) -> Step:
    reason = f"{verdict.outcome} at the end of the step's {elapsed:.0f} s: {verdict.reason}"
    if verdict.more_units:
        reason += f" (by estimate {verdict.more_units:,} more units of the candidate would tell)"
    match rollout.plan.on_inconclusive:
        case "hold":
            return Step(Event.HELD, reason)
        case "extend":
            return Step(None, reason)
        case _:
            return Step(Event.ROLLED_BACK, reason)
