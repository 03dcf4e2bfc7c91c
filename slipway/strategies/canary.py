"""Canary: rising shares, each earned by a pass."""

from __future__ import annotations

from slipway.ladder import climb
from slipway.rollout import ModelState, Step
from slipway.verdict import Verdict


class Canary:
    """Raise the candidate's share step by step; only a *pass* raises it."""

    name = "canary"

    def next(self, state: ModelState, verdict: Verdict, now: float) -> Step:
        """The next step of a rollout that is live or held."""
        return climb(state, verdict, now)
