"""Shadow: the candidate answers copies of requests, and no user gets its answers."""

from __future__ import annotations

from slipway.ladder import climb
from slipway.rollout import ModelState, Step
from slipway.verdict import Verdict


class Shadow:
    """Compare the candidate's answers with those that users got; a pass promotes, or is held.

    It is a ladder of one step, whose share is of requests copied, not of users. Both releases
    answer the same requests, so gates are limits on the pairs (``disagreement``, ``shift``,
    ``delay``) or on the candidate alone. What a verdict on answers cannot tell is what users would
    have done: ``approval: true`` leaves that to a person.
    """

    name = "shadow"

    def next(self, state: ModelState, verdict: Verdict, now: float) -> Step:
        """The next step of a rollout that is live or held."""
        return climb(state, verdict, now)
