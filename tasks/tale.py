"""What the demo tells between its steps, and the table it ends with."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from slipway import show, story
from slipway.errors import Refused
from slipway.home import Home
from slipway.release import short
from slipway.rollout import fold
from tasks.record import ledger, state_of
from tasks.serve import gateway, runtime

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
    for release in list(runtime(home).list()):
        runtime(home).stop(release)
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
    """The table, and what the fault cost."""
    store = ledger(home)
    entries = store.entries(model)
    rows = story.history(entries)
    manifests = {r: store.manifest(r) for r in {row["release"] for row in rows}}
    console = Console(highlight=False)
    console.print()
    show.history(rows, manifests)
    console.print(_served(home, model, manifests))
    console.print(_cost(home, model, wrong))
    state = fold(model, entries)
    console.print(
        f"live: {story.names(state.stable, manifests)} at http://{gateway(home).endpoint}/{model}"
        f"/invocations, after {time.monotonic() - _started:.0f} s\n"
        f"now try: slipway status | slipway why {model} | "
        f"slipway rollback {model} --reason '...' | slipway stop"
    )


SERVED = """
    SELECT release, arm, count(*) AS requests, count(DISTINCT unit) AS units,
           sum(CASE WHEN status = 200 THEN 1 ELSE 0 END) AS answered,
           sum(CASE WHEN fallback <> '' THEN 1 ELSE 0 END) AS fallbacks,
           avg((score - label) ** 2) AS brier,
           avg(CASE WHEN (score >= 0.5) = (label >= 0.5) THEN 1.0 ELSE 0.0 END) AS right,
           avg(score) AS warned, avg(label) AS late
    FROM judged WHERE model = ? GROUP BY release, arm ORDER BY min("at")
"""


def _query(home: Home, model: str) -> list[dict[str, Any]]:
    from slipway.stores.inference_log import open_log

    found = open_log(home.log).execute(SERVED, [model])
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _served(home: Home, model: str, manifests: Any) -> Table:
    table = Table(title="What users got", title_justify="left")
    for column in ("release", "as", "requests", "aircraft", "answered", "from elsewhere"):
        table.add_column(column)
    for column in ("mean risk told", "really late", "Brier score"):
        table.add_column(column, justify="right")
    for row in _query(home, model):
        table.add_row(
            story.names(row["release"], manifests),
            row["arm"],
            f"{row['requests']:,}",
            f"{row['units']:,}",
            f"{row['answered']:,}",
            f"{row['fallbacks']:,}",
            _percent(row["warned"]),
            _percent(row["late"]),
            "-" if row["brier"] is None else f"{row['brier']:.4f}",
        )
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _cost(home: Home, model: str, wrong: str) -> str:
    touched = [r for r in _query(home, model) if r["release"] == wrong and r["arm"] != "stable"]
    every = sum(r["requests"] for r in _query(home, model))
    if not touched:
        return f"the faulty release {short(wrong)} touched no user"
    row = touched[0]
    return (
        f"the faulty release {short(wrong)} touched {row['requests']:,} of {every:,} requests, of "
        f"{row['units']:,} aircraft: it told them a mean risk of {_percent(row['warned'])} where "
        f"{_percent(row['late'])} were late; {row['answered']:,} got an answer, none got an error"
        if row["answered"] == row["requests"]
        else f"the faulty release {short(wrong)} touched {row['requests']:,} requests of "
        f"{row['units']:,} aircraft, of which {row['requests'] - row['answered']:,} got an error"
    )
