"""Anytime-valid inference: pure functions of numbers, valid at every look.

Every test here is an *e-process*: a bet against a null hypothesis whose wealth has expectation at
most 1 at every stopping time if the null is true, so that by Ville's inequality (1939) it ever
reaches 1/alpha with a chance of at most alpha, however often one looks. Intervals are the values
that no such bet has refuted.

Logarithms of wealth are natural. Means lie in [0, 1]; the caller scales.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

RATIOS = tuple(1.15 * 1.22**j for j in range(20))
"""The alternatives that ``next_event`` bets on: the rate is 1.15 to 50 times the null's."""

STAKES = tuple(0.95 * 0.6**j for j in range(16))
"""The stakes of ``log_wealth``, as a part of the largest that cannot ruin the bettor."""

IDLE = 0.25
"""The part of the purse that ``log_wealth`` never bets, so that a wrong bet loses little."""


def log_mean_exp(terms: Sequence[float]) -> float:
    """log of the mean of exp, without overflow."""
    top = max(terms)
    return top + math.log(sum(math.exp(t - top) for t in terms) / len(terms))


def next_event(baseline: int, candidate: int, share: float, ratio: float, *, above: bool) -> float:
    """Log e-value of: the candidate's event rate is above (below) ``ratio`` times the baseline's.

    Assignment is by chance, so under the null each unit that has its first event is one of the
    candidate's with a chance of at most (at least) share*ratio / (share*ratio + 1 - share),
    whatever the traffic, and independently of those before it. Exact for the lowest counts; a
    mixture of the likelihood ratios over ``RATIOS``, so only the two counts matter.

    Args:
        baseline, candidate: units of each arm that have had an event.
        share: the chance of a unit to be the candidate's, in (0, 1).

    Source: Lindon and Malek, "Anytime-valid inference for multinomial count data", 2020,
    arXiv 2011.03567.
    """
    odds = share * ratio / (1.0 - share)
    null = odds / (1.0 + odds)
    logs = []
    for step in RATIOS:
        moved = odds * step if above else odds / step
        p = moved / (1.0 + moved)
        logs.append(candidate * math.log(p / null) + baseline * math.log((1.0 - p) / (1.0 - null)))
    return log_mean_exp(logs)


def log_wealth(values: Array, counts: Array, means: Array, *, above: bool) -> Array:
    """Log wealth, per hypothetical mean m, of betting that values in [0, 1] have a mean above m.

    Wealth is a mixture over fixed stakes of the product of 1 + stake (x - m): a supermartingale
    if the values' mean, given those before, is at most m. Since each stake is fixed, the order
    of the values does not matter, and values that are equal need only be counted.

    Args:
        values, counts: the distinct values, and how often each was seen.
        means: the means to be refuted, inside (0, 1).
        above: bet on a higher mean; otherwise on a lower one.

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
    JRSS B, 2024, arXiv 2010.09686.
    """
    import numpy as np

    room = means if above else 1.0 - means  # the largest loss a unit stake can make
    gain = (values[:, None] - means) if above else (means - values[:, None])
    logs = np.stack([counts @ np.log1p(f * gain / room) for f in STAKES])
    top = np.maximum(logs.max(axis=0), 0.0)
    bets = np.exp(logs - top).mean(axis=0)
    return np.asarray(top + np.log(IDLE * np.exp(-top) + (1.0 - IDLE) * bets))


def grid(cells: int = 1000) -> Array:
    """Points in (0, 1), closest near its ends, where rates live."""
    import numpy as np

    return np.asarray(np.sin(np.linspace(0.0, np.pi / 2, cells + 1)[1:-1]) ** 2)


