"""The standings of an open league, from what the gateways have logged so far."""

from __future__ import annotations

import os
from functools import cache

from slipway.cohorts import LEAST_UNITS
from slipway.errors import RolloutError
from slipway.evidence import Evidence, together
from slipway.gates import Gates, parse
from slipway.league import LeagueVerdict, chances, conclude, stand
from slipway.metrics import measures
from slipway.rollout import ModelState, Rollout
from slipway.routing import RouteTable
from slipway.stores.evidence import LogEvidence, of_open
from slipway.verdict import Verdict, judge


class Seen:
    """What the log says of any two arms of a league.

    Where members are all alike, two arms are compared by the units that came under the first route
    that served both, or later, and stayed in the arm that they came to. Where shares follow what
    was seen, each route that served both begins a cohort, of the units that it was the first of
    all to serve (``slipway.cohorts``).

    Args:
        log: the inference log's directory.
        until: requests before it count.
    """

    def __init__(
        self, log: str | os.PathLike[str], model: str, rollout: Rollout, gates: Gates, until: float
    ) -> None:
        self._log, self._model, self._rollout, self._until = log, model, rollout, until
        self._measures = measures(gates)
        self._since, self._cohort = cache(self._read_since), cache(self._read_cohort)

    def of(self, *arms: str) -> Evidence:
        """The evidence of two arms."""
        both = [n for n, r in enumerate(self._rollout.routes) if _serves(r, arms)]
        if self._rollout.plan.league.get("floor") is None:
            return self._since(both[0])
        return together([self._cohort(n) for n in both])

    @property
    def may_shift(self) -> bool:
        """Whether shares may follow what was seen by now.

        Not before the last cohort has units enough to count: if it could be ended sooner by what
        was seen in it, which cohorts count would depend on their outcomes.
        """
        if self._rollout.plan.league.get("floor") is None:
            return False
        last = len(self._rollout.routes) - 1
        units = self._cohort(last).units
        served = [arm.name for arm in self._rollout.routes[last].arms if arm.share > 0.0]
        return all(units.get(arm, 0) >= LEAST_UNITS for arm in served)

    def _read_since(self, place: int) -> Evidence:
        first, *later = self._rollout.routes[place:]
        return self._source(self._rollout.routes[-1], first).observe(
            self._model,
            first.number,
            self._measures,
            since=self._rollout.opened_at,
            until=self._until,
            going_on=[route.number for route in later],
        )

    def _read_cohort(self, place: int) -> Evidence:
        route = self._rollout.routes[place]
        return self._source(route, route).observe(
            self._model,
            route.number,
            self._measures,
            since=self._rollout.opened_at,
            until=self._until,
            newcomers_after=self._rollout.routes[0].number,
        )

    def _source(self, route: RouteTable, first: RouteTable) -> LogEvidence:
        shares = {arm.name: arm.share for arm in route.arms if arm.share}
        return of_open(self._log, route, self._rollout.id, first.number, shares)


def _serves(route: RouteTable, arms: tuple[str, ...]) -> bool:
    return all((arm := route.arm(name)) is not None and arm.share > 0.0 for name in arms)


def standings(
    log: str | os.PathLike[str], state: ModelState, until: float, look: int = 1
) -> LeagueVerdict:
    """What an open league's evidence says, at any time.

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
    gates = parse(rollout.plan.gates)
    # One that has joined has no users before the judge's next tick: it has no standing yet.
    inside = {m.arm: m.release for m in rollout.members if m.since and not m.out}
    seen = Seen(log, state.model, rollout, gates, until)

    def judge_pair(member: str, baseline: str, chosen: Gates, part: float) -> Verdict:
        evidence = seen.of(member, baseline)
        return judge(evidence, chosen, part=part, look=look, candidate=member, baseline=baseline)

    stood = stand(list(inside), gates, judge_pair, most=rollout.plan.league["most"])
    return conclude(stood, inside, chances(stood, gates) if seen.may_shift else None)
