"""Exposure follows evidence: how large a share of users a verdict can vouch for.

A guardrail's budget B is the harm allowed to all users together. At share w of users, harm h to
each of the candidate's is w*h to all, so the move to w needs the anytime-valid upper bound of h
below B / w. A small share needs little evidence and promotion needs all of it, and at no moment
does the expected harm exceed B, up to the alpha of the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from slipway.rollout import Rollout
from slipway.verdict import Outcome, Verdict

GROWTH = 1.5
"""A move to less than this many times the share is not worth a step: each starts its evidence
afresh, at a smaller part of alpha."""

MOST = 0.5
"""The largest share before promotion: above it stable is the arm that lacks units to compare."""

_DIGITS = 1000.0


def judge_step(rollout: Rollout, judge_at: Callable[[float], Verdict]) -> Verdict:
    """The verdict on a step's evidence, for the share that comes next.

    By plan, that share is the plan's. With ``steps: auto`` promotion is asked for first; where the
    evidence cannot decide that, the largest share that it supports is.

    Args:
        judge_at: gives the verdict on the same evidence for a share that would come next.
    """
    if not rollout.plan.auto:
        return judge_at(rollout.next_share)
    whole = judge_at(1.0)
    share = min(math.floor(whole.share * _DIGITS) / _DIGITS, MOST)
    if whole.outcome is not Outcome.INCONCLUSIVE or share < GROWTH * rollout.share:
        return whole
    part = judge_at(share)
    return part if part.outcome is Outcome.PASS else whole
