"""Tables and trees for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from slipway.release import Release
from slipway.story import names

COLOURS = {
    "promoted": "green",
    "rolled_back": "red",
    "expired": "red",
    "held": "yellow",
    "pass": "green",
    "fail": "red",
    "inconclusive": "yellow",
    "not_measured": "yellow",
}


def _console() -> Console:
    return Console(highlight=False)


def _word(word: str) -> Text:
    return Text(word.replace("_", " "), COLOURS.get(word, ""))


def _arms(arms: Sequence[Mapping[str, Any]], manifest: Mapping[str, Release]) -> str:
    return ", ".join(f"{a['share']:.4g} {names(a['release'], manifest)}" for a in arms)


def status(rows: Sequence[Mapping[str, Any]], manifest: Mapping[str, Release], extra: str) -> None:
    """One line per model."""
    table = Table(title="Slipway", title_justify="left")
    for column in ("model", "state", "stable", "users get", "last change", "why"):
        table.add_column(column, overflow="fold")
    for row in rows:
        last = row["last"]
        table.add_row(
            row["model"],
            _word(row["state"]),
            names(row["stable"], manifest),
            _arms(row["arms"], manifest),
            f"{last['event'].replace('_', ' ')}\n{last['at'][:19]}" if last else "-",
            last["reason"] if last else "-",
        )
    console = _console()
    console.print(table)
    if extra:
        console.print(extra)


def history(rows: Sequence[Mapping[str, Any]], manifest: Mapping[str, Release]) -> None:
    """One line per change."""
    table = Table(title_justify="left")
    for column in ("", "when (UTC)", "what", "release", "users get", "by", "why"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            str(row["seq"]),
            row["at"][:19].replace("T", " "),
            _word(row["event"]),
            names(row["release"], manifest),
            _arms(row["arms"], manifest) or "as before",
            row["actor"],
            row["reason"],
        )
    _console().print(table)


def at(told: Mapping[str, Any], manifest: Mapping[str, Release]) -> None:
    """The one release of a moment, with every digest."""
    console = _console()
    if not told["release"]:
        console.print(f"nothing of {told['model']} was live at {told['at']}")
        return
    console.print(f"[bold]{told['model']}[/] at {told['at']}: {names(told['release'], manifest)}")
    console.print(f"  live since {told['since']}; users got {_arms(told['arms'], manifest)}")
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_row("release", told["release"])
    for key, value in told["manifest"].items():
        table.add_row(key, str(value) or "-", style="" if value else "dim")
    for key, value in told["locators"].items():
        table.add_row(f"found at: {key}", str(value) or "-", style="dim")
    console.print(table)


def why(rows: Sequence[Mapping[str, Any]], manifest: Mapping[str, Release]) -> None:
    """Each change with its evidence."""
    console = _console()
    for row in rows:
        head = Text.assemble(
            f"{row['seq']:>3}  {row['at'][:19]}  ", _word(row["event"]), f"  by {row['actor']}"
        )
        console.print(head)
        console.print(f"     {names(row['release'], manifest)}: {row['reason']}", markup=False)
        if row["arms"]:
            console.print(f"     users get {_arms(row['arms'], manifest)}", markup=False)
        for gate in (row["verdict"] or {}).get("gates", ()):
            console.print(Text.assemble("       ", gate["metric"], ": ", gate["reason"]))
        if row["way_back"]:
            console.print(f"     way back: {row['way_back']}", style="dim", markup=False)
