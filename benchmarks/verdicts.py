"""False rollbacks and speed of detection: Slipway's verdict beside four common rules.

    python benchmarks/verdicts.py [--runs 2000] [--only aa|power] [--json FILE]

Identical arms first: how often is a candidate rolled back that is the same as stable? Then worse
ones: how many of the candidate's requests does it take to find out? An hour of traffic a run, and
a look every minute; Slipway also looks after every request.

Slipway has two gates that share alpha = 0.05: errors, and the p99 of latency (from the first 5,000
requests on, which fix its threshold), both *no worse at all*. The others have errors only, and
keep all of alpha. Slipway's tests run on arrays here, with the constants of ``slipway.inference``;
a sample of runs is judged by ``slipway.verdict.judge`` as well, and must say the same. What the
judge holds against counts of users with many requests, and against a quantile's tails, is left
out: it only makes verdicts rarer (``benchmarks/margins.py`` asks the judge itself).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import ndtr, ndtri

from benchmarks import verdict_rules as rules
from benchmarks.verdict_traffic import MINUTES, Array, Cell, Traffic, simulate
from slipway.evidence import BINS, Evidence, Measured, Sums
from slipway.gates import parse
from slipway.inference import COUNTED, SHOWN
from slipway.quantiles import COUNTED_TAILS, NORMAL_TAILS
from slipway.verdict import Outcome, judge

ALPHA, Q, FIRST = 0.05, 0.99, 5000
PART = ALPHA / 2
ERRORS = (COUNTED, (1 - COUNTED) * (1 - 2 * SHOWN))
SLIPWAY = "slipway each", "slipway"
PEERS = "threshold", "z-test", "mann-whitney", "msprt"
GATES = parse(
    {
        "policy": {"alpha": PART},
        "gate": [
            {
                "metric": "error", "kind": "guardrail", "type": "rate", "direction": "lower",
                "margin": {"relative": 0.0},
            }
        ],
    }
)  # fmt: skip


def same_arms() -> list[Cell]:
    """Every cell of identical arms."""
    grid = product(
        ("steady", "diurnal", "correlated"),
        (10, 60, 600, 6000),
        (0.01, 0.1, 0.5),
        (0.001, 0.005, 0.05),
    )
    return [Cell(kind, rpm, share, base, base) for kind, rpm, share, base in grid]


def worse_arms() -> list[tuple[str, Cell, float]]:
    """Name, cell and the median of the candidate's requests that is to be beaten."""
    slower = 1 - ndtr(ndtri(Q) - math.log(1.5) / 0.5)  # log-normal latencies, sigma 0.5
    return [
        ("errors 0.5 % -> 2 %, 600/min, 10 %", Cell("steady", 600, 0.1, 0.005, 0.02), 400),
        ("errors 0.5 % -> 5 %, 600/min, 10 %", Cell("steady", 600, 0.1, 0.005, 0.05), 110),
        ("errors 0.1 % -> 0.5 %, 6000/min, 10 %", Cell("steady", 6000, 0.1, 0.001, 0.005), 1400),
        ("p99 latency x 1.5, 600/min, 10 %", Cell("steady", 600, 0.1, 1 - Q, slower), 3000),
        ("errors 0.5 % -> 5 %, 60/min, 10 %", Cell("steady", 60, 0.1, 0.005, 0.05), math.inf),
        ("same, of correlated users", Cell("correlated", 600, 0.1, 0.005, 0.05), math.inf),
    ]  # fmt: skip


