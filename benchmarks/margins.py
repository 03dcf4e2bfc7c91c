"""Wrong passes and wrong failures of the judge itself, where what it counts parts from the figure.

    python benchmarks/margins.py [--runs 300]

Each run is judged at 20 looks, by ``slipway.verdict.judge``, of users who send many requests. A
candidate that is just as much worse as the margin allows must not be called surely no worse; one
that is as good, or as bad, but otherwise spread over its users must be called neither. Then how
many of the candidate's requests a worse one takes to be found, where users send many requests, and
for a p99.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from slipway.evidence import BINS, WIDTH, Evidence, Measured, Sums, Tails
from slipway.gates import Gate, Gates, Policy
from slipway.verdict import judge

Array = np.ndarray
LOOKS = 20
Users = Callable[[int, np.random.Generator], Array]
"""Values by (user, request)."""


def at_random(rate: float, requests: int) -> Users:
    """Each request fails by itself."""
    return lambda n, rng: (rng.random((n, requests)) < rate).astype(float)


def all_or_none(rate: float, requests: int) -> Users:
    """A user's requests fail all, or none does."""
    return lambda n, rng: np.repeat((rng.random((n, 1)) < rate).astype(float), requests, 1)


def after_the_first(first: float, later: float, requests: int) -> Users:
    """A user's first request fails at another rate than the others."""
    chance = np.array([first, *[later] * (requests - 1)])
    return lambda n, rng: (rng.random((n, requests)) < chance).astype(float)


def prone(rate: float, requests: int) -> Users:
    """Some users fail much more often than others: chances are beta, with a weight of 3."""
    return lambda n, rng: (
        rng.random((n, requests)) < rng.beta(3 * rate, 3 * (1 - rate), (n, 1))
    ).astype(float)


@dataclass(frozen=True)
class Cell:
    """Two kinds of users that are compared, and what must not be said of them too often."""

    name: str
    stable: Users
    candidate: Users
    gate: dict[str, Any]
    wrong: str
    users: int = 2000


def cells() -> list[Cell]:
    """Pairs at the margin, or alike but for how events are spread."""
    rel, pts = {"relative": 0.0}, {"absolute": 0.02}
    return [
        Cell("5 -> 6 %, margin 20 %, 20 requests", at_random(0.05, 20), at_random(0.06, 20),
             {"relative": 0.2}, "pass"),
        Cell("2 -> 4 %, margin 100 %, 30 requests", at_random(0.02, 30), at_random(0.04, 30),
             {"relative": 1.0}, "pass"),
        Cell("0.5 -> 0.75 %, margin 50 %, prone users", prone(0.005, 10), prone(0.0075, 10),
             {"relative": 0.5}, "pass", 6000),
        Cell("2 % at random, 6 % all or none", at_random(0.02, 20), all_or_none(0.06, 20),
             rel, "pass"),
        Cell("6 % all or none, 2 % at random", all_or_none(0.06, 20), at_random(0.02, 20),
             rel, "fail"),
        Cell("10 % at random, 10 % all or none", at_random(0.1, 20), all_or_none(0.1, 20),
             rel, "fail"),
        Cell("10 % all or none, 10 % at random", all_or_none(0.1, 20), at_random(0.1, 20),
             rel, "fail"),
        Cell("2 points more, after the first request", after_the_first(0.01, 0.01, 10),
             after_the_first(0.01, 0.0322, 10), pts, "pass", 800),
        Cell("a fifth of a percent, then 30 %", after_the_first(0.002, 0.002, 10),
             after_the_first(0.002, 0.3, 10), pts, "pass", 800),
        Cell("prone users alike, no margin", prone(0.02, 10), prone(0.02, 10), rel, "fail"),
        Cell("prone users alike, 2 points", prone(0.02, 10), prone(0.02, 10), pts, "fail"),
    ]  # fmt: skip


