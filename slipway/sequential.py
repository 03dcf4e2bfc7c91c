"""Anytime-valid inference: pure functions of numbers, valid at every look.

Every test here is an *e-process*: a bet against a null hypothesis whose wealth has expectation at
most 1 at every stopping time if the null is true, so that by Ville's inequality (1939) it ever
reaches 1/alpha with a chance of at most alpha, however often one looks. Intervals are the values
that no such bet has refuted.

Logarithms of wealth are natural. Means lie in [0, 1]; the caller scales.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]

RATIOS = tuple(1.1 * 1.2**j for j in range(22))
"""The alternatives that ``next_event`` bets on: the rate is 1.1 to 50 times the null's."""


def _weights(centre: float) -> tuple[float, ...]:
    """Bets that sum to 1: most near the centre, and a little on every ratio."""
    raw = [1.0 / (1.0 + (math.log(r / centre) / 0.6) ** 2) for r in RATIOS]
    return tuple(w / sum(raw) for w in raw)


RISE, FALL = _weights(7.0), _weights(2.0)
"""What it bets on each. A fault worth a launch's return is seldom a small one: the bet on a rise
is mostly on about seven times. What shows that a candidate is *no* worse is seldom far below its
border: the bet on a fall is mostly on about half. A little on all finds the others in the end."""

STAKES = tuple(0.95 * 0.6**j for j in range(16))
"""The stakes of ``MeanComparison``, as parts of the largest that cannot ruin the bettor."""


def log_sum_exp(terms: Sequence[float]) -> float:
    """log of the sum of exp, without overflow."""
    top = max(terms)
    return top + math.log(sum(math.exp(t - top) for t in terms))


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
    return next_events(((baseline, candidate, share),), ratio, above=above)


def next_events(strata: Sequence[tuple[int, int, float]], ratio: float, *, above: bool) -> float:
    """``next_event`` over several spans of time with shares of their own.

    Each unit counts in one of them. A share may depend on all that was seen before its span.

    Args:
        strata: (baseline, candidate, share) of each, as in ``next_event``.
    """
    weights = RISE if above else FALL
    logs = [math.log(weight) for weight in weights]
    for baseline, candidate, share in strata:
        odds = share * ratio / (1.0 - share)
        for i, step in enumerate(RATIOS):
            moved = odds * step if above else odds / step
            missed = math.log1p(odds) - math.log1p(moved)
            logs[i] += candidate * (math.log(moved / odds) + missed) + baseline * missed
    return log_sum_exp(logs)


@functools.lru_cache(maxsize=4096)
def count_ratio(baseline: int, candidate: int, share: float, alpha: float, *, upper: bool) -> float:
    """The upper (lower) end of the ratio of two event rates: what is not ``refuted``.

    It holds at all times with a chance of 1 - alpha; 0 or infinity where nothing is known yet.
    """

    def end(inside: float, outside: float, steps: int, seen: Callable[[float], bool]) -> float:
        for _ in range(steps):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if seen(middle) else (middle, outside)
        return outside

    def wealth(place: float) -> float:
        return next_event(baseline, candidate, share, math.exp(place), above=not upper)

    need, far = math.log(1.0 / alpha), 30.0 if upper else -30.0  # in powers of e: beyond interest
    plain = end(-far, far, 40, lambda x: wealth(x) >= need)
    if plain == far:
        return math.inf if upper else 0.0
    if baseline + candidate > EXACT_EVENTS:
        return math.exp(plain)
    nearest = end(-far, far, 40, lambda x: wealth(x) >= need - SPARE)
    ask = functools.partial(refuted, baseline, candidate, share, alpha=alpha, above=not upper)
    return math.exp(end(nearest, plain, 6, lambda x: ask(math.exp(x))))


EXACT_EVENTS = 300
"""Up to how many events the chance of a wrong decision is counted out."""

SPARE = 0.7
"""How far below log(1/alpha) a wealth may decide at most: no odds were found to spare more."""


def refuted(
    baseline: int, candidate: int, share: float, ratio: float, alpha: float, *, above: bool
) -> bool:
    """Whether ``next_event`` refutes its null at alpha, at this look or any other.

    Each event moves the wealth in a jump, so that where it reaches 1/alpha it is mostly well
    beyond, and the chance of a wrong decision is well below alpha. For the first
    ``EXACT_EVENTS`` that chance is counted out (``crossing``), and what it leaves of alpha is
    used: about a sixth fewer requests. A lower (higher) true rate makes it lower still, draw by
    draw, so it holds for the whole null.

    Args:
        baseline, candidate, share, ratio, above: as in ``next_event``.
        alpha: the chance of a wrong decision, at all looks together.
    """
    lacks = math.log(1.0 / alpha) - next_event(baseline, candidate, share, ratio, above=above)
    if lacks <= 0.0 or lacks > SPARE or baseline + candidate > EXACT_EVENTS:
        return lacks <= 0.0
    odds = share * ratio / (1.0 - share)
    bar = math.log(1.0 / alpha) - lacks
    return crossing(odds if above else 1.0 / odds, bar, above=above) <= alpha


