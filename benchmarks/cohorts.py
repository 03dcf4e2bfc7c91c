"""False verdicts where shares follow what was seen: two arms alike, compared over cohorts.

    python benchmarks/cohorts.py [--runs 2000]

A launch of 60 cohorts (route tables) with as many new units each, and a look at the end of each.
Both arms draw from one distribution, which is better in one cohort and worse in the next; the
share *chases*: the candidate has the large share in the next cohort if its figure in this one was
the better, and else the small one. Alpha is 2.5 % for each of two wrong answers: that the
candidate is worse, and that it is better. *Spoke* is how often the normal mixture of
``slipway.cohorts.PooledTest`` had effective units enough; a vectorised twin of it is counted, which
is first held against it.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from scipy.special import ndtr

from benchmarks.verdict_traffic import Array
from slipway.cohorts import LEAST_UNITS, PooledTest
from slipway.evidence import Measured, Sums
from slipway.gates import EVEN
from slipway.inference import TRUSTED_IF_MEAN, TRUSTED_UNITS, TUNED, Pair

ALPHA, COHORTS, CHECKED = 0.025, 60, 3
Draw = Callable[[np.random.Generator, tuple[int, int], float], Array]
DRAWS: dict[str, Draw] = {
    "rate 0.1 %": lambda rng, size, hour: (rng.random(size) < 0.001 * hour) * 1.0,
    "rate 1 %": lambda rng, size, hour: (rng.random(size) < 0.01 * hour) * 1.0,
    "rate 5 %": lambda rng, size, hour: (rng.random(size) < 0.05 * hour) * 1.0,
    "bounded, Beta(0.2, 1.8)": lambda rng, size, hour: rng.beta(0.2 * hour, 1.8, size),
    "log-normal, sigma 1": lambda rng, size, hour: hour * rng.lognormal(0, 1, size),
    "log-normal, sigma 1.5": lambda rng, size, hour: hour * rng.lognormal(0, 1.5, size),
    "the same, negative": lambda rng, size, hour: -hour * rng.lognormal(0, 1.5, size),
    "Pareto, index 2.5": lambda rng, size, hour: hour * rng.pareto(2.5, size),
}
SHARES = ((0.01, 0.1), (0.05, 0.5))


def cohort(draw: Draw, units: int, hour: float, share: Array, rng: np.random.Generator) -> Array:
    """Per run and arm (candidate first): units, and the sums of the first four powers."""
    x = draw(rng, (len(share), units), hour)
    mine = rng.random(x.shape) < share[:, None]
    xx = x * x
    pairs = ((np.ones_like(x), np.ones_like(x)), (x, np.ones_like(x)), (x, x), (xx, x), (xx, xx))
    whole = np.stack([np.einsum("ij,ij->i", a, b) for a, b in pairs], -1)
    candidate = np.stack([np.einsum("ij,ij->i", a * mine, b) for a, b in pairs], -1)
    return np.stack([candidate, whole - candidate], 1)


class Pooled:
    """The twin of ``PooledTest``, growing by a cohort of every run at a time."""

    def __init__(self, runs: int) -> None:
        self.sums = np.zeros((8, runs))

    def add(self, powers: Array) -> None:
        """Add a cohort."""
        n, y, y2, y3, y4 = np.moveaxis(powers, -1, 0)
        with np.errstate(all="ignore"):
            mean = y / n
            dd = np.maximum(y2 - n * mean**2, 0.0)
            d4 = np.maximum(y4 - 4 * mean * y3 + 6 * mean**2 * y2 - 3 * n * mean**4, 0.0)
            weight = n.prod(1) / n.sum(1)
            scale = weight[:, None] / n
            gap = weight * (mean[:, 0] - mean[:, 1])
            variance = (scale**2 * dd * n / (n - 1)).sum(1)
            parts = [gap, variance, *(scale**2 * dd).T, *(scale**4 * d4).T]
        fits = n.min(1) >= LEAST_UNITS
        self.sums += np.where(fits, np.array([*parts, dd.sum(1), n.sum(1)]), 0.0)

    def answers(self) -> tuple[Array, Array, Array]:
        """Log e-values of worse and of better, and the effective units."""
        gap, variance, dd_c, dd_s, d4_c, d4_s, spread, units = self.sums
        with np.errstate(all="ignore"):
            effective = np.nan_to_num(np.minimum(3 * dd_c**2 / d4_c, 3 * dd_s**2 / d4_s))
            v = variance * units / spread
            z = gap / np.sqrt(variance)
            return wealth(z, v), wealth(-z, v), effective


def wealth(z: Array, v: Array) -> Array:
    """``slipway.inference.wealth`` at z standard errors, on arrays."""
    log_e = np.full(v.shape, -np.inf)
    for rho, part in TUNED:
        s = z * np.sqrt(v / (v + rho))
        one = 0.5 * np.log(rho / (v + rho)) + s * s / 2 + np.log(2 * part * ndtr(s))
        log_e = np.logaddexp(log_e, one)
    return np.where(np.isfinite(log_e), log_e, -np.inf)


def real(powers: Array) -> tuple[float, float]:
    """``PooledTest`` itself on one run's cohorts: log e-values of worse and better."""
    told = []
    for cohort_powers in powers:
        arms = {}
        for name, (n, y, y2, y3, y4) in zip(("c", "s"), cohort_powers.tolist(), strict=True):
            arms[name] = Sums(int(n), int(n), n, y, y2, y, n, y4, y3, y2, y, n, y, y2)
        if min(a.units for a in arms.values()) >= LEAST_UNITS:
            told.append((Measured(None, None, arms), Pair("s", "c", 0.1)))
    test = PooledTest(told, 1.0, TRUSTED_UNITS)
    if test.clock == 0.0:
        return -math.inf, -math.inf
    return test.log_e(EVEN, above=True), test.log_e(EVEN, above=False)


