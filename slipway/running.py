"""``slipway logs``, ``stop`` and ``render``: what runs for a home, in whichever runtime."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from slipway.daemon import Daemon
from slipway.errors import Refused, RuntimeFailure, UsageError
from slipway.home import Home
from slipway.ports import Runtime
from slipway.release import short
from slipway.rollout import ModelState, fold
from slipway.runtimes import in_use, resolve
from slipway.stores import existing_ledger
from slipway.terms import Terms

if TYPE_CHECKING:
    from slipway.stores.sql_ledger import SqlLedger


def states(store: SqlLedger) -> dict[str, ModelState]:
    """Every model's state."""
    return {model: fold(model, store.entries(model)) for model in store.models()}


def runtimes(home: Home) -> tuple[tuple[Terms, Runtime], ...]:
    """Every runtime that this home's releases were ever launched on.

    Containers may be left of a first launch that was killed before the entry that would tell.
    """
    try:
        known = states(existing_ledger(home))
    except Refused:  # nothing was released
        known = {}
    terms = [t for state in known.values() for t in state.terms.values()]
    if (home.run / "docker" / "scope").exists() and all(t.kind != "docker" for t in terms):
        terms.append(Terms("docker"))
    return in_use(terms, home.run)


def stop_all(home: Home) -> None:
    """Stop every replica of a home.

    Raises:
        RuntimeFailure: a runtime does not answer; what runs elsewhere was stopped.
    """
    failed = None
    for _, runs in runtimes(home):
        try:
            for release_id in list(runs.list()):
                runs.stop(release_id)
        except RuntimeFailure as error:
            failed = error
    if failed:
        raise failed


@click.command()
def stop() -> None:
    """End what runs for this home: gateway, replicas and the Prefect server it brought along."""
    home = Home.of()
    Daemon("the gateway", home.gateway, "/healthz").stop()
    for left in (home.run / "validate").glob("*.lock"):  # by a release that was killed
        Daemon("a bundle's server", left.with_suffix(".json"), "/ping").stop()
    try:
        stop_all(home)
    except RuntimeFailure as error:
        click.echo(f"slipway: {error}", err=True)
    os.execv(sys.executable, [sys.executable, "-P", "-m", "tasks.prefect_server", "stop"])


@click.command()
@click.argument("name", metavar="MODEL|RELEASE")
def logs(name: str) -> None:
    """The last lines of the replicas of MODEL, or of one RELEASE by its id's beginning."""
    home = Home.of()
    for line in lines(home, existing_ledger(home), name):
        click.echo(line)


def lines(home: Home, store: SqlLedger, name: str) -> Iterator[str]:
    """The log lines of what is chosen, each release's under its name."""
    for each, terms in chosen(store, name):
        yield f"==> {store.manifest(each).model} {short(each)} ({terms.kind}) <=="
        yield from resolve(terms.kind, home.run, terms.options).logs(each)


def chosen(store: SqlLedger, name: str) -> list[tuple[str, Terms]]:
    """The releases that a model needs now, or one release, each with its terms.

    Raises:
        UsageError: there is no such model or release.
    """
    known = states(store)
    release = "" if name in known else _release(store, name, known)
    state = known[store.manifest(release).model if release else name]
    return [(each, state.terms[each]) for each in ((release,) if release else state.needed)]


@click.group()
def render() -> None:
    """Print what a runtime would make, for GitOps."""


@render.command()
@click.argument("name", metavar="MODEL|RELEASE")
@click.option("--namespace", default="", help="Default: as the spec said, or 'default'.")
@click.option("--parent", default="", help="The cluster's Gateway, for an HTTPRoute.")
def kubernetes(name: str, namespace: str, parent: str) -> None:
    """Kubernetes manifests of the releases that MODEL needs now, or of one RELEASE."""
    from slipway.manifests import text
    from slipway.runtimes.kubernetes import KubernetesRuntime

    home = Home.of()
    store = existing_ledger(home)
    given = {k: v for k, v in (("namespace", namespace), ("parent", parent)) if v}
    made = []
    for each, terms in chosen(store, name):
        own = terms.options if terms.kind == "kubernetes" else {}
        runs = KubernetesRuntime(home.run / "kubernetes", **{**own, **given})
        made += runs.render(store.manifest(each), terms.replicas, terms.limits)
    once = {(m["kind"], m["metadata"]["name"]): m for m in made}  # an HTTPRoute is the model's
    click.echo(text(once.values()), nl=False)


def _release(store: SqlLedger, name: str, known: dict[str, ModelState]) -> str:
    from slipway.errors import LedgerError

    try:
        return store.manifest(name).id
    except LedgerError as error:
        raise UsageError(
            f"there is no model '{name}', and {error.what}",
            do=f"known models: {', '.join(known) or 'none'}",
        ) from error
