"""Make the world run what the ledger says: replicas, where they answer, and the gateway."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway.container import ENGINE_SECONDS, INSTEAD
from slipway.daemon import LOOK_SECONDS, Daemon, answers
from slipway.drafts import require_way_back, return_to, take
from slipway.engine import connected
from slipway.errors import LedgerError, RolloutError, RuntimeFailure
from slipway.health import GATEWAY_SILENT_SECONDS
from slipway.home import Home
from slipway.ledger import Draft
from slipway.lifecycle import Event
from slipway.ports import Runtime
from slipway.release import Release, short
from slipway.rollout import ModelState, Step, went_back
from slipway.runtimes import in_use, resolve
from slipway.spec import RuntimeChoice
from slipway.stores.sql_ledger import SqlLedger
from slipway.terms import Terms
from tasks.record import ledger

DEFAULT_PORT = "8700"
ACKNOWLEDGE_SECONDS = 10.0
STAND_BY_SECONDS = 900.0
"""The longest that a release takes from its start to the entry that needs it: a slow engine's."""


def runtime(home: Home, terms: Terms) -> Runtime:
    """The runtime of a home that such a release runs in."""
    return resolve(terms.kind, home.run, terms.options)


def terms_of(declared: RuntimeChoice, release: Release) -> Terms:
    """Where and how a new release runs; ``auto`` is settled here, and then stays.

    With ``auto`` a release that has an image runs in a container where an engine answers.
    """
    chosen = declared.model_dump()
    if declared.kind == "auto":
        missing = silent() if release.image else "the release has no image"
        chosen |= {"kind": "process", "options": {}} if missing else {"kind": "docker"}
        get_run_logger().info("runtime %s%s", chosen["kind"], missing and f": {missing}")
    return Terms.from_record(chosen)


def silent() -> str:
    """Why no Docker engine can be used here; nothing if one answers."""
    try:
        with connected(timeout=ENGINE_SECONDS, instead=INSTEAD):
            return ""
    except RuntimeFailure as error:
        return error.what


def gateway(home: Home) -> Daemon:
    """This machine's gateway."""
    return Daemon("the gateway", home.gateway, "/healthz")


@task(name="gateway", cache_policy=NO_CACHE)
def ensure_gateway(home: Home) -> str:
    """Start this home's gateway, or adopt the one that answers. Returns its ``host:port``.

    One that has died is started where it was, so that its users find it.

    Raises:
        RuntimeFailure: it does not start; or ``SLIPWAY_GATEWAY`` names one that somebody else runs,
            and it does not answer.
    """
    if elsewhere := os.environ.get("SLIPWAY_GATEWAY", ""):
        if not answers(elsewhere, "/healthz"):
            raise RuntimeFailure(
                "the gateway does not answer",
                where=f"{elsewhere}, as SLIPWAY_GATEWAY says",
                do="start it, or mend the address",
            )
        return elsewhere
    daemon = gateway(home)
    port = daemon.endpoint.rpartition(":")[2]
    port = port or os.environ.get("SLIPWAY_GATEWAY_PORT", DEFAULT_PORT)
    command = [sys.executable, "-P", "-m", "slipway.serving.gateway", "--host", "127.0.0.1"]
    command += ["--port", port, "--log", str(home.folder("log"))]
    # Not an argument: those can be read by every user of the machine, and it may hold a password.
    return daemon.wait(daemon.spawn(command, {**os.environ, "SLIPWAY_LEDGER": home.ledger_url}))


def keep_gateway(home: Home) -> None:
    """Start this home's gateway again if it has died. One that was stopped, or never ran, stays."""
    if gateway(home).endpoint and gateway(home).pid is None:
        get_run_logger().warning("the gateway has died: starting it again")
        ensure_gateway(home)


@dataclass(frozen=True, slots=True)
class Seen:
    """What runs of a model's releases.

    Args:
        running: release id to where its replicas run, in the runtime that its terms name.
        surplus: what no state needs, with the runtime it runs in.
        silent: runtimes that do not answer, each with the reason; what runs there is not known.
    """

    running: Mapping[str, tuple[str, ...]]
    surplus: tuple[tuple[str, Runtime], ...]
    silent: Mapping[str, str]


def look(home: Home, state: ModelState) -> Seen:
    """Ask every runtime that a model's releases were ever launched on."""
    store, running, surplus, silent = ledger(home), {}, [], {}
    spared = store.standing_by(time.time())
    for terms, runs in in_use(state.terms.values(), home.run):
        try:
            found = runs.list()
        except RuntimeFailure as error:
            silent[terms.kind] = error.what
            continue
        for release, endpoints in found.items():
            if release in state.needed and state.terms[release].shares_runtime(terms):
                if endpoints:
                    running[release] = endpoints
            elif release not in spared and _is_of(store, release, state.model):
                surplus.append((release, runs))
    return Seen(running, tuple(surplus), silent)


def _is_of(store: SqlLedger, release: str, model: str) -> bool:
    try:
        return store.manifest(release).model == model
    except LedgerError:
        return False  # of another ledger: not ours to stop


class Broken(NamedTuple):
    """A release being launched that does not run, and why; empty if there is none."""

    release: str = ""
    why: str = ""


