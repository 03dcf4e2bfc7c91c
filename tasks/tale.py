"""What the demo tells between its steps, and the table it ends with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from slipway import show, story
from slipway.errors import Refused
from slipway.home import Home
from slipway.release import Release, short
from slipway.rollout import fold
from slipway.running import stop_all
from tasks.record import ledger, state_of
from tasks.serve import gateway

Manifests = Mapping[str, Release]
MARK = "demo"
KEPT = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "log")


def begin(home: Home, model: str) -> None:
    """Give the demo a ledger of its own, keeping that of an earlier demo beside it.

    Raises:
        Refused: this home holds releases that no demo made.
    """
    mark = home.root / MARK
    if (home.root / "ledger.db").exists() and not mark.exists() and ledger(home).models():
        raise Refused(
            "this home holds releases of yours, and the demo begins with an empty ledger",
            where=str(home.root),
            do="run the demo elsewhere: SLIPWAY_HOME=demo-home slipway demo",
        )
    home.root.mkdir(parents=True, exist_ok=True)
    mark.touch()
    gateway(home).stop()
    stop_all(home)
    kept = home.root / "earlier" / datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for name in KEPT:
        if (home.root / name).exists():
            kept.mkdir(parents=True, exist_ok=True)
            (home.root / name).rename(kept / name)
    global _started  # noqa: PLW0603 - one demo, one clock
    _started = time.monotonic()


_started = 0.0


def chapter(title: str) -> None:
    """Say what comes next, and when."""
    elapsed = time.monotonic() - _started
    Console(highlight=False).print(f"\n[bold]{title}[/]  [dim]({elapsed:.0f} s)[/]")


def opened(home: Home, model: str) -> str:
    """The release whose rollout is open."""
    rollout = state_of(home, model).rollout
    if rollout is None:
        raise Refused(f"no rollout of {model} is open", do="see the messages above")
    return rollout.release


def end(home: Home, model: str, wrong: str) -> None:
    """What changed, what users got, and what the fault cost."""
    store = ledger(home)
    entries = store.entries(model)
    rows = story.history(entries)
    manifests = {r: store.manifest(r) for r in {row["release"] for row in rows}}
    served = _served(home, model)
    console = Console(highlight=False)
    console.print(_changes(rows, manifests))
    console.print(_users(served, manifests))
    console.print(_cost(served, wrong))
    live = story.names(fold(model, entries).stable, manifests)
    console.print(
        f"\nlive: {live} at http://{gateway(home).endpoint}/{model}/invocations, after "
        f"{time.monotonic() - _started:.0f} s\nnow try: slipway status; slipway why {model}; "
        f"slipway rollback {model} --reason '...'; slipway stop"
    )


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in left:
        table.add_column(column, no_wrap=True)
    for column in right:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _changes(rows: Sequence[Mapping[str, Any]], manifests: Manifests) -> Table:
    table = _table("What changed", ("when (UTC)", "what", "release", "users get"), ())
    for row in rows:
        gets = ", ".join(
            f"{100 * a['share']:.4g} % {story.names(a['release'], manifests).split()[0]}"
            for a in row["arms"]
        )
        release = story.names(row["release"], manifests)
        table.add_row(show.when(row["at"])[11:], show.word(row["event"]), release, gets or "-")
    return table


SERVED = """
    SELECT release, arm, count(*) AS requests, count(DISTINCT unit) AS units,
           count(*) FILTER (status = 200) AS answered,
           count(*) FILTER (fallback <> '') AS elsewhere,
           avg(score) AS told, avg(label) AS late, avg((score - label) ** 2) AS brier
    FROM judged WHERE model = ? GROUP BY release, arm ORDER BY min("at")
"""


def _served(home: Home, model: str) -> list[dict[str, Any]]:
    """What each release told users, in each place that it had."""
    from slipway.stores.inference_log import open_log

    found = open_log(home.log).execute(SERVED, [model])
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _users(served: Sequence[Mapping[str, Any]], manifests: Manifests) -> Table:
    figures = ("requests", "aircraft", "unanswered", "risk told", "late", "Brier")
    table = _table("What users got", ("release", "as"), figures)
    for row in served:
        table.add_row(
            story.names(row["release"], manifests).split()[0],
            row["arm"],
            f"{row['requests']:,}",
            f"{row['units']:,}",
            f"{row['requests'] - row['answered']:,}",
            _percent(row["told"]),
            _percent(row["late"]),
            "-" if row["brier"] is None else f"{row['brier']:.3f}",
        )
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _cost(served: Sequence[Mapping[str, Any]], wrong: str) -> str:
    """What the fault cost, in a sentence."""
    row = next((r for r in served if r["release"] == wrong and r["arm"] != "stable"), None)
    if row is None:
        return f"\nThe faulty release {short(wrong)} touched no user."
    every, lost = sum(r["requests"] for r in served), row["requests"] - row["answered"]
    return (
        f"\nThe faulty release {short(wrong)} touched {row['requests']:,} of {every:,} requests, of"
        f" {row['units']:,} aircraft. It told them a mean risk of {_percent(row['told'])} where"
        f" {_percent(row['late'])} were late. "
        + (f"{lost:,} of them got no answer." if lost else "Every one of them got an answer.")
    )
