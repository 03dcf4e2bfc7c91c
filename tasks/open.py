"""Open a rollout, and refuse what may not be opened."""

from __future__ import annotations

import getpass
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prefect import get_run_logger

from slipway.controller import lease_ran_out
from slipway.drafts import open_rollout, take
from slipway.ending import ENDING
from slipway.errors import Busy, LedgerConflict, NotBlessed, Refused, RolloutError
from slipway.expectations import Pack
from slipway.home import Home
from slipway.joining import joining, require_same_plan
from slipway.ledger import Draft
from slipway.lifecycle import Event, State
from slipway.plan import Plan
from slipway.release import Bundle, Candidate, Release, Report, short
from slipway.rollout import NO_BASELINE, ModelState, Step
from slipway.spec import Spec
from slipway.terms import Terms
from tasks.probe import probe
from tasks.record import keep, ledger, record, state_of
from tasks.serve import give_up, settle, stand_by, terms_of

WAIT_SECONDS = 1.0


def who(actor: str) -> str:
    """Who asked for it: as given, or the user who runs it."""
    return actor or getpass.getuser()


@contextmanager
def only_one(home: Home, spec: Spec) -> Iterator[None]:
    """Hold the model while its release is made: a second release is refused, or waits.

    Raises:
        Busy: another release holds it and the spec says ``concurrency: refuse``.
    """
    with ExitStack() as held:
        try:
            held.enter_context(ledger(home).lock(spec.model))
        except Busy:
            if spec.concurrency == "refuse":
                raise
            get_run_logger().info("another release of %s is under way: waiting", spec.model)
            while not _taken(held, home, spec.model):
                ENDING.check()
                time.sleep(WAIT_SECONDS)
        yield


def _taken(held: ExitStack, home: Home, model: str) -> bool:
    try:
        held.enter_context(ledger(home).lock(model))
    except Busy:
        return False
    return True


def stable_release(home: Home, model: str) -> Release | None:
    """The release that is stable now, if there is one."""
    stable = state_of(home, model).stable
    return ledger(home).manifest(stable) if stable else None


def baseline(home: Home, model: str, built: Bundle) -> Release | None:
    """The release that a candidate's bundle is compared with: stable.

    Stable's own bundle, made again from the same inputs, is compared with what stable was compared
    with: so the same inputs give the same report, and the same release.
    """
    stable = stable_release(home, model)
    if stable is None or stable.bundle != built.digest:
        return stable
    entries = reversed(ledger(home).entries(model))
    opened = next(e for e in entries if e.event is Event.OPENED and e.body["release"] == stable.id)
    before = opened.body["baseline"]
    return None if before == NO_BASELINE else ledger(home).manifest(before)


def require_stable(home: Home, model: str) -> Release:
    """The release that is stable now.

    Raises:
        Refused: nothing is live yet.
    """
    live = stable_release(home, model)
    if live is None:
        raise Refused(f"nothing of {model} is live yet", do="release it first")
    return live


def require_plan(home: Home, spec: Spec, pack: Pack) -> None:
    """Refuse at once, rather than after the training, what could not join the league that is open.

    Raises:
        RolloutError: the plan is another than the league's.
    """
    require_same_plan(state_of(home, spec.model), plan(spec, pack, Terms()))


def require_held(home: Home, state: ModelState, go_on: bool) -> ModelState:
    """A state whose rollout waits for a person.

    Raises:
        RolloutError: it does not: only what is held may be moved forward without a pass. Or its
            lease ran out meanwhile: it goes on first, so that what is promoted is being served.
    """
    held = state.rollout is not None and state.rollout.held
    over = lease_ran_out(state, ledger(home).lease(state.model), time.time())  # not yet on record
    if held and (over or state.state is State.LAPSED) and not go_on:
        raise RolloutError(
            f"the lease of {state.model}'s held release ran out: stable has everyone",
            do=f"let it go on first: slipway approve {state.model} --go-on --reason WHY",
        )
    if not held:
        raise RolloutError(
            f"{state.model} is {state.state}: nothing is held for a decision",
            do="see 'slipway status'",
        )
    return state


