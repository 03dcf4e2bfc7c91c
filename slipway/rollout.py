"""A model's state, folded from its ledger.

Nothing here is stored: ``fold`` reads the entries and says what is live, what is being launched
and what may be done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from slipway.ledger import Entry
from slipway.lifecycle import Event, State, step
from slipway.members import MEMBERSHIP, Member, after, seen_on
from slipway.plan import Plan
from slipway.release import short
from slipway.routing import RouteTable
from slipway.terms import Terms
from slipway.verdict import Verdict

NO_BASELINE = "no baseline"
FIRST_TRY = 0.95
"""The part of a step's alpha for its first try."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a strategy wants next.

    Args:
        event: None to wait.
        share: the candidate's share after it.
        reason: one sentence.
        release: whose, where a rollout has several; empty for the rollout's own.
        happened_at: when it happened, where that was before it is recorded: gateways end a lease
            by themselves, and the judge may come back much later.
        parts: of what a league's members have together, by arm, for ``shifted``.
    """

    event: Event | None
    reason: str
    share: float = 0.0
    happened_at: float | None = None
    release: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One launch under way.

    Args:
        id: names the rollout and salts its assignment.
        release, stable: release ids; ``stable`` is empty where there is no baseline. Of a league,
            the release is the one that was held for a person, or else the first still in it.
        step: index into ``plan.steps`` of the share being served, -1 before the first.
        since: when the share that is being served was granted.
        before: the route in force when it was opened, to which everything returns.
        held: whether it waits for a person, whatever has become of its lease meanwhile.
        said: the last verdict on record of the share being served, with the number of the route
            that it judged.
        restarts: how often the share's evidence was begun anew, after a lapse or a hold.
        lapses: how many of these were lapses, since a person last said anything.
        members: of a league, all that ever joined it; their share is that of all together.
        routes: those under which members had users, oldest first.
        routed_at: when the last of them came to be.
    """

    id: str
    release: str
    stable: str
    plan: Plan
    opened_at: float
    step: int
    share: float
    since: float
    before: RouteTable | None
    held: bool = False
    said: tuple[Mapping[str, Any], int] | None = None
    restarts: int = 0
    lapses: int = 0
    members: tuple[Member, ...] = ()
    routes: tuple[RouteTable, ...] = ()
    routed_at: float = 0.0

    @property
    def releases(self) -> tuple[str, ...]:
        """The releases being launched: one, or a league's members that are still in it."""
        return tuple(m.release for m in self.members if not m.out) or (self.release,)

    @property
    def next_share(self) -> float:
        """The share that a pass leads to by plan; 1 is promotion."""
        following = self.step + 1
        return float(self.plan.steps[following]["share"]) if self.steps_follow else 1.0

    @property
    def steps_follow(self) -> bool:
        """Whether another planned step comes before promotion."""
        return not self.plan.auto and self.step + 1 < len(self.plan.steps)

    @property
    def limits(self) -> Mapping[str, float]:
        """The times of the share that is being served."""
        return self.plan.steps[self._place]

    @property
    def mirrors(self) -> bool:
        """Whether the share being served is of copied requests, whose answers no user gets."""
        return self.plan.mirrors(self._place)

    @property
    def _place(self) -> int:
        return min(max(self.step, 0), len(self.plan.steps) - 1)

    @property
    def part(self) -> float:
        """The part of alpha that this step may spend; those of all steps sum to at most 1.

        How many steps ``auto`` will take is not known, so they get 1/2, 1/6, 1/12, ... Nor is it
        how often a step starts anew: ``FIRST_TRY`` of its part is for the first time, and the
        rest for all others.
        """
        steps = (self.step + 1) * (self.step + 2) if self.plan.auto else len(self.plan.steps)
        again = self.restarts * (self.restarts + 1)  # 1/2, 1/6, 1/12, ... sum to 1 as well
        return ((1.0 - FIRST_TRY) / again if again else FIRST_TRY) / steps

    def approved(self, reason: str) -> Step:
        """What a person's approval of a held release does: everyone gets it.

        But one of which no user has had an answer yet, since it is held in its copies of requests
        with shares of users planned, gets the first of those.
        """
        if self.mirrors and self.steps_follow:
            return Step(Event.ADVANCED, reason, self.next_share)
        return Step(Event.PROMOTED, reason, 1.0)

    def earned(self, verdict: Verdict) -> float:
        """The share that a pass has earned: by plan, or, with ``auto``, by its own evidence."""
        return verdict.next_share if self.plan.auto else self.next_share


@dataclass(frozen=True, slots=True)
class ModelState:
    """What is true of a model now.

    Args:
        stable: the release id that everyone not in a rollout gets; empty before the first.
        past: releases that were stable before, newest first, but for those returned from.
        route: the table in force; None before the first promotion.
        terms: release id to where and how it runs, as its last plan says.
        closed: the rollout that the last entry promoted or rolled back, if it did.
        left: release id to when it last ceased to be stable.
        window: the newest plan's.
    """

    model: str
    state: State
    stable: str
    past: tuple[str, ...]
    route: RouteTable | None
    rollout: Rollout | None
    last: Entry | None
    terms: Mapping[str, Terms] = field(default_factory=dict)
    closed: Rollout | None = None
    left: Mapping[str, float] = field(default_factory=dict)
    window: Mapping[str, Any] = field(default_factory=dict)

    def may_return_to(self, now: float) -> tuple[str, ...]:
        """The releases that everyone may be given again in one step, newest first.

        The newest of them always may: the window says how far beyond it one may go.
        """
        count = self.window.get("releases") or len(self.past)
        oldest = now - 86_400.0 * (self.window.get("days") or math.inf)
        return tuple(r for n, r in enumerate(self.past[:count]) if n == 0 or self.left[r] >= oldest)

    @property
    def needed(self) -> tuple[str, ...]:
        """The releases whose replicas must run now."""
        wanted = [self.stable] if self.stable else []
        if self.rollout:
            wanted += self.rollout.releases
        return tuple(wanted)


