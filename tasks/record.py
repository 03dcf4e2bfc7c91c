"""Write decisions down: the one place where traffic changes."""

from __future__ import annotations

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from slipway import papers
from slipway.home import Home
from slipway.ledger import Draft, Entry
from slipway.release import Release
from slipway.rollout import ModelState, fold
from slipway.stores.sql_ledger import SqlLedger, open_ledger


def ledger(home: Home) -> SqlLedger:
    """The ledger of a home."""
    return open_ledger(home.ledger_url)


def state_of(home: Home, model: str) -> ModelState:
    """A model's state, folded afresh from its entries."""
    return fold(model, ledger(home).entries(model))


@task(name="record", task_run_name="record {draft.event}", cache_policy=NO_CACHE)
def record(home: Home, state: ModelState, draft: Draft) -> Entry:
    """Append one entry after the state it was decided on, and tell Prefect of it as an event.

    The event is ``slipway.`` and the entry's word, of the resource ``slipway.model.NAME``: what
    automations can act on, such as the deployment that asks a person about what is held.

    Raises:
        LedgerConflict: the model changed since; decide again on the new state.
    """
    from slipway.ledger import GENESIS

    expect = state.last.hash if state.last else GENESIS
    entry = ledger(home).append(draft, expect=expect)
    get_run_logger().info("%s %s: %s", draft.model, draft.event, draft.reason)
    emit_event(
        f"slipway.{draft.event}",
        resource={
            "prefect.resource.id": f"slipway.model.{draft.model}",
            "prefect.resource.name": draft.model,
        },
        payload={"model": draft.model, "seq": entry.seq, "reason": draft.reason},
    )
    return entry


def keep(home: Home, release: Release) -> None:
    """Keep a release's manifest and papers, so that its id can be named, checked, built again."""
    papers.write(home.folder("releases"), release)
    ledger(home).put_manifest(release)
