"""Make the world run what the ledger says: replicas, where they answer, and the gateway."""

from __future__ import annotations

import os
import sys
import time

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway.daemon import LOOK_SECONDS, Daemon
from slipway.errors import LedgerError, RuntimeFailure
from slipway.home import Home
from slipway.release import short
from slipway.rollout import ModelState
from slipway.runtimes.process import ProcessRuntime
from slipway.stores.sql_ledger import SqlLedger
from tasks.record import ledger

DEFAULT_PORT = "8700"
ACKNOWLEDGE_SECONDS = 10.0
GATEWAY_SILENT_SECONDS = 5.0


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


@task(name="serve", task_run_name="serve {state.model}", cache_policy=NO_CACHE)
def settle(home: Home, state: ModelState, replicas: int = 1) -> None:
    """Run what a state needs, and stop what it no longer needs. Safe to repeat.

    A release is stopped only after every gateway that is alive has acknowledged the route that
    no longer names it, so no request is on its way to it.

    Raises:
        RuntimeFailure: a replica does not start, or a gateway does not take the route up.
    """
    store, runs = ledger(home), runtime(home)
    for release in state.needed:
        bundle = store.manifest(release).locators["bundle"]
        endpoints = runs.start(release, bundle, replicas)
        store.place(release, endpoints)
        get_run_logger().info("%s answers at %s", short(release), ", ".join(endpoints))
    surplus = [r for r in runs.list() if r not in state.needed and _is_of(store, r, state.model)]
    if surplus:
        await_route(home, state)
    for release in surplus:
        store.place(release, ())
        runs.stop(release)


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
