"""How one quantile of two arms compares."""

from __future__ import annotations

import math
from collections.abc import Sequence

from slipway.carried import SURE, Ratio
from slipway.evidence import Measured, Tails, bin_edges
from slipway.gates import EVEN, Border, Gate
from slipway.inference import (
    TRUSTED_UNITS,
    Comparison,
    CountTest,
    NormalTest,
    Pair,
    Test,
    bound,
    closed,
    decided,
    strongest,
)

COUNTED_TAILS, NORMAL_TAILS, SEQUENCE = 0.5, 0.3, 0.2
"""The parts of alpha that decide a quantile: counts of what is beyond a threshold, the normal test
of the same, and the confidence sequences of the quantiles themselves."""


def compare_quantiles(
    seen: Tails, gate: Gate, pair: Pair, alpha: float, next_share: float, intervals: bool
) -> Comparison:
    """A quantile is beyond a border where more values are, or where its confidence sequence is.

    The first is a question of rates, three of them. It is asked at a threshold that is near the
    quantile and not it, so arms whose values only lie otherwise around there would be told apart:
    the quantiles themselves must agree. The second takes more values, and is for them alone.
    """
    lower = gate.lower_is_better
    level, worse, no_worse = (
        _tail_tests(m, pair, alpha) for m in (seen.level, seen.worse, seen.no_worse)
    )
    arms = (pair.baseline, pair.candidate)
    bins = [_quantile(seen, arm, 0.0) for arm in arms]
    figures = [(low + high) / 2 for low, high in bins]
    part = alpha * SEQUENCE
    s, c = (_quantile(seen, arm, _quantile_radius(seen, arm, part)) for arm in arms)
    near_s, near_c = (_quantile(seen, arm, SURE * _level_error(seen, arm)) for arm in arms)
    many = all(_tail_units(seen, arm) >= TRUSTED_UNITS * math.log(2.0 / part) for arm in arms)

    def decides(tests: Sequence[Test], border: Border, *, above: bool) -> bool:
        if many and _beyond(s, c, border, above):
            return True
        return _beyond(near_s, near_c, border, above) and decided(tests, EVEN, alpha, above=above)

    interval = None
    if intervals:  # told at all of alpha: it is not what decides
        ends = [_quantile(seen, arm, _quantile_radius(seen, arm, alpha)) for arm in arms]
        interval = closed(ends[1][0] - ends[0][1], ends[1][1] - ends[0][0])
    of_worse, of_no_worse = gate.borders(next_share)
    return Comparison(
        figures=(figures[0], figures[1]),
        effect=figures[1] - figures[0],
        interval=interval,
        log_e=strongest(worse, EVEN, above=lower),
        worse=decides(worse, of_worse, above=lower),
        no_worse=decides(no_worse, of_no_worse, above=not lower),
        better=decides(level, EVEN, above=not lower),
        resolution=sum(high - low for low, high in bins) / 2,
    )


def _beyond(
    stable: tuple[float, float], candidate: tuple[float, float], border: Border, above: bool
) -> bool:
    """Whether all of the candidate's interval is beyond a border, wherever in its own stable is."""
    if above:
        return candidate[0] >= border.slope * stable[1] + border.shift
    return candidate[1] <= border.slope * stable[0] + border.shift


def _tail_tests(seen: Measured, pair: Pair, alpha: float) -> list[Test]:
    count, normal = CountTest(seen, pair, COUNTED_TAILS), NormalTest(seen, pair, NORMAL_TAILS)
    return [count, normal] if normal.trusted(alpha) else [count]


def _quantile_radius(seen: Tails, arm: str, alpha: float) -> float:
    """How far, in levels, an arm's quantile may be from q, at half of alpha for each arm."""
    v = float(seen.level.arms[arm].units)
    return _level_error(seen, arm) * bound(v, alpha / 2) / math.sqrt(v)


def _level_error(seen: Tails, arm: str) -> float:
    """The standard error of the level at which an arm's quantile lies."""
    n, q = seen.level.arms[arm].n, seen.q
    return math.sqrt(q * (1.0 - q) * _design_effect(seen, arm) / n)


def _design_effect(seen: Tails, arm: str) -> float:
    """What counting units instead of requests costs: at the threshold, and so at the level q."""
    sums = seen.level.arms[arm]
    ratio = Ratio(sums)
    p = ratio.mean + seen.level.centre
    binomial = p * (1.0 - p) / sums.n
    return max(ratio.variance / binomial, 1.0) if binomial > 0.0 else 1.0


def _tail_units(seen: Tails, arm: str) -> float:
    """How many independent values of an arm lie on the rarer side of its quantile."""
    return seen.level.arms[arm].n * min(seen.q, 1.0 - seen.q) / _design_effect(seen, arm)


def _quantile(seen: Tails, arm: str, radius: float) -> tuple[float, float]:
    """Between which values an arm's quantiles q - radius and q + radius lie; open ends are inf."""
    histogram = sorted(seen.histograms[arm].items())
    total = sum(count for _, count in histogram)
    low, high, below = -math.inf, math.inf, 0
    for key, count in histogram:
        if below <= (seen.q - radius) * total < below + count:
            low, _ = bin_edges(key)
        if below < (seen.q + radius) * total <= below + count:
            _, high = bin_edges(key)
        below += count
    return low, high
