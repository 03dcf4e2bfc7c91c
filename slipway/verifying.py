"""``slipway verify`` and ``slipway key``: is everything as it was?"""

from __future__ import annotations

import json
from pathlib import Path

import click

from slipway import papers, signing
from slipway.errors import LedgerError, Refused, UsageError
from slipway.home import Home
from slipway.ledger import broken
from slipway.release import Release, short
from slipway.stores import existing_ledger
from slipway.stores.sql_ledger import SqlLedger


@click.command()
@click.argument("name", metavar="[MODEL|RELEASE]", required=False, default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
def verify(name: str, as_json: bool) -> None:
    """Find what was changed: in the ledger, or in one RELEASE (by its id's beginning).

    A release's signature, bill of materials, bundle and image are held against its manifest. Exit
    code 1 where anything fails or cannot be looked at.
    """
    home = Home.of()
    store = existing_ledger(home)
    known = store.models()
    if not name or name in known:
        _verify_ledger(store, [name] if name else list(known), as_json)
    else:
        _verify_release(home, _release(store, name, known), as_json)


def _verify_ledger(store: SqlLedger, models: list[str], as_json: bool) -> None:
    found = {model: store.faults(model) for model in models}
    if as_json:
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    for model, faults in found.items():
        if not as_json and not faults:
            click.echo(f"{model}: {len(store.entries(model))} entries, the chain is whole")
    if any(found.values()):
        raise broken([fault for faults in found.values() for fault in faults])


def _release(store: SqlLedger, name: str, known: tuple[str, ...]) -> Release:
    try:
        return store.manifest(name)
    except LedgerError as error:
        raise UsageError(
            f"there is no model '{name}' on record, and {error.what}",
            do=f"known models: {', '.join(known) or 'none'}",
        ) from error


def _verify_release(home: Home, release: Release, as_json: bool) -> None:
    checks = papers.verify(home.folder("releases"), release)
    if as_json:
        rows = [{"what": c.what, "outcome": c.outcome, "reason": c.reason} for c in checks]
        click.echo(json.dumps({"release": release.id, "checks": rows}, indent=2))
    else:
        for check in checks:
            click.echo(f"{check.outcome.replace('_', ' '):<13} {check.what}: {check.reason}")
    bad = [c for c in checks if c.outcome != "pass"]
    if bad:
        raise Refused(
            f"{short(release.id)} of {release.model} is not verified: "
            + "; ".join(f"{c.what}: {c.reason}" for c in bad),
            do="release it again from its commit; where it is unsigned, name a key in "
            f"{signing.SIGNING_KEY} first ('slipway key FILE' makes one)",
        )


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
def key(file: Path) -> None:
    """Make a key that signs releases: the private one in FILE, the public one in FILE.pub."""
    public = signing.new_key(file)
    click.echo(f"{signing.SIGNING_KEY}={file.resolve()} signs releases with it")
    click.echo(f"{signing.VERIFY_KEY}={public.resolve()} verifies them; give that file to others")
