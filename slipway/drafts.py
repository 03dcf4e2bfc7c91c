"""The drafts of the entries that change a model's state.

Every change of traffic is one draft, carrying the whole route table after it, so appending that
one entry *is* the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from slipway.errors import RolloutError
from slipway.ledger import Draft
from slipway.lifecycle import Event, State, step
from slipway.members import MEMBERSHIP, after, require_place, shares_of, table_of
from slipway.plan import Plan
from slipway.release import short
from slipway.review import Review
from slipway.rollout import NO_BASELINE, ModelState, Rollout, Step
from slipway.routing import CANDIDATE, SHADOW, STABLE, Arm, RouteTable
from slipway.terms import Terms
from slipway.verdict import Verdict

ANEW = "a new rollout of that release: 'slipway release' with the same inputs"


def _require(state: ModelState) -> Rollout:
    if state.rollout is None:
        raise RolloutError(
            f"no rollout of {state.model} is open",
            do=f"open one with 'slipway release', or see 'slipway history {state.model}'",
        )
    return state.rollout


def _draft(
    state: ModelState, event: Event, now: float, actor: str, reason: str, **body: Any
) -> Draft:
    """A draft that the lifecycle allows and that says why, never earlier than the entry before.

    Raises:
        RolloutError: the event cannot happen now, or there is no reason for it.
    """
    if not reason.strip():
        raise RolloutError(
            f"no reason is given for '{event}'",
            where=state.model,
            do="say why, in one sentence: the ledger keeps it for whoever asks later",
        )
    step(state.state, event)
    at = max(now, state.last.at) if state.last else now
    body["way_back"] = _way_back(state, event, body.get("release", ""))
    return Draft(state.model, round(at, 3), event, actor, reason, body)


def _way_back(state: ModelState, event: Event, release: str) -> dict[str, Any]:
    """What undoes an event, as a command that works; what users were taken from is earned anew."""
    if event is Event.ELIMINATED:
        return {"release": release, "command": "", "note": ANEW}
    if event in (Event.ROLLED_BACK, Event.SUPERSEDED, Event.RETURNED):
        left = state.rollout.release if state.rollout else state.stable
        return {"release": left, "command": "", "note": ANEW}
    if event is Event.REVIEWED:
        return {"release": "", "command": "", "note": "it moved no traffic"}
    if not state.stable:
        return {"release": "", "command": "", "note": NO_BASELINE}
    command = f"slipway rollback {state.model} --to {short(state.stable)} --reason WHY"
    return {"release": state.stable, "command": command}


def _route(
    state: ModelState, salt: str, arms: tuple[Arm, ...], serving: Mapping[str, Any], lease: float
) -> dict[str, Any]:
    number = state.route.number + 1 if state.route else 1
    return RouteTable(state.model, number, salt, arms, lease, serving).record()


def open_rollout(
    state: ModelState, release: str, plan: Plan, *, now: float, actor: str, reason: str
) -> Draft:
    """Record that a launch begins. No traffic moves yet."""
    baseline = state.stable or NO_BASELINE
    return _draft(
        state,
        Event.OPENED,
        now,
        actor,
        reason,
        release=release,
        baseline=baseline,
        plan=plan.record(),
    )


def take(
    state: ModelState,
    chosen: Step,
    *,
    now: float,
    actor: str,
    verdict: Verdict | None = None,
    terms: Terms | None = None,
) -> Draft:
    """Turn a strategy's step into the entry that makes it so.

    Args:
        terms: of the release that joins a league.

    Raises:
        RolloutError: no rollout is open, or the lifecycle does not allow the event now, or the
            league has no place for that release.
    """
    rollout = _require(state)
    if chosen.event is None:
        raise RolloutError("waiting is not an entry", where=state.model)
    release = chosen.release or rollout.release
    body: dict[str, Any] = {"release": release, "rollout": rollout.id}
    if chosen.event is Event.JOINED:
        require_place(rollout.members, release, rollout.plan.league.get("most", 0), state.model)
    if terms is not None:
        body["runtime"] = terms.record()
    if verdict is not None:
        body["verdict"] = verdict.record()
    if state.route:
        body["before"] = state.route.record()
    if chosen.happened_at is not None:
        body["happened_at"] = round(chosen.happened_at, 3)
    moved = _moved(state, rollout, chosen)
    return _draft(state, chosen.event, now, actor, chosen.reason, **body, **moved)


def _moved(state: ModelState, rollout: Rollout, chosen: Step) -> dict[str, Any]:
    """The route and step after an event; empty where traffic stays as it is."""
    plan = rollout.plan
    if chosen.event in (
        *MEMBERSHIP, Event.STARTED, Event.ADVANCED, Event.RESUMED, Event.SHIFTED,
    ):  # fmt: skip
        if chosen.event is Event.RESUMED and state.state is State.HELD:
            return {"step": rollout.step, "share": rollout.share}
        return (_among if rollout.members else _stepped)(state, rollout, chosen)
    if chosen.event is Event.PROMOTED:
        everyone = (Arm(STABLE, chosen.release or rollout.release, 1.0),)
        return {"route": _route(state, rollout.id, everyone, plan.serving, plan.lease_seconds)}
    before = rollout.before
    if chosen.event is Event.HELD or before is None or state.route == before:
        return {}
    # Back to what was served before, and to how it was served.
    return {"route": _route(state, rollout.id, before.arms, before.policy, before.lease_seconds)}


def _stepped(state: ModelState, rollout: Rollout, chosen: Step) -> dict[str, Any]:
    """The route that gives the one candidate its next share."""
    plan = rollout.plan
    index = rollout.step if chosen.event is Event.RESUMED else rollout.step + 1
    mirrors = replace(rollout, step=index).mirrors
    users = 0.0 if mirrors else chosen.share
    stable = Arm(STABLE, rollout.stable, 1.0 - users)
    place = SHADOW if mirrors else CANDIDATE
    arms = (stable, Arm(place, rollout.release, chosen.share, leased=True))
    route = _route(state, rollout.id, arms, plan.serving, plan.lease_seconds)
    return {"step": index, "share": chosen.share, "route": route}


def _among(state: ModelState, rollout: Rollout, chosen: Step) -> dict[str, Any]:
    """The route that gives a league's members their users.

    None before there are any, and none by joining: the judge's next tick advances to the newcomer.
    """
    plan, members = rollout.plan, rollout.members
    if chosen.event in MEMBERSHIP:
        if chosen.event is Event.JOINED or state.state not in (State.LIVE, State.HELD):
            return {}
        members = after(members, chosen.event, chosen.release)
    portion, floor = plan.steps[0]["share"], plan.league.get("floor")
    before = rollout.routes[-1] if rollout.routes else None
    shares = None
    if floor is not None:
        shares = shares_of(members, portion, floor, before, chosen.parts)
    arms = table_of(rollout.stable, members, portion, shares)
    route = _route(state, rollout.id, arms, plan.serving, plan.lease_seconds)
    return {"step": 0, "share": 1.0 - arms[0].share, "route": route}


def return_to(state: ModelState, release: str, *, now: float, actor: str, reason: str) -> Draft:
    """Give everyone an earlier stable release again, in one step.

    Raises:
        RolloutError: a rollout is open (roll it back instead), or the release was never stable, or
            is beyond the rollback window: it must be launched again.
    """
    require_way_back(state, release, now)
    assert state.route is not None
    arms = (Arm(STABLE, release, 1.0),)
    route = _route(state, state.route.salt, arms, state.route.policy, state.route.lease_seconds)
    before = state.route.record()
    return _draft(
        state, Event.RETURNED, now, actor, reason, release=release, before=before, route=route
    )


def require_way_back(state: ModelState, release: str, now: float) -> None:
    """Refuse a release to which no step leads back.

    Raises:
        RolloutError: it was never stable, or is beyond the rollback window.
    """
    allowed = state.may_return_to(now)
    if release not in allowed:
        known = ", ".join(map(short, allowed)) or "none"
        beyond = release in state.past
        told = "is beyond the rollback window" if beyond else "is no earlier stable release"
        raise RolloutError(
            f"{short(release)} {told} of {state.model}",
            do=f"releases that may be returned to: {known}",
        )


def reviewed(state: ModelState, found: Review, *, now: float, actor: str) -> Draft:
    """Record what later labels say of the decision that closed the last rollout.

    Raises:
        RolloutError: the last entry closed no rollout, so there is none to review.
    """
    closed = state.closed
    if closed is None or state.last is None:
        raise RolloutError("there is no closed decision to review", where=state.model)
    return _draft(
        state,
        Event.REVIEWED,
        now,
        actor,
        found.reason,
        release=closed.release,
        rollout=closed.id,
        of=state.last.hash,
        stands=found.stands,
        returns=_returns(state, closed, found),
        verdict=found.verdict.record(),
    )


def _returns(state: ModelState, closed: Rollout, found: Review) -> str:
    """The release that a contradicted promotion gives back, where its plan says so; or nothing."""
    undone = (
        found.stands is False and state.stable == closed.release and closed.stable in state.past
    )
    return closed.stable if undone and closed.plan.review["then"] == "return" else ""
