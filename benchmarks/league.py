"""A league of three beside stable: false exits and promotions, and what finding the best costs.

    python benchmarks/league.py [--runs 2000]

Every unit sends one request, which clicks or not and fails or not. Clicks are the goal, errors the
guardrail, both rates; alpha is 5 % for the league. A look every 5,000 units, 16 of them at most.
Two ways to share: *fixed* slices, as a rollout has them (a single member 10 %), and *adaptive*: in
every cohort of 5,000 new units, ``slipway.league.next_shares`` with the same total and a floor of
2 %. Both are judged by ``slipway.league.stand``.

First all are alike, at margins of zero, where every exit and every promotion is false. Then one
member clicks more, one clicks less and fails more, and one is as stable; the margins are a tenth
for clicks, and as much again for errors. Of the members' users among 80,000, *regret* is the clicks
that were missed for not giving them all to the best, and *harm* the errors beyond stable's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from slipway.evidence import BINS, Evidence, Measured, Sums, together
from slipway.gates import Gates, parse
from slipway.league import Judge, Place, next_shares, stand
from slipway.lifecycle import Event
from slipway.members import after, table_of
from slipway.verdict import Verdict, judge

UNITS, LOOKS, SLICE, FLOOR, MEMBERS = 5000, 16, 0.1, 0.02, 3
Rates = Mapping[str, tuple[float, float]]
ALIKE: Rates = dict.fromkeys(("stable", *(f"member-{i}" for i in (1, 2, 3))), (0.05, 0.01))
DIFFERENT: Rates = {**ALIKE, "member-1": (0.07, 0.01), "member-2": (0.04, 0.03)}


def gates(clicks: float, errors: float) -> Gates:
    """Clicks to win by, errors to go out for, each with its relative margin."""
    kinds = (("click", "goal", "higher", clicks), ("error", "guardrail", "lower", errors))
    return parse(
        {
            "gate": [
                {"metric": m, "kind": k, "type": "rate", "direction": d,
                 "margin": {"relative": margin}}
                for m, k, d, margin in kinds
            ]
        }
    )  # fmt: skip


def rate(counts: Mapping[str, tuple[int, int]]) -> Measured:
    """(events, units) of each arm: sums of zeros and ones."""
    arms = {}
    for arm, (k, n) in counts.items():
        bins = (float(n - k), *(0.0,) * (BINS - 1), float(k))
        arms[arm] = Sums(n, k, n, k, k, k, n, k, k, k, k, n, k, k, bins=bins)
    return Measured(0.0, 1.0, arms)


@dataclass
class Run:
    """One league: who was called what, after how many units, and what it cost."""

    out: list[str] = field(default_factory=list)
    won: str = ""
    units: int = UNITS * LOOKS
    regret: float = 0.0
    harm: float = 0.0


class Seen:
    """What was seen of each cohort; fixed slices are one cohort."""

    def __init__(self, adaptive: bool) -> None:
        self.adaptive, self.cohorts = adaptive, [np.zeros((4, 3), int)]
        self.shares: list[Mapping[str, float]] = [{}]

    def add(self, shares: Mapping[str, float], rates: Rates, rng: np.random.Generator) -> None:
        """The next units."""
        names = list(rates)
        chances = np.array([shares.get(n, 0.0) for n in names])
        counts = rng.multinomial(UNITS, chances / chances.sum())
        new = [
            (n, *(rng.binomial(n, p) for p in rates[a])) for a, n in zip(names, counts, strict=True)
        ]
        if self.adaptive:
            self.cohorts.append(np.zeros((4, 3), int))
            self.shares.append(shares)
        self.cohorts[-1] = self.cohorts[-1] + np.array(new)
        self.shares[-1] = shares

    def evidence(self) -> Evidence:
        """All of it."""
        made = []
        for table, shares in zip(self.cohorts, self.shares, strict=True):
            rows = {a: table[i].tolist() for i, a in enumerate(ALIKE) if table[i, 0]}
            if rows:
                measured = {
                    name: rate({a: (r[1 + i], r[0]) for a, r in rows.items()})
                    for i, name in enumerate(("click", "error"))
                }
                made.append(Evidence({a: r[0] for a, r in rows.items()}, measured, shares))
        return together(made) if self.adaptive else made[0]


def judges(evidence: Evidence, intervals: bool) -> Judge:
    """Intervals only where shares need them: no decision does."""

    def judge_pair(member: str, baseline: str, chosen: Gates, part: float) -> Verdict:
        show = intervals and baseline == "stable"
        return judge(
            evidence, chosen, part=part, candidate=member, baseline=baseline, intervals=show
        )

    return judge_pair


def play(adaptive: bool, rates: Rates, chosen: Gates, rng: np.random.Generator) -> Run:
    """One league, to the promotion or the last look."""
    run, seen, members = Run(), Seen(adaptive), ()
    for name in list(rates)[1:]:
        members = after(members, Event.JOINED, name)
    shares = {a.name: a.share for a in table_of("", members, SLICE)}
    best = max(rates, key=lambda a: rates[a][0])
    for look in range(1, LOOKS + 1):
        seen.add(shares, rates, rng)
        _pay(run, shares, rates, best)
        inside = [m.arm for m in members if not m.out]
        told = stand(inside, chosen, judges(seen.evidence(), adaptive), most=MEMBERS)
        for standing in told:
            if standing.place is Place.OUT:
                run.out.append(standing.member)
                members = after(members, Event.ELIMINATED, standing.member)
        if told[0].place is Place.WINS:
            run.won, run.units = told[0].member, look * UNITS
            for _ in range(look, LOOKS):
                _pay(run, {run.won: 1.0 - shares["stable"]}, rates, best)
            return run
        if all(m.out for m in members):
            return run
        shares = {a.name: a.share for a in table_of("", members, SLICE) if a.share}
        if adaptive:
            total = 1.0 - shares["stable"]
            shares |= next_shares(told, chosen, total, FLOOR)
    return run


def _pay(run: Run, shares: Mapping[str, float], rates: Rates, best: str) -> None:
    for arm, share in shares.items():
        if arm != "stable":
            run.regret += UNITS * share * (rates[best][0] - rates[arm][0])
            run.harm += UNITS * share * (rates[arm][1] - rates["stable"][1])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    print("| all alike | someone is out | someone wins |\n|---|---|---|")
    for adaptive in (False, True):
        rng = np.random.default_rng(20_261_127)
        played = [play(adaptive, ALIKE, gates(0.0, 0.0), rng) for _ in range(runs)]
        out, won = (100 * sum(map(bool, f)) / runs for f in _columns(played, "out", "won"))
        print(f"| {_name(adaptive)} | {out:.2f} % | {won:.2f} % |", flush=True)
    print(
        "\n| one better, one worse | the best wins | median units | the worst is out |"
        " regret | harm |"
    )
    print("|---|---|---|---|---|---|")
    for adaptive in (False, True):
        rng = np.random.default_rng(20_261_128)
        played = [
            play(adaptive, DIFFERENT, gates(0.1, 1.0), rng) for _ in range(max(runs // 10, 1))
        ]
        print(_row(_name(adaptive), played), flush=True)


def _name(adaptive: bool) -> str:
    return "adaptive" if adaptive else "fixed"


def _columns(played: list[Run], *names: str) -> list[list[Any]]:
    return [[getattr(run, name) for run in played] for name in names]


def _row(name: str, played: list[Run]) -> str:
    won = [r for r in played if r.won == "member-1"]
    median = statistics.median(r.units for r in won) if won else 0
    out = sum("member-2" in r.out for r in played)
    cells = (name, f"{100 * len(won) / len(played):.1f} %", f"{median:g}" if won else "-")
    regret, harm = map(statistics.mean, _columns(played, "regret", "harm"))
    cells += (f"{100 * out / len(played):.1f} %", f"{regret:.0f}", f"{harm:.0f}")
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
