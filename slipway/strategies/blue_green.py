"""Blue/green: one atomic switch, and a bake time with the way back open."""

from __future__ import annotations

from slipway.ladder import climb
from slipway.rollout import ModelState, Step
from slipway.verdict import Verdict


class BlueGreen:
    """Give everyone the candidate at once, and stable back at once if it does not hold.

    It is a ladder of one step, the whole: the candidate runs beside stable, has answered, and is
    given all users by one route. Stable goes on running through the bake time. The share is a
    lease like any other, so that a dead judge gives everyone stable again. Nobody is left with
    stable to compare with, so its gates are limits (``slipway.alone``).
    """

    name = "blue_green"

    def next(self, state: ModelState, verdict: Verdict, now: float) -> Step:
        """The next step of a rollout that is live or held."""
        return climb(state, verdict, now)
