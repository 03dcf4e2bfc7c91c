"""The ledger on the terminal: short lines that read at 80 columns, colour only where it helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from slipway.release import Release
from slipway.routing import SHADOW, STABLE
from slipway.story import names

COLOURS = {
    "promoted": "green",
    "returned": "yellow",
    "rolled_back": "red",
    "expired": "red",
    "held": "yellow",
    "live": "cyan",
    "lapsed": "red",
    "joined": "cyan",
    "eliminated": "red",
    "wins": "green",
    "out": "red",
}
Manifests = Mapping[str, Release]


class Screen:
    """Where lines go: a head, and what belongs to it indented below."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    def head(self, *parts: str | Text) -> None:
        """One line that begins something."""
        self._console.print(Text.assemble(*parts), soft_wrap=True)

    def body(self, text: str, style: str = "", indent: int = 5) -> None:
        """Text below a head, wrapped at the screen's width."""
        self._console.print(Padding(Text(text, style), (0, 0, 0, indent), expand=False))


def word(name: str) -> Text:
    """A word of the lifecycle as people read it."""
    return Text(name.replace("_", " "), COLOURS.get(name, "bold"))


def arms(told: Sequence[Mapping[str, Any]], manifests: Manifests) -> str:
    """Who gets what, in a few words."""
    each = {
        a["arm"]: f"{100 * a['share']:.4g} % {names(a['release'], manifests)}"
        for a in told
        if a["share"] or a["arm"] == STABLE  # an eliminated member keeps its arm, and no users
    }
    copied = each.pop(SHADOW, "")
    users = ", ".join(each.values())
    return f"{users}; copies of requests: {copied}" if copied else users


def when(at: str) -> str:
    """An ISO time as people read it: UTC, to the second."""
    return f"{at[:19].replace('T', ' ')}Z"


def status(rows: Sequence[Mapping[str, Any]], manifests: Manifests, gateway: str) -> None:
    """What is live now, model by model."""
    screen = Screen()
    for row in rows:
        stable = names(row["stable"], manifests) if row["stable"] else "nothing yet"
        screen.head(Text(row["model"], "bold"), "  ", word(row["state"]), f"  stable is {stable}")
        if row["arms"]:
            screen.body(f"users get {arms(row['arms'], manifests)}")
        if row["lease"]:
            _lease(screen, row["lease"])
        _health(screen, row, manifests)
        if row["last"]:
            change(screen, row["last"], manifests)
    screen.head(f"gateway: {gateway or 'not running here'}")


def standings(rows: Sequence[Mapping[str, Any]], manifests: Manifests) -> None:
    """The members of a league, best first."""
    screen = Screen()
    for number, row in enumerate(rows, start=1):
        place = Text(row["place"], COLOURS.get(row["place"], "bold"))
        share = f"  {100 * row['share']:.4g} % of users  "
        screen.head(
            f"{number:>3}  {row['member']}  {names(row['release'], manifests)}", share, place
        )
        screen.body(row["reason"], "dim")


def _health(screen: Screen, row: Mapping[str, Any], manifests: Manifests) -> None:
    """Which replicas answer, and which gateways serve which route."""
    for replica in row["replicas"]:
        release, place = names(replica["release"], manifests), replica["endpoint"]
        if replica["answers"]:
            screen.body(f"{release} answers at {place}")
        else:
            what = f"does not answer at {place}" if place else "runs nowhere"
            screen.body(f"{release} {what}; 'slipway advance {row['model']}' starts it", "red")
    for gateway in row["gateways"]:
        behind = gateway["route"] < (row["route"] or 0)
        told = f"gateway {gateway['name']} serves route {gateway['route']}"
        screen.body(f"{told}, not {row['route']} yet" if behind else told, "red" if behind else "")
    if row["route"] and not row["gateways"]:
        screen.body("no gateway has said lately that it serves this model", "red")


def _lease(screen: Screen, lease: Mapping[str, Any]) -> None:
    """Whether the candidate's share is in force, or gateways have given it back to stable."""
    renewed = f"last renewed {when(lease['renewed'])}" if lease["renewed"] else "never granted"
    if lease["left_seconds"]:
        screen.body(f"the candidate's lease has {lease['left_seconds']:.0f} s left, {renewed}")
    else:
        told = f"but its lease is not in force ({renewed}): gateways give everyone stable"
        screen.body(f"{told}; does 'advance' run?", "red")


def change(screen: Screen, row: Mapping[str, Any], manifests: Manifests) -> None:
    """One change: what, when, by whom, why."""
    release = names(row["release"], manifests)
    screen.head(
        f"{row['seq']:>3}  {when(row['at'])}  ", word(row["event"]), f" {release} by {row['actor']}"
    )
    if row["arms"]:
        screen.body(f"users get {arms(row['arms'], manifests)}")
    if row["happened_at"]:
        screen.body(f"users were back on stable from {when(row['happened_at'])} on")
    screen.body(row["reason"], "dim")


def history(rows: Sequence[Mapping[str, Any]], manifests: Manifests) -> None:
    """Every change, oldest first."""
    screen = Screen()
    for row in rows:
        change(screen, row, manifests)


def at(told: Mapping[str, Any], manifests: Manifests) -> None:
    """The one release of a moment, with every digest."""
    screen = Screen()
    if not told["release"]:
        screen.head(f"nothing of {told['model']} was live at {when(told['at'])}")
        return
    release = names(told["release"], manifests)
    screen.head(Text(told["model"], "bold"), f" at {when(told['at'])}: {release}")
    screen.body(f"stable since {when(told['since'])}; users got {arms(told['arms'], manifests)}")
    screen.head(f"     release    {told['release']}")
    for key, value in told["manifest"].items():
        screen.head(f"     {key:<10} {value or '-'}")
    for key, value in told["locators"].items():
        screen.head(Text(f"     {key:<10} {value or '-'}", "dim"))


def why(rows: Sequence[Mapping[str, Any]], manifests: Manifests) -> None:
    """Each change with the evidence it rests on, and the way back."""
    screen = Screen()
    for row in rows:
        change(screen, {**row, "reason": _reason(row)}, manifests)
        for gate in (row["verdict"] or {}).get("gates", ()):
            screen.body(f"{gate['outcome'].replace('_', ' ')}: {gate['reason']}", indent=7)
        if row["way_back"]:
            screen.body(f"way back: {row['way_back']}", "dim")


def _reason(row: Mapping[str, Any]) -> str:
    """The reason; where it only repeats the gates that follow, the verdict's word."""
    verdict = row["verdict"]
    if not verdict or row["event"] not in ("advanced", "promoted"):
        return str(row["reason"])
    return f"{verdict['outcome']} at look {verdict['look']}, on {verdict['units'][1]:,} units"