@functools.lru_cache(maxsize=1024)
def crossing(odds: float, bar: float, *, above: bool) -> float:
    """The chance that the wealth of ``next_event`` ever reaches a bar if the null is just true.

    Exact for the first events; beyond them, by Ville's inequality from where they left it.

    Args:
        odds: of the next event to be in the arm that is bet on.
        bar: in logarithms.
        above: whose bets: on a rise, or (with the odds of the other arm) on a fall.
    """
    import numpy as np

    null = odds / (1.0 + odds)
    ratios, weights = odds * np.array(RATIOS), np.array(RISE if above else FALL)
    moved = (ratios / (1.0 + ratios))[:, None]
    up, down = np.log(moved / null), np.log((1.0 - moved) / (1.0 - null))

    def wealth(total: Any, mine: Any) -> Array:
        logs = np.log(weights)[:, None] + up * mine + down * (total - mine)
        return np.asarray(np.logaddexp.reduce(logs, axis=0))

    total = np.arange(EXACT_EVENTS + 1)
    under, least = np.full(EXACT_EVENTS + 1, -1), total + 1
    while (least - under > 1).any():  # the least of the arm's events that reach the bar
        middle = (under + least) // 2
        reached = wealth(total, middle) >= bar
        under, least = np.where(reached, under, middle), np.where(reached, middle, least)
    chance, ended = np.zeros(EXACT_EVENTS + 2), 0.0
    chance[0] = 1.0
    for before, now in itertools.pairwise(least):
        chance[1 : before + 1] = chance[1 : before + 1] * (1.0 - null) + chance[:before] * null
        chance[0] *= 1.0 - null
        ended += float(chance[now : before + 1].sum())
        chance[now:] = 0.0
    left = np.exp(wealth(EXACT_EVENTS, np.arange(least[-1])))
    return ended + float(chance[: least[-1]] @ left) * math.exp(-bar)


def mismatch(counts: Sequence[int], shares: Sequence[float], prior: float = 100.0) -> float:
    """Log e-value of: units do not fall to the arms in these shares.

    The Bayes factor of a Dirichlet(prior * shares) mixture against the shares themselves.

    Args:
        counts, shares: per arm; the shares are positive and sum to 1.
        prior: how close to the shares the alternatives are expected to be.

    Source: as ``next_event``.
    """
    total = prior + sum(counts)
    log_e = math.lgamma(prior) - math.lgamma(total)
    for count, share in zip(counts, shares, strict=True):
        a = prior * share
        log_e += math.lgamma(a + count) - math.lgamma(a) - count * math.log(share)
    return log_e


def log_gains(values: Array, means: Array, stakes: Array, *, above: bool) -> Array:
    """What one value does to the logarithm of a bet's wealth.

    The bet is that values in [0, 1] have a mean above m: a value x turns the wealth W into
    W (1 + stake (x - m)), which is a supermartingale if the values' mean, given those before,
    is at most m. The stake is fixed, so the order of the values does not matter. Linear
    interpolation between neighbouring values only lowers wealth: the logarithm is concave.

    Args:
        values: in [0, 1].
        means: the means to be refuted, inside (0, 1).
        stakes: shape (stakes, means).
        above: bet on a higher mean; otherwise on a lower one.

    Returns:
        Shape (stakes, means, values).

    Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting",
    JRSS B, 2024, arXiv 2010.09686.
    """
    import numpy as np

    gain = (values - means[:, None]) * (1.0 if above else -1.0)
    return np.asarray(np.log1p(stakes[:, :, None] * gain))


class MeanBets:
    """The table of bets that ``MeanComparison`` makes; built once for a share.

    s lies in one of ``cells`` of (0, 1), closest near the ends, where rates live.

    Args:
        points: how many equal steps of [0, 1] values are counted in.
        share: the candidate's share of the units of both arms.
    """

    def __init__(self, points: int, share: float, cells: int = 500) -> None:
        import numpy as np

        edges = np.sin(np.linspace(0.0, np.pi / 2, cells + 1)) ** 2
        self.low, self.high, self.grid = edges[:-1], edges[1:], edges[1:-1]
        values = np.linspace(0.0, 1.0, points + 1)
        self._gains = {above: self._both(values, share, above=above) for above in (True, False)}

    def _both(self, values: Array, share: float, *, above: bool) -> tuple[Array, Array]:
        """Gains of the bet on c, and of the bet against it on s, tied to it by the share."""
        import numpy as np

        m = self.grid
        stakes = np.outer(STAKES, 1.0 / (m if above else 1.0 - m))
        most = STAKES[0] / (1.0 - m if above else m)
        tied = np.minimum(stakes * share / (1.0 - share), most)
        return (
            log_gains(values, m, stakes, above=above),
            log_gains(values, m, tied, above=not above),
        )

    def wealth(self, candidate: Array, stable: Array, *, above: bool) -> tuple[Array, Array]:
        """Log wealth per stake and grid point of both bets, after these counts per value."""
        used, kept = candidate.nonzero()[0], stable.nonzero()[0]
        c, s = self._gains[above]
        return (
            _pad(c[:, :, used] @ candidate[used], above=above),
            _pad(s[:, :, kept] @ stable[kept], above=not above),
        )


