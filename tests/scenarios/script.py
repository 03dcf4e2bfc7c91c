"""Scenarios: whole rollouts told as text, one act per line, with what it must lead to.

    B fails at its second share: everyone is back with A one tick later.

    plan 5 % 50 %, lease 60 s

    A is released      -> opened            : nobody is served
    tick               -> promoted          : A 100 %
    B is released      -> opened            : A 100 %
    tick               -> started 5 %       : A 95 %, B 5 %
    10 s later                              : A 95 %, B 5 %
    tick pass          -> advanced 50 %     : A 50 %, B 50 %
    tick fail          -> rolled_back       : A 100 %

The first paragraph is the story in a sentence. A line is an act, after ``->`` the ledger entries
that it must write (none where there is no arrow), and after ``:`` what users must get then, by
what the gateways know. Acts are those of ``slipway.rehearsal``; ``ACTS`` below is their grammar.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from slipway.errors import SlipwayError
from slipway.ledger import Entry
from slipway.plan import Plan
from slipway.rehearsal import MODEL, Rehearsal
from slipway.testing import plan

Match = re.Match[str]
ACTS: dict[str, Callable[[Rehearsal, Match], Any]] = {
    r"(\w+) is released": lambda played, told: played.release(told[1]),
    r"tick ?(\w*)": lambda played, told: played.tick(told[1] or "inconclusive"),
    r"tick ?(\w*), killed (before entry|before renewal)": lambda played, told: played.tick(
        told[1] or "inconclusive", killed=told[2]
    ),
    r"tick ?(\w*), while a person rolls back": lambda played, told: played.tick(
        told[1] or "inconclusive", meanwhile=played.roll_back
    ),
    r"tick ?(\w*), while another judge ticks (\w+)": lambda played, told: played.tick(
        told[1] or "inconclusive", meanwhile=lambda: played.tick(told[2])
    ),
    r"tick pass for ([\d.]+) %": lambda played, told: played.tick(
        "pass", next_share=float(told[1]) / 100
    ),
    r"tick (\w+) for (\w+), chances (.+)": lambda played, told: played.tick(
        told[1], release=told[2], chances=_chances(told[3])
    ),
    r"tick (\w+) for (\w+)": lambda played, told: played.tick(told[1], release=told[2]),
    r"tick, while (\w+) does not run": lambda played, told: played.tick(broken=told[1]),
    r"([\d.]+) s later": lambda played, told: played.clock.advance(float(told[1])),
    r"for ([\d.]+) s, tick (\w+)": lambda played, told: keep_ticking(
        played, float(told[1]), told[2]
    ),
    r"a person approves": lambda played, _: played.approve(),
    r"a person resumes": lambda played, _: played.resume(),
    r"a person rolls back": lambda played, _: played.roll_back(),
    r"late labels agree": lambda played, _: played.review(stands=True),
    r"late labels contradict": lambda played, _: played.review(stands=False),
    r"a person returns to (\w+)": lambda played, told: played.give_back(told[1]),
}
TICK_SECONDS = 10.0


def keep_ticking(played: Rehearsal, seconds: float, outcome: str) -> None:
    """Tick every ten seconds, as a worker does."""
    for _ in range(round(seconds / TICK_SECONDS)):
        played.clock.advance(TICK_SECONDS)
        played.tick(outcome)


@dataclass(frozen=True)
class Line:
    """One act and what it must lead to."""

    number: int
    act: str
    entries: str
    served: str


@dataclass(frozen=True)
class Scenario:
    """A story read from its file."""

    title: str
    plan: Plan
    lines: tuple[Line, ...]


def read(path: Path) -> Scenario:
    """Read a story: its first paragraph, its plan, its lines."""
    numbered = list(enumerate(path.read_text().splitlines(), start=1))
    told = [(n, line.split("#")[0].strip()) for n, line in numbered]
    start = next(i for i, (_, line) in enumerate(told) if line.startswith("plan "))
    title = " ".join(line for _, line in told[:start] if line)
    lines = (_line(n, line) for n, line in told[start + 1 :] if line)
    return Scenario(title, _plan(told[start][1]), tuple(lines))


def _line(number: int, text: str) -> Line:
    rest, _, served = text.partition(" : ")
    act, _, entries = rest.partition("->")
    return Line(number, act.strip(), entries.strip(), served.strip())


def _plan(text: str) -> Plan:
    """Such as ``plan 5 % 50 %, least 60 s, most 600 s, lease 60 s, then hold, with approval``.

    ``plan copies 100 %, then 5 % 50 %`` copies requests in its first step.
    """
    shares = [float(s) / 100 for s in re.findall(r"([\d.]+) %", text)]
    seconds = {name: float(s) for name, s in re.findall(r"(least|most|lease) ([\d.]+) s", text)}
    ending = re.search(r"then (rollback|hold|extend)", text)
    made = plan(
        shares,
        min_seconds=seconds.get("least", 0.0),
        max_seconds=seconds.get("most", 600.0),
        lease_seconds=seconds.get("lease", 60.0),
        on_inconclusive=ending[1] if ending else "rollback",
        approval="with approval" in text,
        auto="then auto" in text,
        strategy=next((s for s in ("blue_green", "league", "shadow") if s in text), "canary"),
        mirror="shadow" in text,
        league=_league(text),
        review=_review(text),
    )
    if "copies" in text:
        made = replace(made, steps=({**made.steps[0], "mirror": True}, *made.steps[1:]))
    return made


def _league(text: str) -> dict[str, Any]:
    """Such as ``league of 3``, and maybe ``floor of 2 in 100, shifts after 60 s``."""
    told = re.search(r"league of (\d+)", text)
    follows = re.search(r"floor of (\d+) in 100, shifts after (\d+) s", text)
    rules = {"floor": int(follows[1]) / 100, "shift_seconds": int(follows[2])} if follows else {}
    return {"most": int(told[1]), **rules} if told else {}


def _chances(text: str) -> dict[str, float]:
    """Such as ``member-1 75 %, member-2 25 %``."""
    return {arm: int(n) / 100 for arm, n in re.findall(r"(member-\d+) (\d+) %", text)}


def _review(text: str) -> dict[str, Any]:
    """Such as ``review after 900 s and return``."""
    told = re.search(r"review after ([\d.]+) s and (alert|return)", text)
    return {"after": float(told[1]), "then": told[2]} if told else {}


def play(scenario: Scenario) -> Rehearsal:
    """Play every line, and hold what happened against what is told.

    Raises:
        AssertionError: a line led to something else; it names the line.
    """
    played = Rehearsal(scenario.plan)
    for line in scenario.lines:
        before = played.ledger.entries(MODEL)
        refusal = _do(played, line)
        written = [_told(e) for e in played.ledger.entries(MODEL)[len(before) :]]
        happened = ", ".join([*written, *([f"refused: {refusal}"] if refusal else [])])
        where = f"line {line.number}, '{line.act}'"
        assert happened == line.entries, f"{where}: told '{line.entries}', was '{happened}'"
        served = ", ".join(f"{r} {s * 100:.4g} %" for r, s in played.served().items())
        got = served or "nobody is served"
        assert line.served in ("", got), f"{where}: users get '{got}', told '{line.served}'"
    assert played.ledger.faults(MODEL) == []
    return played


def _do(played: Rehearsal, line: Line) -> str:
    """Do one act; the name of the error where it was refused."""
    for pattern, act in ACTS.items():
        told = re.fullmatch(pattern, line.act)
        if told:
            try:
                act(played, told)
            except SlipwayError as error:
                return type(error).__name__
            return ""
    raise AssertionError(f"line {line.number}: no act is called '{line.act}'")


def _told(entry: Entry) -> str:
    share = entry.body.get("share")
    return f"{entry.event} {share * 100:.4g} %" if share else str(entry.event)
