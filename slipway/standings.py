"""The standings of an open league, from what the gateways have logged so far."""

from __future__ import annotations

import os

from slipway.errors import RolloutError
from slipway.evidence import Evidence
from slipway.gates import Gates, parse
from slipway.league import LeagueVerdict, conclude, stand
from slipway.members import table_of
from slipway.metrics import measures
from slipway.rollout import ModelState
from slipway.routing import STABLE
from slipway.stores.evidence import LogEvidence
from slipway.verdict import Verdict, judge


def standings(
    log: str | os.PathLike[str], state: ModelState, until: float, look: int = 1
) -> LeagueVerdict:
    """What an open league's evidence says, at any time.

    Two arms are compared by the units that came under the first route that served both, or later,
    and stayed in the arm that they came to.

    Args:
        log: the inference log's directory.
        until: requests before it count.
        look: which look it is, for the record.

    Raises:
        RolloutError: no league is open, or its members have no users yet.
    """
    rollout = state.rollout
    if rollout is None or not rollout.routes:
        raise RolloutError(
            f"no league of {state.model} has users", do="see 'slipway status' for what is open"
        )
    gates, slices = parse(rollout.plan.gates), rollout.plan.steps[0]["share"]
    arms = table_of(rollout.stable, rollout.members, slices)
    shares = {arm.name: arm.share for arm in arms if arm.share}
    inside = {m.arm: m for m in rollout.members if not m.out}
    kept: dict[int, Evidence] = {}

    def seen_since(first: int) -> Evidence:
        if first not in kept:
            kept[first] = LogEvidence(log, shares).observe(
                state.model,
                first,
                measures(gates),
                since=rollout.opened_at,
                until=until,
                going_on=[number for number in rollout.routes if number > first],
            )
        return kept[first]

    def judge_pair(member: str, baseline: str, chosen: Gates, part: float) -> Verdict:
        first = max(inside[arm].since for arm in (member, baseline) if arm != STABLE)
        names = {"candidate": member, "baseline": baseline}
        return judge(seen_since(first), chosen, part=part, look=look, **names)  # type: ignore[arg-type]

    most = rollout.plan.league["most"]
    return conclude(
        stand(list(inside), gates, judge_pair, most=most),
        {arm: member.release for arm, member in inside.items()},
    )