def fold(model: str, entries: Iterable[Entry]) -> ModelState:
    """The state after the entries, oldest first.

    Raises:
        RolloutError: an entry records what the lifecycle does not allow.
    """
    state = ModelState(model, State.IDLE, "", (), None, None, None)
    for entry in entries:
        state = _after(state, entry)
    return state


def _after(state: ModelState, entry: Entry) -> ModelState:
    body, target = entry.body, step(state.state, entry.event)
    route = RouteTable.from_record(body["route"]) if body.get("route") else state.route
    rollout, terms, closed = state.rollout, state.terms, None
    window = state.window
    if rollout and entry.body.get("verdict") and entry.event not in MEMBERSHIP:
        rollout = replace(
            rollout, said=(entry.body["verdict"], state.route.number if state.route else 0)
        )
    if entry.event is Event.OPENED:
        plan = Plan.from_record(body["plan"])
        window = plan.window
        terms = {**terms, body["release"]: Terms.from_record(plan.runtime)}
        rollout = _opened(state, entry, plan)
    elif rollout and entry.event in (Event.STARTED, Event.ADVANCED, Event.RESUMED):
        rollout = replace(
            rollout,
            step=body["step"],
            share=body["share"],
            since=entry.at,
            held=False,
            said=None,
            restarts=rollout.restarts + 1 if entry.event is Event.RESUMED else 0,
            lapses=rollout.lapses + 1 if state.state is State.LAPSED and not rollout.held else 0,
        )
    elif rollout and entry.event is Event.HELD:
        rollout = replace(rollout, held=True, release=body["release"])
    elif rollout and entry.event in MEMBERSHIP:
        if "runtime" in body:
            terms = {**terms, body["release"]: Terms.from_record(body["runtime"])}
        rollout = _with(rollout, entry)
        # The end of another member is no person's word on the one that is held.
        target = State.HELD if rollout.held and target is State.LIVE else target
    elif target is State.IDLE:
        closed = _closed(rollout, entry)
        rollout = None
    if rollout and rollout.members and body.get("route") and route and "share" in body:
        members, routes = seen_on(rollout.members, route), (*rollout.routes, route)
        served = {"share": body["share"], "members": members, "routes": routes}
        rollout = replace(rollout, routed_at=entry.at, **served)
    stable = route.stable.release if route else state.stable
    past, left = state.past, state.left
    if stable != state.stable:
        kept = tuple(r for r in past if r != stable)
        past = (state.stable, *(r for r in kept if r != state.stable)) if state.stable else kept
        left = {**left, state.stable: entry.at}
        # What a person returned from is no place to return to.
        past = past if entry.event is not Event.RETURNED else past[1:]
    return ModelState(
        state.model, target, stable, past, route, rollout, entry, terms, closed, left, window
    )


def _opened(state: ModelState, entry: Entry, plan: Plan) -> Rollout:
    release = entry.body["release"]
    return Rollout(
        id=short(entry.hash),
        release=release,
        stable=state.stable,
        plan=plan,
        opened_at=entry.at,
        step=-1,
        share=0.0,
        since=entry.at,
        before=state.route,
        members=after((), Event.JOINED, release) if plan.league else (),
    )


def _closed(rollout: Rollout | None, entry: Entry) -> Rollout | None:
    """A rollout that was closed by a decision; of a league, with the member that it was on."""
    if rollout is None or entry.event is Event.SUPERSEDED:
        return None
    return replace(rollout, release=entry.body["release"])


def _with(rollout: Rollout, entry: Entry) -> Rollout:
    """A league with one more member, or one less. One that joins starts its time afresh."""
    members = after(rollout.members, entry.event, entry.body["release"])
    if entry.event is Event.JOINED:
        return replace(rollout, members=members, since=entry.at)
    left = replace(rollout, members=members)
    if rollout.held and entry.body["release"] == rollout.release:
        # What the others were kept waiting for is over: their time begins afresh.
        left = replace(left, held=False, since=entry.at)
    return left if rollout.release in left.releases else replace(left, release=left.releases[0])


def ended(before: ModelState, now: ModelState) -> bool:
    """Whether the rollout that was open before is over, and its users are with stable as then."""
    was, still = before.rollout, now.rollout
    return was is not None and before.stable == now.stable and (not still or still.id != was.id)


def went_back(state: ModelState) -> bool:
    """Whether the last change gave everyone stable, or an earlier release, again."""
    last = state.last
    back = (Event.ROLLED_BACK, Event.RETURNED)
    return state.rollout is None and last is not None and last.event in back


def live_at(model: str, entries: Iterable[Entry], at: float) -> ModelState:
    """What was true at a moment: the fold of the entries up to it."""
    return fold(model, (e for e in entries if e.at <= at))