class MeanComparison:
    """Whether one bounded mean is above or below a line in another: exact, for two samples.

    To refute "c <= slope*s + shift", multiply a bet that c is above slope*s + shift with a bet
    that s is below itself, and take the worst s: whichever s is true, that product is a fair
    bet. Both bets are evaluated on a grid, each rounded against the claim.

    Args:
        c_low, c_high: the candidate's distinct values rounded down, and up.
        c_counts: how often.
        s_low, s_high, s_counts: the same of the baseline.
    """

    def __init__(
        self, c_low: Array, c_high: Array, c_counts: Array, s_low: Array, s_high: Array,
        s_counts: Array,
    ) -> None:  # fmt: skip
        self.grid = grid()
        self._c = {
            True: log_wealth(c_low, c_counts, self.grid, above=True),
            False: log_wealth(c_high, c_counts, self.grid, above=False),
        }
        self._s = {
            True: log_wealth(s_low, s_counts, self.grid, above=True),
            False: log_wealth(s_high, s_counts, self.grid, above=False),
        }

    def log_e(self, slope: float, shift: float, *, above: bool) -> float:
        """Log e-value of: c is above (below) slope*s + shift."""
        import numpy as np

        edges = np.concatenate(([0.0], self.grid, [1.0]))
        low, high = edges[:-1], edges[1:]  # the true s lies in one of these cells
        # A bet on c above a line is weakest at the cell's upper end, where the line is highest;
        # a bet on s being lower than it is, is weakest at the lower end.
        line = slope * (high if above else low) + shift
        possible = line >= 0.0 if above else line <= 1.0
        mine = self._look_up(self._c[above], line, above=above)
        theirs = self._look_up(self._s[not above], low if above else high, above=not above)
        total = mine + theirs
        # Where the line cannot be met by any c in [0, 1], the null is impossible.
        return float(np.min(total[possible])) if possible.any() else math.inf

    def _look_up(self, wealth: Array, at: Array, *, above: bool) -> Array:
        """Wealth at the nearest grid point that claims no more than ``at`` does."""
        import numpy as np

        if above:  # wealth falls in m: take the next point up; beyond the last, no bet
            index = np.searchsorted(self.grid, at, side="left")
            padded = np.append(wealth, 0.0)
        else:  # wealth rises in m: take the next point down
            index = np.searchsorted(self.grid, at, side="right")
            padded = np.insert(wealth, 0, 0.0)
        return np.asarray(padded[index])

    def bound(self, alpha: float, *, upper: bool) -> float:
        """The upper (lower) end of c - s, which holds at all times with a chance of 1 - alpha."""
        need = math.log(1.0 / alpha)
        low, high = -1.0, 1.0
        for _ in range(14):  # to 1e-4 of the range
            middle = (low + high) / 2
            refuted = self.log_e(1.0, middle, above=not upper) >= need
            if refuted == upper:
                high = middle
            else:
                low = middle
        return high if upper else low


def normal_log_mixture(s: float, v: float, rho: float, *, one_sided: bool) -> float:
    """Log wealth of the normal mixture at a centred sum s of intrinsic variance v.

    Args:
        rho: the precision of the mixing distribution; the bound is tightest near v = 10 rho.

    Source: Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic
    confidence sequences", Annals of Statistics, 2021, arXiv 1810.08240, propositions 5 and 6.
    """
    log_m = 0.5 * math.log(rho / (v + rho)) + s * s / (2.0 * (v + rho))
    if not one_sided:
        return log_m
    return log_m + math.log(2.0) + log_normal_cdf(s / math.sqrt(v + rho))


def log_normal_cdf(x: float) -> float:
    """log of the standard normal distribution function, also far in the lower tail."""
    if x > -30.0:
        return math.log(0.5 * math.erfc(-x / math.sqrt(2.0)))
    return -0.5 * x * x - math.log(-x) - 0.5 * math.log(2.0 * math.pi)


def normal_bound(v: float, alpha: float, rho: float, *, one_sided: bool) -> float:
    """The sum s at which ``normal_log_mixture`` reaches 1/alpha."""
    two_sided = math.sqrt((v + rho) * (math.log1p(v / rho) + 2.0 * math.log(1.0 / alpha)))
    if not one_sided:
        return two_sided
    need = math.log(1.0 / alpha)
    low, high = -10.0 * two_sided, two_sided
    for _ in range(80):
        middle = (low + high) / 2
        if normal_log_mixture(middle, v, rho, one_sided=True) < need:
            low = middle
        else:
            high = middle
    return high


def best_rho(v: float, alpha: float, *, one_sided: bool) -> float:
    """The rho whose normal mixture is tightest at intrinsic variance v (same source)."""
    a = 2.0 * alpha if one_sided else alpha
    return v / (2.0 * math.log(1.0 / a) + math.log1p(2.0 * math.log(1.0 / a)))