def tail_gate(cell: Cell, runs: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """The p99 gate of identical arms: which values lie beyond a threshold set by the first ones."""
    if cell.rpm * MINUTES < FIRST:
        return np.full(runs, np.inf), np.full(runs, np.inf)
    beyond = rng.beta(FIRST * (1 - Q) + 1, FIRST * Q)
    tails = simulate(Cell(cell.kind, cell.rpm, cell.share, beyond, beyond), runs, rng)
    return rules.slipway(tails, cell.share, PART, COUNTED_TAILS, NORMAL_TAILS)


def false_rollbacks(cell: Cell, runs: int, seed: int) -> dict[str, Any]:
    """The part of runs in which each rule rolls back a candidate that is the same as stable."""
    rng = np.random.default_rng([seed, *map(ord, repr(cell))])
    traffic = simulate(cell, runs, rng)
    errors = rules.slipway(traffic, cell.share, PART, *ERRORS)
    tails = tail_gate(cell, runs, rng)
    if cell.kind != "correlated":
        agree(traffic, cell, errors[1])
    found = {name: np.minimum(e, t) for name, e, t in zip(SLIPWAY, errors, tails, strict=True)}
    found |= peers(traffic)
    return asdict(cell) | {name: float(np.isfinite(at).mean()) for name, at in found.items()}


def peers(traffic: Traffic) -> dict[str, Array]:
    """The other rules."""
    found = (
        rules.threshold(traffic),
        rules.z_test(traffic, ALPHA),
        rules.mann_whitney(traffic),
        rules.msprt(traffic, ALPHA),
    )
    return dict(zip(PEERS, found, strict=True))


def agree(traffic: Traffic, cell: Cell, found: Array, sample: int = 5) -> None:
    """The real judge, at each of a few minutes of a few runs, says what the arrays say."""
    total = np.cumsum(traffic.counts, 1)
    likely = np.argsort(found)[:sample]
    for run in {*range(sample), *likely}:
        decided = [_judged(total[run, minute], cell) for minute in range(MINUTES)]
        first = total[run, decided.index(True), 1, 0] if any(decided) else math.inf
        assert first == found[run], (cell, run, first, found[run])


def _judged(total: Array, cell: Cell) -> bool:
    arms = {}
    for arm, (n, k) in zip(("stable", "candidate"), total.tolist(), strict=True):
        bins = (float(n - k), *[0.0] * (BINS - 1), float(k))
        arms[arm] = Sums(n, k, n, k, k, k, n, k, k, k, k, n, k, k, bins)
    if not all(s.units for s in arms.values()):
        return False
    seen = Evidence(
        {arm: s.units for arm, s in arms.items()},
        {"error": Measured(0.0, 1.0, arms)},
        {"stable": 1 - cell.share, "candidate": cell.share},
    )
    return judge(seen, GATES, intervals=False).outcome is Outcome.FAIL


def detection(name: str, cell: Cell, goal: float, runs: int, seed: int) -> dict[str, Any]:
    """How often, and after how many of the candidate's requests, each rule finds a worse one."""
    traffic = simulate(cell, runs, np.random.default_rng([seed, *map(ord, name)]))
    latency = name.startswith("p99")
    parts = (COUNTED_TAILS, NORMAL_TAILS) if latency else ERRORS
    ours = rules.slipway(traffic, cell.share, PART, *parts)
    found = dict(zip(SLIPWAY, ours, strict=True))
    if latency:  # not before its threshold is fixed; the others have no rule for it
        found = {rule: np.maximum(at, FIRST * cell.share) for rule, at in found.items()}
    else:
        found |= peers(traffic)
    told = {rule: (float(np.isfinite(at).mean()), _median(at)) for rule, at in found.items()}
    return {"name": name, "goal": goal if math.isfinite(goal) else None, "found": told}


def _median(at: Array) -> float | None:
    middle = float(np.median(at))
    return round(middle) if math.isfinite(middle) else None


def main() -> None:
    """Run the cells on all cores and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("aa", "power"))
    parser.add_argument("--workers", type=int, help="default: all cores")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    began, told = time.monotonic(), {}
    with ProcessPoolExecutor(chosen.workers) as pool:
        if chosen.only != "power":
            # The longest cells first, so that no core waits for the last of them.
            cells = sorted(same_arms(), key=lambda c: -c.rpm * (1 + 9 * (c.kind == "correlated")))
            rows = list(
                pool.map(
                    false_rollbacks, cells, [chosen.runs] * len(cells), [chosen.seed] * len(cells)
                )
            )
            rows.sort(key=lambda r: (r["kind"], r["rpm"], r["share"], r["stable"]))
            show_same(rows, chosen.runs)
            told["identical"] = rows
        if chosen.only != "aa":
            tasks = [pool.submit(detection, *arm, chosen.runs, chosen.seed) for arm in worse_arms()]
            told["worse"] = [task.result() for task in tasks]
            show_worse(told["worse"])
    print(f"\n{chosen.runs} runs a cell, {time.monotonic() - began:.0f} s")
    if chosen.json:
        chosen.json.write_text(json.dumps(told, indent=1) + "\n")


def show_same(rows: list[dict[str, Any]], runs: int) -> None:
    """The table of false rollbacks, in per cent."""
    names = (*SLIPWAY, *PEERS)
    print(f"False rollbacks of an identical candidate, % of {runs} runs of an hour")
    print(
        f"{'traffic':11}{'req/min':>8}{'share':>7}{'errors':>8}"
        + "".join(f"{n:>14}" for n in names)
    )
    for row in rows:
        head = f"{row['kind']:11}{row['rpm']:>8}{row['share']:>7.0%}{row['stable']:>8.1%}"
        print(head + "".join(f"{100 * row[n]:14.1f}" for n in names))
    print(f"{'worst cell':34}" + "".join(f"{100 * max(r[n] for r in rows):14.1f}" for n in names))


def show_worse(rows: list[dict[str, Any]]) -> None:
    """The table of detection."""
    names = (*SLIPWAY, *PEERS)
    print("\nWorse candidates: % found within the hour, and the median of its requests until then")
    print(f"{'':42}{'goal':>6}" + "".join(f"{n:>17}" for n in names))
    for row in rows:
        cells = [row["found"].get(n) for n in names]
        told = ["-" if c is None else f"{100 * c[0]:.1f} % {c[1] or '-':>7}" for c in cells]
        print(f"{row['name']:42}{row['goal'] or '':>6}" + "".join(f"{t:>17}" for t in told))


if __name__ == "__main__":
    main()