def sums(values: Array) -> Sums:
    """Of users' values, one row each."""
    n, y = np.full(len(values), float(values.shape[1])), values.sum(1)
    first = values[:, 0]
    bins = np.zeros(BINS + 1)
    bins[0], bins[-1] = (first == 0.0).sum(), (first == 1.0).sum()
    orders = (y**2, n * y, n**2, y**4, y**3 * n, y**2 * n**2, y * n**3, n**4)
    told = [float(order.sum()) for order in orders]
    ends = float(first.sum()), float((first**2).sum())
    return Sums(
        len(values), int((y > 0).sum()), float(n.sum()), float(y.sum()), *told, *ends, tuple(bins)
    )


def outcome(place: int, seed: int) -> tuple[str, float]:
    """What a run of a cell comes to, and the candidate's requests by then."""
    cell = cells()[place]
    rng, gates = np.random.default_rng(seed), Gates(Policy(), (Gate("error", **cell.gate),))
    arms = {"stable": cell.stable, "candidate": cell.candidate}
    values = {arm: users(cell.users, rng) for arm, users in arms.items()}
    for users in np.linspace(cell.users / LOOKS, cell.users, LOOKS).astype(int):
        seen = Measured(0.0, 1.0, {arm: sums(v[:users]) for arm, v in values.items()})
        evidence = Evidence(dict.fromkeys(arms, int(users)), {"error": seen})
        said = judge(evidence, gates, intervals=False).outcome
        if said in ("pass", "fail"):
            return str(said), float(users * values["candidate"].shape[1])
    return "none", math.inf


Q = 0.99


def tails(stable: Array, candidate: Array) -> Tails | None:
    """What is known of a p99 after so many values, one a user, of both arms together."""
    first = np.concatenate((stable, candidate))[: int(50 / (1 - Q))]
    if len(stable) + len(candidate) < 50 / (1 - Q):
        return None
    level, arms = float(np.quantile(first, Q)), {"stable": stable, "candidate": candidate}
    beyond = {a: sums((v > level)[:, None].astype(float)) for a, v in arms.items()}
    seen = Measured(0.0, 1.0, beyond)
    keys = {a: np.floor(np.log(v) / np.log1p(WIDTH)).astype(int) for a, v in arms.items()}
    counts = {a: np.unique(k, return_counts=True) for a, k in keys.items()}
    bins = {a: dict(zip(k.tolist(), n.tolist(), strict=True)) for a, (k, n) in counts.items()}
    return Tails(Q, level, seen, seen, seen, bins)


def slower(times: float, seed: int) -> tuple[str, float]:
    """A p99 at no margin, 600 requests a minute, a tenth of them the candidate's: an hour."""
    rng = np.random.default_rng(seed)
    p99 = Gate("p99", type="quantile", q=Q, relative=0.0)
    gates = Gates(Policy(), (p99, Gate("error", relative=0.0)))
    fine = Measured(0.0, 1.0, {a: sums(np.zeros((1, 1))) for a in ("stable", "candidate")})
    stable, candidate = (np.exp(3 + 0.5 * rng.normal(size=60 * n)) for n in (540, 60))
    for minute in range(1, 61):
        seen = tails(stable[: 540 * minute], times * candidate[: 60 * minute])
        metrics = {"error": fine} | ({p99.name: seen} if seen else {})
        evidence = Evidence({"stable": 540 * minute, "candidate": 60 * minute}, metrics)
        if judge(evidence, gates, intervals=False).outcome == "fail":
            return "fail", 60.0 * minute
    return "none", math.inf


def main() -> None:
    """Run every cell, and print what came of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=300)
    runs, began = parser.parse_args().runs, time.monotonic()
    print("| users | must not | did |\n|---|---|---|")
    with ProcessPoolExecutor() as pool:
        for place, cell in enumerate(cells()):
            found = Counter(word for word, _ in pool.map(partial(outcome, place), range(runs)))
            print(f"| {cell.name} | {cell.wrong} | {found[cell.wrong] / runs:.1%} |", flush=True)
        alike = Counter(word for word, _ in pool.map(partial(slower, 1.0), range(runs)))
        print(f"| p99 of arms alike | fail | {alike['fail'] / runs:.1%} |")
        worse = [at for _, at in pool.map(partial(slower, 1.5), range(runs))]
    lost = sum(map(math.isinf, worse))
    print(f"\np99 times 1.5: found after {statistics.median(worse):.0f} requests, {lost} not found")
    print(f"\n{runs} runs a cell, {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
