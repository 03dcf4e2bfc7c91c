"""Make the world run what the ledger says: replicas, where they answer, and the gateway."""

from __future__ import annotations

import os
import sys
import time

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway.daemon import LOOK_SECONDS, Daemon
from slipway.errors import LedgerError, RolloutError, RuntimeFailure
from slipway.home import Home
from slipway.ledger import Draft
from slipway.lifecycle import Event
from slipway.release import short
from slipway.rollout import ModelState, Step, return_to, take
from slipway.runtimes.process import ProcessRuntime
from slipway.stores.sql_ledger import SqlLedger
from tasks.record import ledger

DEFAULT_PORT = "8700"
REPLICAS = 1
ACKNOWLEDGE_SECONDS = 10.0
GATEWAY_SILENT_SECONDS = 8.0  # one that is alive acknowledges every five, and a look later


def runtime(home: Home) -> ProcessRuntime:
    """Where this home's replicas run."""
    return ProcessRuntime(home.run / "process")


def gateway(home: Home) -> Daemon:
    """This machine's gateway."""
    return Daemon("the gateway", home.gateway, "/healthz")


@task(name="gateway", cache_policy=NO_CACHE)
def ensure_gateway(home: Home) -> str:
    """Start this home's gateway, or adopt the one that answers. Returns its ``host:port``."""
    daemon = gateway(home)
    command = [sys.executable, "-P", "-m", "slipway.serving.gateway", "--host", "127.0.0.1"]
    command += ["--port", os.environ.get("SLIPWAY_GATEWAY_PORT", DEFAULT_PORT)]
    command += ["--ledger", home.ledger_url, "--log", str(home.folder("log"))]
    return daemon.wait(daemon.spawn(command, os.environ))


def settle(home: Home, state: ModelState) -> str:
    """Make this machine run what a state needs and no more. Safe, and cheap, to repeat.

    Returns:
        Why the release being launched does not run, or nothing.

    Raises:
        RuntimeFailure: a replica of stable does not start, or a gateway lags behind.
    """
    running = runtime(home).list()
    store = ledger(home)
    placed = {r: store.placed(r) for r in state.needed}
    surplus = [r for r in running if r not in state.needed and _is_of(store, r, state.model)]
    if surplus or any(running.get(r) != placed[r] for r in state.needed):
        return _settle(home, state)
    return ""


def keep_up(home: Home, state: ModelState) -> str:
    """Start again what a state needs and has died. Stops nothing; cheap to repeat.

    Returns:
        Why the release being launched does not run, or nothing.

    Raises:
        RuntimeFailure: a replica of stable does not start.
    """
    store, running = ledger(home), runtime(home).list()
    for release in state.needed:
        if running.get(release) != store.placed(release):
            try:
                stand_by(home, release)
            except RuntimeFailure as error:
                if release == state.stable:
                    raise
                return error.what  # the launch can be given up, stable cannot
            answering = ", ".join(store.placed(release))
            get_run_logger().info("%s answers at %s", short(release), answering)
    return ""


def stand_by(home: Home, release: str) -> None:
    """Have a release running and placed before any route names it; nothing is no error."""
    if release:
        store = ledger(home)
        bundle = store.manifest(release).locators["bundle"]
        store.place(release, runtime(home).start(release, bundle, REPLICAS))


@task(name="serve", task_run_name="serve {state.model}", cache_policy=NO_CACHE)
def _settle(home: Home, state: ModelState) -> str:
    """Run what a state needs, and stop what it no longer needs. Safe to repeat.

    A release is stopped only after every gateway that is alive has acknowledged the route that
    no longer names it, so no request is on its way to it.

    Raises:
        RuntimeFailure: stable does not start, or a gateway does not take the route up.
    """
    store, runs = ledger(home), runtime(home)
    broken = keep_up(home, state)
    surplus = [r for r in runs.list() if r not in state.needed and _is_of(store, r, state.model)]
    if surplus:
        await_route(home, state)
    for release in surplus:
        store.place(release, ())
        runs.stop(release)
    return broken


def _is_of(store: SqlLedger, release: str, model: str) -> bool:
    try:
        return store.manifest(release).model == model
    except LedgerError:
        return False  # of another ledger: not ours to stop


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
    """The release to go back to, and the entry that does it.

    Raises:
        RolloutError: there is nothing to go back to.
        LedgerError: no release, or more than one, begins with ``to``.
    """
    if not to and state.rollout is None and not state.past:
        raise RolloutError(
            f"{state.model} has no earlier release to go back to",
            do=f"see 'slipway history {state.model}'",
        )
    target = ledger(home).manifest(to).id if to else ""
    if state.rollout is not None and target in ("", state.stable):
        step = Step(Event.ROLLED_BACK, reason)
        return state.stable, take(state, step, now=now, actor=actor)
    target = target or state.past[0]
    return target, return_to(state, target, now=now, actor=actor, reason=reason)
