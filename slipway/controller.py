"""What happens next in a model's rollout: one decision, from values alone.

The world is read before and written after; this file does neither, so a whole rollout can be
played through in a test with a list of verdicts and a list of times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from slipway.errors import RolloutError
from slipway.ledger import Entry
from slipway.lifecycle import Event, State
from slipway.rollout import NO_BASELINE, ModelState, Rollout, Step
from slipway.routing import Lease
from slipway.strategies import resolve
from slipway.verdict import Outcome, Verdict

WAIT = Step(None, "no rollout is open")

RESTARTS = 10
"""How often a lapsed step may begin anew, each time for the whole of the step's time. A judge that
keeps losing its lease would else keep users on a release that it never comes to judge."""

CHOICES = (
    None, Event.ADVANCED, Event.SHIFTED, Event.HELD, Event.ELIMINATED, Event.PROMOTED,
    Event.ROLLED_BACK,
)  # fmt: skip
"""What a strategy may choose; the rest is the controller's, and people's."""

LEAGUE_S_OWN = (Event.SHIFTED, Event.ELIMINATED)


def decide(
    state: ModelState,
    lease: Lease | None,
    judge: Callable[[], Verdict],
    now: float,
    broken: str = "",
    whose: str = "",
) -> tuple[Step, Verdict | None]:
    """The next step of a model, and the verdict that it rests on (None where none was needed).

    Args:
        lease: the last lease granted for the model.
        judge: gives the verdict on the evidence so far; only called where a share is live.
        now: seconds since 1970 UTC.
        broken: why the candidate does not run, or nothing.
        whose: the release that does not run, where several are launched.
    """
    rollout = state.rollout
    if rollout is None:
        return WAIT, None
    if broken:
        return _given_up(rollout, broken, whose), None
    plain = _plain(state, rollout, lease, now)
    if plain is not None:
        return plain, None
    verdict = judge()
    chosen = resolve(rollout.plan.strategy).next(state, verdict, now)
    _require_earned(chosen, rollout, verdict)
    return chosen, verdict


def _plain(state: ModelState, rollout: Rollout, lease: Lease | None, now: float) -> Step | None:
    """The step that needs no verdict; None where one must be asked for."""
    if state.state is State.OPENED:
        return _start(rollout)
    if state.state is State.LAPSED:
        return _back(rollout)
    if lease is not None and lease_ran_out(state, lease, now):
        reason = "the lease ran out unrenewed: the gateways returned everyone to stable"
        return Step(Event.EXPIRED, reason, happened_at=lease.ends)
    if never_granted(state, lease, now):
        reason = "no lease was granted in time: everyone has had stable all along"
        return Step(Event.EXPIRED, reason, happened_at=max(rollout.since, rollout.routed_at))
    new = [m for m in rollout.members if not (m.since or m.out)]
    if new and state.state is State.LIVE:
        told = f"{new[0].arm} joined, and gets its first users"
        return Step(Event.ADVANCED, told, release=new[0].release)
    return None


def _back(rollout: Rollout) -> Step:
    """The step of a judge that comes back to a rollout whose lease ran out."""
    if rollout.held:
        return Step(None, "held, and its lease ran out: a person decides; stable has everyone")
    if rollout.lapses >= RESTARTS:
        reason = f"its lease ran out {RESTARTS + 1} times in one step: nobody can watch it"
        return Step(Event.ROLLED_BACK, reason)
    return Step(Event.RESUMED, "the judge is back: the step starts afresh", rollout.share)


def _given_up(rollout: Rollout, broken: str, whose: str) -> Step:
    reason = f"the release does not run: {broken}"
    if whose in rollout.releases and len(rollout.releases) > 1:
        return Step(Event.ELIMINATED, reason, release=whose)
    return Step(Event.ROLLED_BACK, reason)


def _start(rollout: Rollout) -> Step:
    if not rollout.stable:
        return Step(Event.PROMOTED, f"{NO_BASELINE}: the first release of this model", 1.0)
    if rollout.members:
        others = f", and {len(rollout.releases) - 1} more" if len(rollout.releases) > 1 else ""
        return Step(Event.STARTED, f"probed and ready{others}: the league begins")
    share = float(rollout.plan.steps[0]["share"])
    part = f"{100 * share:g} % of users"
    whom = f"the requests of {part} are copied to it" if rollout.mirrors else f"the first {part}"
    return Step(Event.STARTED, f"probed and ready: {whom}", share)


def _require_earned(chosen: Step, rollout: Rollout, verdict: Verdict) -> None:
    """Only a pass moves on, and by one step of the plan: held here for a team's own strategy too.

    Raises:
        RolloutError: the strategy wants more than the verdict or the plan allows.
    """
    earned = rollout.earned(verdict)
    onward = Event.ADVANCED if earned < 1.0 or rollout.steps_follow else Event.PROMOTED
    strange = chosen.event not in CHOICES or (chosen.event in LEAGUE_S_OWN and not rollout.members)
    moves_on = chosen.event in (Event.ADVANCED, Event.PROMOTED)
    fits = (
        verdict.outcome is Outcome.PASS
        and not rollout.held
        and (chosen.event, chosen.share) == (onward, earned)
    )
    if strange or (moves_on and not fits):
        allowed = f"a pass allows '{onward}' to {earned:.4g}"
        if rollout.held:
            allowed = "only a person may"
        raise RolloutError(
            f"the strategy '{rollout.plan.strategy}' wants '{chosen.event}' to {chosen.share:.4g} "
            f"on a verdict of {verdict.outcome}; {allowed}",
            where=f"rollout {rollout.id}",
            do="mend the strategy (slipway.conformance.strategy tells what it must keep)",
        )


def lease_ran_out(state: ModelState, lease: Lease | None, now: float) -> bool:
    """Whether a granted lease of the route in force is out. One never granted is not."""
    if lease is None or state.route is None or lease.route != state.route.number:
        return False
    return lease.left(now) <= 0.0


def never_granted(state: ModelState, lease: Lease | None, now: float) -> bool:
    """Whether a leased route has been in force for longer than a lease without one.

    Its judge died between the entry and the lease: nobody was given what the entry says.
    """
    rollout, route = state.rollout, state.route
    if rollout is None or route is None or (lease is not None and lease.route >= route.number):
        return False
    made = max(rollout.since, rollout.routed_at)
    return leased(state) and now - made > route.lease_seconds


def review_due(state: ModelState, now: float) -> Verdict | None:
    """The closed decision that later labels may contradict by now; None where none is due.

    Only the last one counts: a newer rollout, or a return, has overtaken what was decided before.
    """
    closed, last = state.closed, state.last
    if closed is None or last is None or not closed.plan.review or closed.said is None:
        return None
    if last.event is Event.ROLLED_BACK and not last.body.get("verdict"):
        return None  # a person's word, whatever was said before it
    said = Verdict.from_record(closed.said[0])
    decided = said.outcome in (Outcome.PASS, Outcome.FAIL)
    return said if decided and now >= last.at + closed.plan.review["after"] else None


def to_return(state: ModelState) -> str:
    """The release that the last entry, a review, says everyone is to get again; or nothing."""
    last = state.last
    return str(last.body["returns"]) if last and last.event is Event.REVIEWED else ""


ENDINGS = (Event.PROMOTED, Event.ROLLED_BACK, Event.SUPERSEDED, Event.ELIMINATED)


def how_it_ended(entries: Sequence[Entry], release: str) -> Entry:
    """The entry that ended the launch of a release: its own, or another's that closed its league.

    Args:
        entries: oldest first; of a model of whose open rollout the release is no part.
    """
    own = next(e for e in reversed(entries) if e.body["release"] == release)
    if own.event in ENDINGS:
        return own
    return next((e for e in entries[own.seq :] if e.event in ENDINGS), own)


def leased(state: ModelState) -> bool:
    """Whether the route in force gives a leased share, which a tick must renew."""
    return state.route is not None and any(a.leased for a in state.route.arms)