def settle(home: Home, state: ModelState) -> Broken:
    """Make this machine run what a state needs and no more. Safe, and cheap, to repeat.

    Returns:
        A release being launched that does not run, and why.

    Raises:
        RuntimeFailure: a replica of stable does not start, or a gateway lags behind.
    """
    store = ledger(home)
    for release in store.standing_by(time.time()).intersection(state.needed):
        store.stand_by(release, until=0.0)  # by now an entry says that it is needed
    seen, placed = look(home, state), {r: store.placed(r) for r in state.needed}
    if seen.surplus or any(seen.running.get(r) != placed[r] for r in state.needed):
        return _settle(home, state)
    return Broken()


def keep_up(home: Home, state: ModelState) -> Broken:
    """Start again what a state needs and has died. Stops nothing; cheap to repeat.

    Returns:
        A release being launched that does not run, and why.

    Raises:
        RuntimeFailure: a replica of stable does not start.
    """
    store, seen = ledger(home), look(home, state)
    for release in state.needed:
        if seen.running.get(release) != store.placed(release):
            if release == state.stable:  # a launch can be given up, stable cannot
                serve_again(home, state, release)
            else:
                try:
                    run(home, release, state.terms[release])
                except RuntimeFailure as error:
                    return Broken(release, error.what)
            answering = ", ".join(store.placed(release))
            get_run_logger().info("%s answers at %s", short(release), answering)
    return Broken()


def serve_again(home: Home, state: ModelState, release: str) -> None:
    """Have a release running that everyone gets, or is to get again.

    Where what runs it is silent but its replicas answer, its users have all they need.

    Raises:
        RuntimeFailure: it does not start, and a replica does not answer.
    """
    try:
        stand_by(home, release, state.terms[release])
    except RuntimeFailure as error:
        runs, placed = runtime(home, state.terms[release]), ledger(home).placed(release)
        if not placed or not all(map(runs.probe, placed)):
            raise
        told = "%s still answers, but cannot be looked after: %s"
        get_run_logger().warning(told, short(release), error.what)


def stand_by(home: Home, release: str, terms: Terms) -> None:
    """Have a release running and placed before any route names it.

    Until one does, or the time for it is over, no tick of another rollout stops it as surplus.
    """
    ledger(home).stand_by(release, time.time() + STAND_BY_SECONDS)
    run(home, release, terms)


def run(home: Home, release: str, terms: Terms) -> None:
    """Have a release running, and placed where gateways find it."""
    store, runs = ledger(home), runtime(home, terms)
    store.place(release, runs.start(store.manifest(release), terms.replicas, terms.limits))


def give_up(home: Home, release: str, terms: Terms) -> None:
    """Stop what ``stand_by`` started for a release that no route may name."""
    store = ledger(home)
    store.stand_by(release, until=0.0)
    store.place(release, ())
    runtime(home, terms).stop(release)


@task(name="serve", task_run_name="serve {state.model}", cache_policy=NO_CACHE)
def _settle(home: Home, state: ModelState) -> Broken:
    """Run what a state needs, and stop what it no longer needs. Safe to repeat.

    A release is stopped only after every gateway that is alive has acknowledged the route that
    no longer names it, so no request is on its way to it.

    Raises:
        RuntimeFailure: stable does not start, or a gateway does not take the route up.
    """
    store, broken, seen = ledger(home), keep_up(home, state), look(home, state)
    if seen.surplus:
        await_route(home, state)
    for release, runs in seen.surplus:
        if release not in state.needed:
            store.place(release, ())
        runs.stop(release)
    for kind, reason in seen.silent.items():
        get_run_logger().warning("what still runs on %s is not known: %s", kind, reason)
    return broken


def await_route(home: Home, state: ModelState) -> None:
    """Wait until every living gateway serves the state's route.

    Raises:
        RuntimeFailure: a gateway that is alive does not take it up in time.
    """
    if state.route is None:
        return
    store, deadline = ledger(home), time.monotonic() + ACKNOWLEDGE_SECONDS
    while behind := _behind(store, state.model, state.route.number):
        if time.monotonic() > deadline:
            raise RuntimeFailure(
                f"gateways {', '.join(behind)} do not take up route {state.route.number}",
                do="see their logs; users there still get the route before it",
            )
        time.sleep(LOOK_SECONDS)


def _behind(store: SqlLedger, model: str, number: int) -> list[str]:
    alive_since = time.time() - GATEWAY_SILENT_SECONDS
    said = store.acknowledged(model).items()
    return [name for name, (route, at) in said if route < number and at > alive_since]


def way_back(
    home: Home, state: ModelState, to: str, *, now: float, actor: str, reason: str
) -> tuple[str, Draft]:
    """The release to go back to, and the entry that does it, or the first of two.

    Raises:
        RolloutError: there is nothing to go back to.
        LedgerError: no release, or more than one, begins with ``to``.
    """
    if not to and went_back(state):
        told = f"everyone has had {short(state.stable)} again since the last change"
        more = ", ".join(map(short, state.may_return_to(now))) or "none"
        raise RolloutError(
            f"{told}, and no rollout of {state.model} is open",
            do=f"to go further back, name the release with --to; that may be: {more}",
        )
    if not to and state.rollout is None and not state.past:
        raise RolloutError(
            f"{state.model} has no earlier release to go back to; no rollout is open, and everyone "
            f"gets {short(state.stable)}",
            do=f"see 'slipway history {state.model}'",
        )
    target = ledger(home).manifest(to).id if to else ""
    if state.rollout is not None:
        if target not in ("", state.stable):  # which follows, once the rollout is over
            require_way_back(state, target, now)
        step = Step(Event.ROLLED_BACK, reason)
        return state.stable, take(state, step, now=now, actor=actor)
    target = target or state.past[0]  # which is in every window
    return target, return_to(state, target, now=now, actor=actor, reason=reason)
