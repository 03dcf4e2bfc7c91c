"""League: several members beside stable; each stays until it is out, or the best one wins."""

from __future__ import annotations

import math
from dataclasses import replace

from slipway.ladder import climb
from slipway.league import LeagueVerdict
from slipway.lifecycle import Event, State
from slipway.members import shares_of, table_of
from slipway.rollout import ModelState, Rollout, Step
from slipway.verdict import Outcome, Verdict


class League:
    """A member that fails goes out, one that passes is promoted, and the league is over.

    It is a ladder of one step, which all members share. A release that is made meanwhile joins, and
    starts the step's time afresh. The last member that fails takes the league with it. Where the
    plan has a floor, shares follow each member's chance of being the best.
    """

    name = "league"

    def next(self, state: ModelState, verdict: Verdict, now: float) -> Step:
        """The next step of a rollout that is live or held."""
        assert state.rollout is not None
        of = verdict.release if isinstance(verdict, LeagueVerdict) else state.rollout.release
        if verdict.outcome is Outcome.FAIL and len(state.rollout.releases) > 1:
            return Step(Event.ELIMINATED, verdict.reason, release=of)
        step = replace(climb(state, verdict, now), release=of)
        if step.event is None and state.state is State.LIVE:
            return _shift(state.rollout, verdict, now) or step
        return step


def _shift(rollout: Rollout, verdict: Verdict, now: float) -> Step | None:
    """The step to shares that follow what was seen, if they differ and it is time."""
    rules, parts = rollout.plan.league, getattr(verdict, "chances", {})
    floor = rules.get("floor")
    if floor is None or not parts:
        return None
    if now - rollout.routed_at < rules["shift_seconds"]:
        return None
    portion = rollout.plan.steps[0]["share"]
    shares = shares_of(rollout.members, portion, floor, None, parts)
    arms = table_of(rollout.stable, rollout.members, portion, shares)
    served = rollout.routes[-1].arms
    if all(math.isclose(a.share, b.share) for a, b in zip(arms, served, strict=True)):
        return None
    told = ", ".join(f"{arm} {chance:.0%}" for arm, chance in parts.items())
    return Step(Event.SHIFTED, f"chances of being the best: {told}", rollout.share, parts=parts)