def _pad(wealth: Array, *, above: bool) -> Array:
    """No bet, so log wealth 0, is made on a mean above 1 or below 0."""
    import numpy as np

    return np.pad(wealth, ((0, 0), (0, 1) if above else (1, 0)))


def _bets(points: int, share: float) -> MeanBets:
    """The table for a share: the nearest of a few, so that it is built seldom."""
    return _table(points, round(math.log2(share / (1.0 - share))))


@functools.lru_cache(maxsize=8)
def _table(points: int, log_odds: int) -> MeanBets:
    return MeanBets(points, 1.0 / (1.0 + 2.0**-log_odds))


def refuted_end(refutes: Callable[[float], bool], reach: float, *, upper: bool) -> float:
    """The upper (lower) end of an interval: the nearest difference that is refuted on that side.

    Args:
        refutes: whether a difference is refuted; then so are all beyond it.
        reach: no difference is larger. The end is found to 1e-4 of it.
    """
    inside, outside = (-reach, reach) if upper else (reach, -reach)
    for _ in range(14):
        middle = (inside + outside) / 2
        inside, outside = (inside, middle) if refutes(middle) else (middle, outside)
    return outside


class MeanComparison:
    """Whether one bounded mean c is above or below a line in another, s: exact, for two samples.

    To refute "c <= slope*s + shift", multiply a bet that c is above slope*s + shift with a bet
    that s is below s, and take the worst s: whichever s is the true one, that product is a fair
    bet. The purse is spread over ``STAKES``. A third of it ties the second bet to the first by
    the arms' shares, which is best for an s near the truth; the others make one bet alone,
    which is best for an s far off. In each cell of s both bets are taken where they are weakest.

    Args:
        candidate, stable: counts of the values 0, 1/points, ..., 1 (in fractions, where a value
            between two of them was shared out).
        share: the candidate's share of the units of both; a wrong one costs power only.
    """

    def __init__(self, candidate: Array, stable: Array, share: float) -> None:
        self._table = _bets(len(candidate) - 1, share)
        self._wealth = {
            above: self._table.wealth(candidate, stable, above=above) for above in (True, False)
        }

    def log_e(self, slope: float, shift: float, *, above: bool) -> float:
        """Log e-value of c being above (below) slope*s + shift, for a slope of at least 0."""
        import numpy as np

        # The line is hardest to beat at the end of the cell where it reaches furthest. Where it
        # leaves [0, 1] even there, no c could be on its wrong side.
        line = slope * (self._table.high if above else self._table.low) + shift
        possible = line >= 0.0 if above else line <= 1.0
        if not possible.any():
            return math.inf
        # A bet's wealth is rounded to the next point that claims less.
        side: Literal["left", "right"] = "left" if above else "right"
        at = np.searchsorted(self._table.grid, line[possible], side=side)
        mine, theirs = self._wealth[above]
        c, s = mine[:, at], theirs[:, possible]
        logs = np.concatenate((c + s, c, s))
        top = logs.max(axis=0)
        return float((top + np.log(np.exp(logs - top).mean(axis=0))).min())

    def bound(self, alpha: float, *, upper: bool) -> float:
        """The upper (lower) end of c - s, which holds at all times with a chance of 1 - alpha."""
        need = math.log(1.0 / alpha)
        return refuted_end(lambda x: self.log_e(1.0, x, above=not upper) >= need, 1.0, upper=upper)


def normal_log_mixture(s: float, v: float, rho: float, *, one_sided: bool) -> float:
    """Log wealth of the normal mixture at a centred sum s of intrinsic variance v.

    Args:
        rho: the precision of the mixing distribution; the bound is tightest near v = 10 rho.

    Source: Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic
    confidence sequences", Annals of Statistics, 2021, arXiv 1810.08240, propositions 5 and 6.
    """
    start, x = 0.5 * math.log(rho / (v + rho)), s / math.sqrt(v + rho)
    if not one_sided:
        return start + 0.5 * x * x
    if x > -30.0:
        return start + 0.5 * x * x + math.log(2.0) + log_normal_cdf(x)
    return start + math.log(2.0) - _log_decay(x)  # in which the squares cancel, to the last digit


def log_normal_cdf(x: float) -> float:
    """log of the standard normal distribution function, also far in the lower tail."""
    if x > -30.0:
        return math.log(0.5 * math.erfc(-x / math.sqrt(2.0)))
    return -0.5 * x * x - _log_decay(x)


def _log_decay(x: float) -> float:
    """How far log_normal_cdf lies below -x^2/2, far in the lower tail."""
    return math.log(-x) + 0.5 * math.log(2.0 * math.pi)


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
