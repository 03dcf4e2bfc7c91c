"""False rollbacks by a mean without bounds, whose test is only asymptotic: is it trusted too early?

    python benchmarks/verdict_means.py [--runs 2000]

Both arms draw from one distribution, one value a unit; an hour of 600 units a minute (3,000 at a
share of 1 %), a look each minute, alpha 2.5 %. *Trusted* is how often the test spoke at all: it
waits for effective units, of which a heavy tail has few.

Then the hardest case, a small arm against a mean that is as good as known: called wrongly where
the test is trusted from 20 effective units per nat of log(1/alpha) on, as a rate is, and from 40.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.cohorts import wealth
from benchmarks.verdict_rules import normal_log_e
from benchmarks.verdict_traffic import MINUTES, Array
from slipway.inference import TRUSTED_IF_MEAN, TRUSTED_UNITS

ALPHA = 0.025
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]
DRAWS: dict[str, Draw] = {
    "exponential": lambda rng, size: rng.exponential(1, size),
    "log-normal, sigma 1": lambda rng, size: rng.lognormal(0, 1, size),
    "log-normal, sigma 1.5": lambda rng, size: rng.lognormal(0, 1.5, size),
    "the same, negative": lambda rng, size: -rng.lognormal(0, 1.5, size),
    "log-normal, sigma 2": lambda rng, size: rng.lognormal(0, 2, size),
    "Pareto, index 2.5": lambda rng, size: rng.pareto(2.5, size),
    "1 in 100": lambda rng, size: (rng.random(size) < 0.01) * 1.0,
}


def false_rollbacks(draw: Draw, share: float, runs: int, rng: np.random.Generator) -> Array:
    """How often the candidate is called worse, and how often the test spoke."""
    rpm, need = (3000 if share < 0.05 else 600), math.log(1 / ALPHA)
    columns, pooled = [], np.zeros((3, runs, MINUTES))
    for part in (1 - share, share):
        units = round(rpm * part)
        minutes = []
        for _ in range(MINUTES):
            x = draw(rng, (runs, units))
            xx = x * x
            powers = [np.einsum("ij,ij->i", xx, other) for other in (x, xx)]
            minutes.append([np.full(runs, units), x.sum(1), xx.sum(1), *powers])
        n, s1, s2, s3, s4 = np.cumsum(np.array(minutes), 0).transpose(1, 2, 0)
        mean = s1 / n
        d4 = s4 - 4 * mean * s3 + 6 * mean**2 * s2 - 3 * n * mean**4
        columns += [n, s1, s2 - n * mean**2, d4]
        pooled += np.array([n, s1, s2])
    variance = pooled[2] / pooled[0] - (pooled[1] / pooled[0]) ** 2
    log_e, effective = normal_log_e(np.stack([*columns, variance], -1))
    trusted = effective >= TRUSTED_IF_MEAN * need
    return np.array([((log_e >= need) & trusted).any(1).mean(), trusted.any(1).mean()])


KNOWN: dict[str, tuple[Draw, float]] = {
    **{
        f"log-normal, sigma {s:g}": (
            lambda rng, size, s=s: rng.lognormal(0, s, size),  # type: ignore[misc]
            math.exp(s * s / 2),
        )
        for s in (1.0, 1.5, 2.0)
    },
    "Pareto, index 2.5": (DRAWS["Pareto, index 2.5"], 1 / 1.5),
    "1 in 100": (DRAWS["1 in 100"], 0.01),
}


def against_known(draw: Draw, mean: float, units: int, runs: int) -> Array:
    """How often a mean is called too low, or too high, trusted from 20 and from 40 on."""
    rng, need = np.random.default_rng(3), math.log(1 / ALPHA)
    sums, called, n = np.zeros((4, runs)), np.zeros((2, runs), bool), 0
    for _ in range(MINUTES):
        x = draw(rng, (runs, units))
        xx, n = x * x, n + units
        sums += [x.sum(1), *(np.einsum("ij,ij->i", xx, o) for o in (np.ones_like(x), x, xx))]
        m = sums[0] / n
        dd = sums[1] - n * m**2
        d4 = sums[3] - 4 * m * sums[2] + 6 * m**2 * sums[1] - 3 * n * m**4
        with np.errstate(all="ignore"):
            z, effective = np.abs((m - mean) * n / np.sqrt(dd)), np.nan_to_num(3 * dd**2 / d4)
            over = wealth(z, np.full(runs, float(n))) >= need
        called |= [over & (effective >= t * need) for t in (TRUSTED_UNITS, TRUSTED_IF_MEAN)]
    return called.mean(1)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    rng = np.random.default_rng(2)
    print(f"{'values':24}{'share':>7}{'called worse':>14}{'trusted':>9}   ({runs} runs)")
    for (name, draw), share in product(DRAWS.items(), (0.01, 0.1, 0.5)):
        wrong, trusted = false_rollbacks(draw, share, runs, rng)
        print(f"{name:24}{share:7.0%}{wrong:14.2%}{trusted:9.0%}", flush=True)

    print(f"{'values, against a known mean':31}{'units a minute':>15}{'from 20':>9}{'from 40':>9}")
    for (name, (known, mean)), units in product(KNOWN.items(), (30, 150, 600)):
        told = "".join(f"{x:9.2%}" for x in against_known(known, mean, units, runs))
        print(f"{name:31}{units:15}{told}", flush=True)


if __name__ == "__main__":
    main()
