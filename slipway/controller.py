"""What happens next in a model's rollout: one decision, from values alone.

The world is read before and written after; this file does neither, so a whole rollout can be
played through in a test with a list of verdicts and a list of times.
"""

from __future__ import annotations

from collections.abc import Callable

from slipway.lifecycle import Event, State
from slipway.rollout import NO_BASELINE, ModelState, Step
from slipway.routing import Lease
from slipway.strategies import resolve
from slipway.verdict import Verdict

WAIT = Step(None, "no rollout is open")


def decide(
    state: ModelState, lease: Lease | None, judge: Callable[[], Verdict], now: float
) -> tuple[Step, Verdict | None]:
    """The next step of a model, and the verdict that it rests on (None where none was needed).

    Args:
        lease: the last lease granted for the model.
        judge: gives the verdict on the evidence so far; only called where a share is live.
        now: seconds since 1970 UTC.
    """
    rollout = state.rollout
    if rollout is None:
        return WAIT, None
    if state.state is State.OPENED:
        if not rollout.stable:
            return Step(Event.PROMOTED, f"{NO_BASELINE}: the first release of this model", 1.0), None
        share = float(rollout.plan.steps[0]["share"])
        return Step(Event.STARTED, f"probed and ready: the first {share:.4g} of users", share), None
    if state.state is State.LAPSED:
        return Step(Event.RESUMED, "the judge is back: the step starts afresh", rollout.share), None
    if lease_ran_out(state, lease, now):
        reason = "the lease ran out unrenewed: the gateways returned everyone to stable"
        return Step(Event.EXPIRED, reason), None
    verdict = judge()
    return resolve(rollout.plan.strategy).next(state, verdict, now), verdict


def lease_ran_out(state: ModelState, lease: Lease | None, now: float) -> bool:
    """Whether a granted lease of the route in force is out. One never granted is not."""
    if lease is None or state.route is None or lease.route != state.route.number:
        return False
    return lease.left(now) <= 0.0


def leased(state: ModelState) -> bool:
    """Whether the route in force gives a leased share, which a tick must renew."""
    return state.route is not None and any(a.leased for a in state.route.arms)
