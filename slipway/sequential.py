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
"""The stakes of ``MeanComparison``, as parts of the largest that cannot ruin the bettor."""


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


def log_wealth(values: Array, counts: Array, means: Array, stakes: Array, *, above: bool) -> Array:
    """Log wealth of betting that values in [0, 1] have a mean above each of ``means``.

    Wealth is the product of 1 + stake (x - m), a supermartingale if the values' mean, given
    those before, is at most m. The stake is fixed, so the order of the values does not matter.
    Linear interpolation of the counts between neighbouring values only lowers it, since the
    logarithm is concave.

    Args:
        values, counts: distinct values, and how often (in fractions, if interpolated) each came.
        means: the means to be refuted, inside (0, 1).
        stakes: shape (stakes, means).
        above: bet on a higher mean; otherwise on a lower one.

    Returns:
        Shape (stakes, means).

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
    JRSS B, 2024, arXiv 2010.09686.
    """
    import numpy as np

    gain = (values[:, None] - means) * (1.0 if above else -1.0)
    return np.stack([counts @ np.log1p(row * gain) for row in stakes])


class MeanComparison:
    """Whether one bounded mean c is above or below a line in another, s: exact, for two samples.

    To refute "c <= slope*s + shift", multiply a bet that c is above slope*s + shift with a bet
    that s is below s, and take the worst s: whichever s is the true one, that product is a fair
    bet. The purse is spread over ``STAKES``. A third of it ties the second bet to the first by
    the arms' shares, which is best for an s near the truth; the others make one bet alone,
    which is best for an s far off. s is searched over cells of (0, 1), closest near the ends,
    where rates live; in each cell both bets are taken where they are weakest.

    Args:
        candidate, stable: distinct values and their counts.
        share: the candidate's share of the units of both; a wrong one costs power only.
    """

    def __init__(
        self,
        candidate: tuple[Array, Array],
        stable: tuple[Array, Array],
        share: float,
        cells: int = 600,
    ) -> None:
        import numpy as np

        points = np.sin(np.linspace(0.0, np.pi / 2, cells + 1)) ** 2
        self._low, self._high, self._grid = points[:-1], points[1:], points[1:-1]
        self._bets = {
            above: self._wealth(candidate, stable, share, above) for above in (True, False)
        }

    def _wealth(
        self,
        candidate: tuple[Array, Array],
        stable: tuple[Array, Array],
        share: float,
        above: bool,
    ) -> tuple[Array, Array]:
        """Log wealth per stake and grid point of the bets on c and on s; 0 beyond the grid."""
        import numpy as np

        m = self._grid
        stakes = np.outer(STAKES, 1.0 / (m if above else 1.0 - m))
        most = STAKES[0] / (1.0 - m if above else m)
        tied = np.minimum(stakes * share / (1.0 - share), most)
        c = log_wealth(*candidate, m, stakes, above=above)
        s = log_wealth(*stable, m, tied, above=not above)
        return self._pad(c, above), self._pad(s, not above)

    @staticmethod
    def _pad(wealth: Array, above: bool) -> Array:
        """No bet (log wealth 0) is made on a mean above 1 or below 0."""
        import numpy as np

        return np.pad(wealth, ((0, 0), (0, 1) if above else (1, 0)))

    def log_e(self, slope: float, shift: float, *, above: bool) -> float:
        """Log e-value of c being above (below) slope*s + shift, for a slope of at least 0."""
        import numpy as np

        # The line is hardest to beat at the end of the cell where it reaches furthest. Where it
        # leaves [0, 1] even there, no c could be on its wrong side.
        line = slope * (self._high if above else self._low) + shift
        possible = line >= 0.0 if above else line <= 1.0
        if not possible.any():
            return math.inf
        # A bet's wealth is rounded to the next point that claims less.
        at = np.searchsorted(self._grid, line[possible], side="left" if above else "right")
        mine, theirs = self._bets[above]
        c, s = mine[:, at], theirs[:, possible]
        logs = np.concatenate((c + s, c, s))
        top = logs.max(axis=0)
        return float((top + np.log(np.exp(logs - top).mean(axis=0))).min())

    def bound(self, alpha: float, *, upper: bool) -> float:
        """The upper (lower) end of c - s, which holds at all times with a chance of 1 - alpha."""
        need = math.log(1.0 / alpha)
        inside, outside = (-1.0, 1.0) if upper else (1.0, -1.0)
        for _ in range(14):  # to 1e-4 of the range
            middle = (inside + outside) / 2
            if self.log_e(1.0, middle, above=not upper) >= need:
                outside = middle
            else:
                inside = middle
        return outside


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
