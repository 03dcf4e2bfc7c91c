"""The command line: thin. It reads the ledger itself and hands every button to its flow."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from slipway import __version__
from slipway.errors import SlipwayError, UsageError
from slipway.home import Home

if TYPE_CHECKING:
    from slipway.release import Release
    from slipway.rollout import ModelState
    from slipway.stores.sql_ledger import SqlLedger

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
ACTOR = click.option("--actor", default="", help="Who asks for it, for the ledger.")
HEAVY = {
    "judge": ("slipway.judge:command", "Judge the arms in OBSERVATIONS by their gates."),
    "key": ("slipway.verifying:key", "Make a key that signs releases."),
    "logs": ("slipway.running:logs", "The last lines of the replicas of MODEL, or of one RELEASE."),
    "render": ("slipway.running:render", "Print what a runtime would make, for GitOps."),
    "stop": ("slipway.running:stop", "End what runs for this home."),
    "verify": ("slipway.verifying:verify", "Find what was changed, in the ledger or in a RELEASE."),
}
"""Commands whose modules are slow to import: where each is, and what ``--help`` says of it."""


class Lazy(click.Group):
    """A group that imports its heavy commands when they are called, and not for ``--help``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name, in order."""
        return sorted([*super().list_commands(ctx), *HEAVY])

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of a name; a heavy one is imported now."""
        if name in HEAVY:
            module, _, attribute = HEAVY[name][0].partition(":")
            found: click.Command = getattr(importlib.import_module(module), attribute)
            return found
        return super().get_command(ctx, name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, each with its sentence."""
        light = {n: c.get_short_help_str(limit=65) for n, c in self.commands.items()}
        told = light | {name: text for name, (_, text) in HEAVY.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted(told.items()))


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="slipway")
def cli() -> None:
    """Launch AI models as controlled, reversible experiments."""


def main() -> NoReturn:
    """Run the command line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        sys.stderr.write("slipway: interrupted\n")
        sys.exit(130)
    except SlipwayError as error:
        sys.stderr.write(f"slipway: {error}\n")
        sys.exit(error.exit_code)
    sys.exit(0)


def _ledger() -> SqlLedger:
    """The ledger, if there is one."""
    from slipway.stores import existing_ledger

    return existing_ledger(Home.of())


def _manifests(store: SqlLedger, rows: list[dict[str, Any]]) -> dict[str, Release]:
    ids = {arm["release"] for row in rows for arm in row["arms"]}
    ids |= {row.get(key) or "" for row in rows for key in ("release", "stable")}
    ids |= {(row.get("last") or {}).get("release", "") for row in rows}
    return {i: store.manifest(i) for i in ids if i}


def _entries(store: SqlLedger, model: str) -> Any:
    entries = store.entries(model)
    if not entries:
        known = store.models()
        if model in known:  # gateways serve it, or its head is left
            from slipway.ledger import broken

            raise broken(store.faults(model))
        raise _unknown(model, known)
    return entries


def _unknown(model: str, known: Sequence[str]) -> UsageError:
    return UsageError(
        f"there is no model '{model}' on record", do=f"known models: {', '.join(known) or 'none'}"
    )


def _dump(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _flow(name: str, **parameters: Any) -> NoReturn:
    """Become the process that runs a flow."""
    sys.stdout.flush()
    command = [sys.executable, "-P", "-m", "flows", name, json.dumps(parameters)]
    os.execv(sys.executable, command)


def _checked_spec(spec: str, overrides: dict[str, Any]) -> str:
    """The spec's path, after the checks that need no server: a fault is told at once."""
    from slipway import preflight

    path = Path(spec).resolve()
    preflight.read(path, overrides)
    return str(path)


def _overrides(pairs: tuple[str, ...]) -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = {}
    for pair in pairs:
        path, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"'{pair}' sets nothing", do="write --set data.range.until=2013-05-01")
        found[path] = _json_value(yaml.safe_load(value))
    return found


def _json_value(value: Any) -> Any:
    return (
        value
        if value is None or isinstance(value, (str, int, float, bool, list, dict))
        else str(value)
    )


@cli.command()
@click.argument("spec", type=click.Path())
@click.option("--set", "pairs", multiple=True, metavar="PATH=VALUE", help="Override one value.")
@click.option("--no-wait", is_flag=True, help="Open the rollout; let 'advance' take it on.")
@ACTOR
def release(spec: str, pairs: tuple[str, ...], no_wait: bool, actor: str) -> None:
    """Retrain, validate, register, build and launch the model of SPEC."""
    overrides = _overrides(pairs)
    path = _checked_spec(spec, overrides)
    _flow("release", spec=path, overrides=overrides, actor=actor, wait=not no_wait)


@cli.command()
@click.argument("model")
def advance(model: str) -> None:
    """Take an open rollout of MODEL one tick further."""
    _entries(_ledger(), model)
    _flow("advance", model=model)


@cli.command()
@click.argument("model")
@click.option("--reason", required=True, help="Why, in one sentence, for the ledger.")
@click.option("--to", default="", help="The release to return to; default: the last good one.")
@ACTOR
def rollback(model: str, reason: str, to: str, actor: str) -> None:
    """Give every user of MODEL a good earlier release again."""
    _entries(_ledger(), model)
    _flow("rollback", model=model, reason=reason, to=to, actor=actor)


@cli.command()
@click.argument("model")
@click.option("--reason", required=True, help="Why, in one sentence, for the ledger.")
@click.option("--go-on", is_flag=True, help="Only let the rollout go on, under the judge.")
@ACTOR
def approve(model: str, reason: str, go_on: bool, actor: str) -> None:
    """Promote the release of MODEL that is held for a person's decision."""
    _entries(_ledger(), model)
    _flow("approve", model=model, reason=reason, go_on=go_on, actor=actor)


@cli.command()
@click.argument("spec", type=click.Path())
@click.option("--since", default="", help="Start of the window, ISO 8601.")
@click.option("--until", default="", help="End of the window, ISO 8601.")
def watch(spec: str, since: str, until: str) -> None:
    """Compare live data with the snapshot that the live model learnt from."""
    path = _checked_spec(spec, {})
    _flow("watch", spec=path, since=since, until=until)


@cli.command()
def demo() -> None:
    """The whole story on real flights, to the end."""
    _flow("demo")


@cli.command()
@JSON
def status(as_json: bool) -> None:
    """What is live now, per model."""
    from slipway.rollout import fold

    store = _ledger()
    now = time.time()
    rows = [_status(store, fold(m, store.entries(m)), now) for m in store.models()]
    address = _gateway_address()
    if as_json:
        _dump({"models": rows, "gateway": address})
        return
    from slipway import show

    show.status(rows, _manifests(store, rows), address)


def _status(store: SqlLedger, state: ModelState, now: float) -> dict[str, Any]:
    from slipway import health, story

    placed = {release: store.placed(release) for release in state.needed}
    said = store.acknowledged(state.model)
    return {
        **story.status(state, now),
        "lease": story.lease(state, store.lease(state.model), now),
        **health.of(state, placed, said, now, health.probe),
    }


def _gateway_address() -> str:
    from slipway.daemon import Daemon

    if elsewhere := os.environ.get("SLIPWAY_GATEWAY"):
        return f"http://{elsewhere}"
    daemon = Daemon("the gateway", Home.of().gateway, "/healthz")
    return f"http://{daemon.endpoint}" if daemon.answers() else ""


@cli.command("standings")
@click.argument("model")
@JSON
def standings_(model: str, as_json: bool) -> None:
    """How the members of MODEL's open league stand, by what has been logged until now."""
    from slipway import show, story
    from slipway.rollout import fold
    from slipway.standings import standings

    store = _ledger()
    state = fold(model, _entries(store, model))
    verdict = standings(Home.of().log, state, time.time())
    told = story.standings(state, _entries(store, model), verdict.standings)
    if as_json:
        _dump(told)
        return
    show.standings(told, {row["release"]: store.manifest(row["release"]) for row in told})


@cli.command()
@click.argument("model")
@click.option("--at", "when", default="", help="Only what was live at this time, ISO 8601.")
@JSON
def history(model: str, when: str, as_json: bool) -> None:
    """What was live when, and every change of MODEL."""
    from slipway import show, story

    store = _ledger()
    entries = _entries(store, model)
    rows = story.history(entries)
    manifests = _manifests(store, rows)
    if when:
        told = story.at(model, entries, story.moment(when), manifests)
        _dump(told) if as_json else show.at(told, manifests)
        return
    _dump(rows) if as_json else show.history(rows, manifests)


@cli.command()
@click.argument("model")
@JSON
def why(model: str, as_json: bool) -> None:
    """Why each change of MODEL happened, on which evidence, and the way back."""
    from slipway import show, story

    store = _ledger()
    rows = story.why(_entries(store, model))
    _dump(rows) if as_json else show.why(rows, _manifests(store, rows))


@cli.command()
@click.argument("name")
@click.option("--data", type=click.Path(), required=True, help="Your CSV or Parquet file.")
@click.option("--target", required=True, help="The column to predict.")
@click.option("--time", "time_column", default="", help="The column that orders rows in time.")
@click.option("--unit", default="", help="The column that names the user, device or vehicle.")
@click.option("--into", type=click.Path(), default="", help="Where; default: a folder NAME here.")
def new(name: str, data: str, target: str, time_column: str, unit: str, into: str) -> None:
    """Lay down a complete, working model folder NAME for your own data file."""
    from slipway.new import lay_down

    folder = lay_down(name, Path(data), target, time_column, unit, Path(into or name))
    click.echo(f"{folder} is ready: slipway release {folder}")


@cli.group()
def hook() -> None:
    """Start releases by git push."""


@hook.command()
@click.argument("repository", type=click.Path())
@click.option("--api-url", envvar="PREFECT_API_URL", required=True, help="The Prefect API.")
@click.option("--spec", default="slipway.yaml", help="The spec's path inside the repository.")
@click.option("--branch", default="main", help="The branch whose pushes count.")
def install(repository: str, api_url: str, spec: str, branch: str) -> None:
    """Write a post-receive hook into the bare REPOSITORY that emits a git.push event."""
    from slipway.hook import install as write

    click.echo(f"{write(Path(repository), api_url=api_url, spec=spec, branch=branch)} is in place")


if __name__ == "__main__":
    main()
