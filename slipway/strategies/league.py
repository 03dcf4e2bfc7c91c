"""League: several members beside stable; each stays until it is out, or the best one wins."""

from __future__ import annotations

from dataclasses import replace

from slipway.ladder import climb
from slipway.league import LeagueVerdict
from slipway.lifecycle import Event
from slipway.rollout import ModelState, Step
from slipway.verdict import Outcome, Verdict


class League:
    """A member that fails goes out, one that passes is promoted, and the league is over.

    It is a ladder of one step, which all members share. A release that is made meanwhile joins, and
    starts the step's time afresh. The last member that fails takes the league with it.
    """

    name = "league"

    def next(self, state: ModelState, verdict: Verdict, now: float) -> Step:
        """The next step of a rollout that is live or held."""
        assert state.rollout is not None
        of = verdict.release if isinstance(verdict, LeagueVerdict) else state.rollout.release
        if verdict.outcome is Outcome.FAIL and len(state.rollout.releases) > 1:
            return Step(Event.ELIMINATED, verdict.reason, release=of)
        return replace(climb(state, verdict, now), release=of)