def require_blessing(model: str, report: Report) -> None:
    """Refuse a candidate that its report does not bless.

    Raises:
        NotBlessed: each check that stands in the way is named with its reason.
    """
    if not report.blessed:
        named = [f"    {c.outcome}: {c.name}: {c.reason}" for c in report.refusals]
        raise NotBlessed(
            "the candidate does not meet its expectations:\n"
            + "\n".join(named or ["    no checks"]),
            where=f"report {short(report.digest)} of {model}",
            do="mend the model or its data; changing an expectation is a commit of its own",
        )


def open_for(
    home: Home, spec: Spec, pack: Pack, candidate: Candidate, made: Release, actor: str
) -> None:
    """Keep the manifest, have the release running and probed, and open its rollout.

    Safe to repeat: a release that is stable or being launched already is left as it is. Into a
    league that is open, a release of the same plan is taken as a member. Anything else being
    launched is superseded: its users return to stable, and it starts from zero.
    """
    keep(home, made)
    if made.id in state_of(home, spec.model).needed:
        return
    terms = terms_of(spec.runtime, made)
    chosen = plan(spec, pack, terms)
    _joins(state_of(home, spec.model), made.id, chosen, who(actor))  # refused before it is probed
    stand_by(home, made.id, terms)
    try:
        probe(home, spec, pack, candidate, made)
        _open(home, made, chosen, who(actor))
    except BaseException:
        if made.id not in state_of(home, spec.model).needed:
            give_up(home, made.id, terms)
        raise
    settle(home, state_of(home, spec.model))


def _open(home: Home, made: Release, chosen: Plan, actor: str) -> None:
    """Record that the launch begins, and that it supersedes what was being launched, or joins it.

    A tick of that other rollout may come in between: what it did is read again.
    """
    while True:
        state = state_of(home, made.model)
        joins = _joins(state, made.id, chosen, actor)
        try:
            if joins:
                record(home, state, joins)
                return
            if state.rollout:
                step = Step(Event.SUPERSEDED, f"superseded by {short(made.id)}")
                record(home, state, take(state, step, now=time.time(), actor=actor))
                state = state_of(home, made.model)
            reason = f"release {short(made.id)} of {made.model}, {_against(state)}"
            draft = open_rollout(
                state, made.id, chosen, now=time.time(), actor=actor, reason=reason
            )
            record(home, state, draft)
        except LedgerConflict:
            continue
        return


def _joins(state: ModelState, release: str, chosen: Plan, actor: str) -> Draft | None:
    """The entry by which a release joins the open league; None where it opens its own rollout.

    Raises:
        RolloutError: its plan is another, or the league has no place for it, or waits.
    """
    step = joining(state, release, chosen)
    if step is None:
        return None
    terms = Terms.from_record(chosen.runtime)
    return take(state, step, now=time.time(), actor=actor, terms=terms)


def _against(state: ModelState) -> str:
    return f"against stable {short(state.stable)}" if state.stable else "with no baseline"


def plan(spec: Spec, pack: Pack, terms: Terms) -> Plan:
    """The plan that the spec and the pack declare, to be frozen into the ledger."""
    policy = pack.live.get("policy", {})
    return Plan(
        strategy=spec.rollout.strategy,
        steps=spec.rollout.shares,
        gates=dict(pack.live),
        serving=dict(spec.serving),
        on_inconclusive=policy.get("on_inconclusive", "rollback"),
        approval=spec.rollout.approval,
        lease_seconds=spec.rollout.lease_seconds,
        auto=spec.rollout.climbs,
        mirror=spec.rollout.mirrors,
        window=spec.rollout.window.model_dump(),
        review=spec.rollout.review.model_dump() if spec.rollout.review.after else {},
        runtime=terms.record(),
        league=spec.rollout.league.rules if spec.rollout.competes else {},
    )