def wrong(
    draw: Draw, per_nat: float, shares: tuple[float, float], units: int, runs: int, seed: int
) -> Array:
    """How often the candidate is called worse, better, and how often the test spoke."""
    rng, need = np.random.default_rng(seed), math.log(1 / ALPHA)
    pooled, share, called, kept = Pooled(runs), np.full(runs, shares[0]), np.zeros((3, runs)), []
    for number in range(COHORTS):
        powers = cohort(draw, units, (0.6, 1.0, 1.4)[number % 3], share, rng)
        pooled.add(powers)
        kept.append(powers[:CHECKED])
        worse, better, effective = pooled.answers()
        spoke = effective >= per_nat * need
        called = np.maximum(called, [spoke & (worse >= need), spoke & (better >= need), spoke])
        with np.errstate(all="ignore"):
            mean = np.nan_to_num(powers[:, :, 1] / powers[:, :, 0])
        share = np.where(mean[:, 0] <= mean[:, 1], shares[1], shares[0])
    for run in range(CHECKED):
        twin = (worse[run], better[run])
        assert np.allclose(real(np.array(kept)[:, run]), twin, rtol=1e-6, atol=1e-6), (run, twin)
    return called.mean(1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=2000)
    runs = parser.parse_args().runs
    print(f"| values | units a cohort | shares | worse | better | spoke | ({runs} runs)")
    for name, draw in DRAWS.items():
        per_nat = TRUSTED_UNITS if name.startswith("rate") else TRUSTED_IF_MEAN
        for shares in SHARES:
            for units in (400, 2000):
                told = wrong(draw, per_nat, shares, units, runs, seed=4)
                cells = " | ".join(f"{100 * x:.2f} %" for x in told)
                small, large = (f"{100 * s:g}" for s in shares)
                print(f"| {name} | {units} | {small} or {large} % | {cells} |", flush=True)


if __name__ == "__main__":
    main()
