"""Gather the evidence of an open rollout and judge it; renew the lease of what it may keep."""

from __future__ import annotations

import time

from prefect import get_run_logger

from slipway.controller import lease_ran_out, leased
from slipway.exposure import judge_step
from slipway.gates import parse
from slipway.home import Home
from slipway.metrics import measures, of_step
from slipway.review import Review, labelled, review
from slipway.rollout import ModelState
from slipway.routing import CANDIDATE, SHADOW, STABLE, Lease
from slipway.standings import Seen, standings
from slipway.stores.evidence import LogEvidence, of_open
from slipway.verdict import Verdict, judge
from tasks.record import ledger

CLOCK_SECONDS = 1.0  # how far a gateway's clock may run before the judge's


def observe(home: Home, state: ModelState, now: float) -> Verdict:
    """The verdict on the route in force: on its own requests alone, at its part of alpha.

    Every step of a rollout is an experiment of its own, so the steps share alpha. A league is one
    experiment, on the requests of all its routes.
    """
    rollout, route = state.rollout, state.route
    assert rollout is not None
    assert route is not None
    if rollout.members:
        look = lease.renewal if (lease := lease_of(home, state.model)) else 1
        return standings(home.log, state, now + CLOCK_SECONDS, look)
    mirror = rollout.mirrors
    gates = of_step(parse(rollout.plan.gates), mirror)
    shares = {arm.name: arm.share for arm in route.arms if arm.takes_users and not mirror}
    source = of_open(home.log, route, rollout.id, route.number, shares, mirror)
    seen = source.observe(
        state.model,
        route.number,
        measures(gates, rollout.next_share),
        since=rollout.since,
        until=now + CLOCK_SECONDS,
    )
    lease = lease_of(home, state.model)
    look = lease.renewal if lease else 1

    def judge_at(share: float) -> Verdict:
        arm = SHADOW if mirror else CANDIDATE
        return judge(seen, gates, next_share=share, part=rollout.part, look=look, candidate=arm)

    return judge_step(rollout, judge_at)


def look_again(home: Home, state: ModelState, closed: Verdict, now: float) -> Review:
    """What labels that came late say of the verdict that closed the last rollout."""
    rollout = state.closed
    assert rollout is not None
    assert rollout.said is not None
    mirror = rollout.mirrors
    gates = labelled(of_step(parse(rollout.plan.gates), mirror), rollout.plan.review["after"])
    if rollout.members:
        arm = next(m.arm for m in rollout.members if m.release == rollout.release)
        of_both = Seen(home.log, state.model, rollout, gates, now + CLOCK_SECONDS).of(arm, STABLE)
        return review(closed, of_both, gates, candidate=arm)
    seen = LogEvidence(home.log, paired=mirror).observe(
        state.model,
        rollout.said[1],
        measures(gates, closed.next_share),
        since=rollout.since,
        until=now + CLOCK_SECONDS,
    )
    arm = SHADOW if mirror else CANDIDATE
    return review(closed, seen, gates, next_share=closed.next_share, candidate=arm)


def lease_of(home: Home, model: str) -> Lease | None:
    """The last lease granted for a model."""
    return ledger(home).lease(model)


def renew(home: Home, state: ModelState) -> None:
    """Renew the lease of the route in force from now on, where it gives a leased share.

    One that ran out meanwhile stays so: its users are with stable, and the next tick says it.
    """
    store, now = ledger(home), time.time()
    if not leased(state) or state.route is None:
        return
    if lease_ran_out(state, store.lease(state.model), now):
        told = "a tick of %s took longer than the lease lasts: the candidate's users have stable"
        get_run_logger().warning(told, state.model)
        return
    store.renew(state.model, state.route.number, state.route.lease_seconds, now)
