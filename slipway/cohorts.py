"""Comparisons that stay valid while shares follow what was seen, as in a league.

Shares that change mix up what arms do with when they did it: an arm that got most of its units in
a bad hour looks bad. So units are cut into *cohorts* by the route table under which they were
first seen. Within a cohort the shares were fixed beforehand and chance alone assigned; every unit
is in one cohort, with all it did since. Bets on cohorts multiply, since no unit is counted twice
and each cohort's shares depend on earlier ones only; differences add up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from slipway.carried import Ratio, plain, ratio_beside_units
from slipway.evidence import Measured, Sums
from slipway.gates import EVEN, Border, Gate
from slipway.inference import (
    COUNTED,
    COUNTED_IF_HIGHER,
    Comparison,
    FirstValueTest,
    Pair,
    bound,
    cut,
    trusted_units,
    wealth,
)
from slipway.sequential import next_events, refuted_end

Cohort = tuple[Measured, Pair]
"""One metric of the units of a cohort, and the pair with its share in that cohort."""


LEAST_UNITS = 10
"""Units that each arm must have in a cohort before its difference counts: of fewer, its variance
is not known. A rule for shares must not end a cohort before it has as many (``standings``): else
which cohorts are left out would depend on their outcomes."""


class _Cohort:
    """The difference of two arms in one cohort, and its weight in the sum over cohorts.

    The weight is what the cohort's size alone makes of it: the harmonic sum of the arms' requests,
    which is n w (1 - w) of n at a share w. It must not follow what was seen: by the variance
    gathered, a cohort without events would drop out, and those with events would speak alone.
    """

    def __init__(self, seen: Measured, pair: Pair) -> None:
        sums = [seen.arms[arm] for arm in (pair.candidate, pair.baseline)]
        self._c, self._s = arms = [Ratio(s) for s in sums]
        self._centre = seen.centre
        self.weight = sums[0].n * sums[1].n / (sums[0].n + sums[1].n)
        self._spare = [s.units / (s.units - 1.0) for s in sums]
        self.units = sum(s.units for s in sums)
        self.spread = sum(s.first2 - s.first**2 / s.units for s in sums)
        scales = [self.weight / s.n for s in sums]
        self.dd = tuple(k**2 * arm.dd for k, arm in zip(scales, arms, strict=True))
        self.d4 = tuple(k**4 * arm.d4 for k, arm in zip(scales, arms, strict=True))

    def gap(self, border: Border) -> tuple[float, float]:
        """The candidate's excess over the border, and its variance; both weighted."""
        line = border.slope * (self._s.mean + self._centre) + border.shift
        variance = self._c.variance * self._spare[0]
        variance += border.slope**2 * self._s.variance * self._spare[1]
        return self.weight * (self._c.mean + self._centre - line), self.weight**2 * variance


class PooledTest:
    """The normal mixture on the difference of two arms, added up over cohorts.

    Its clock is the variance of the sum, in units of one request's variance.

    Args:
        cohorts: with at least ``LEAST_UNITS`` of each arm.
        part: its part of alpha.
        per_nat: as ``inference.trusted_units`` says.

    Source: as ``inference.NormalTest``.
    """

    def __init__(self, cohorts: Sequence[Cohort], part: float, per_nat: float) -> None:
        self._cohorts = [_Cohort(*cohort) for cohort in cohorts]
        self._part, self._per_nat = part, per_nat
        self._weight = math.fsum(c.weight for c in self._cohorts)
        spread = math.fsum(c.spread for c in self._cohorts)
        units = sum(c.units for c in self._cohorts)
        self.clock = self._sum(EVEN)[1] * units / spread if spread > 0.0 else 0.0

    def trusted(self, alpha: float) -> bool:
        """Whether both arms have units enough for this alpha, over all cohorts."""
        have, need = self.effective(alpha)
        return self.clock > 0.0 and have >= need

    def effective(self, alpha: float) -> tuple[float, float]:
        """The effective units of the arm that has fewer, and how many it needs."""
        need = self._per_nat * math.log(1.0 / (alpha * self._part))
        return min(self._effective_of(arm) for arm in (0, 1)), need

    def _effective_of(self, arm: int) -> float:
        dd = math.fsum(c.dd[arm] for c in self._cohorts)
        d4 = math.fsum(c.d4[arm] for c in self._cohorts)
        return 3.0 * dd**2 / d4 if d4 > 0.0 else 0.0

    def _sum(self, border: Border) -> tuple[float, float]:
        gaps = [c.gap(border) for c in self._cohorts]
        return math.fsum(g for g, _ in gaps), math.fsum(v for _, v in gaps)

    def log_e(self, border: Border, *, above: bool) -> float:
        """Log e-value of the candidate being above (below) the border, weighted."""
        gap, variance = self._sum(border)
        z = gap / math.sqrt(variance) * (1.0 if above else -1.0)
        return wealth(z * math.sqrt(self.clock), self.clock) + math.log(self._part)

    def interval(self, alpha: float) -> tuple[float, float]:
        """The confidence sequence of the difference, each end at alpha, weighted."""
        gap, variance = self._sum(EVEN)
        radius = bound(self.clock, alpha * self._part) * math.sqrt(variance / self.clock)
        return (gap - radius) / self._weight, (gap + radius) / self._weight


class FirstValues:
    """Exact: bets on the first measured value of each unit. Those of cohorts multiply.

    Args:
        cohorts: of a metric with bounds.
        part: of alpha.
    """

    def __init__(self, cohorts: Sequence[Cohort], part: float) -> None:
        self._tests = [FirstValueTest(seen, pair, 1.0) for seen, pair in cohorts]
        self._range, self._part = cohorts[0][0].range, part

    def log_e(self, border: Border, *, above: bool) -> float:
        """Log e-value of the candidate being above (below) the border, weighted."""
        told = [test.log_e(border, above=above) for test in self._tests]
        return math.fsum(told) + math.log(self._part)

    def interval(self, alpha: float) -> tuple[float, float]:
        """The confidence sequence of the difference, each end at alpha, weighted."""
        need = math.log(1.0 / alpha)

        def end(*, upper: bool) -> float:
            def refutes(gap: float) -> bool:
                return self.log_e(Border(1.0, gap), above=not upper) >= need

            return refuted_end(refutes, self._range, upper=upper)

        return end(upper=False), end(upper=True)


def compare_cohorts(
    cohorts: Sequence[Cohort],
    gate: Gate,
    alpha: float,
    next_share: float = 1.0,
    intervals: bool = True,
) -> Comparison:
    """Compare one metric of two arms over cohorts.

    Args:
        cohorts: at least one; with disjoint units, and data of both arms in each.
        gate: of type rate or mean.
        alpha: what this comparison may spend, at all looks together.
        next_share: what a budget is divided by.
        intervals: whether to work out the interval, which no decision needs.
    """
    worse, no_worse = gate.borders(next_share)
    lower, counts = gate.lower_is_better, gate.type == "rate" and gate.relative is not None
    bounded = not counts and all(seen.range < math.inf for seen, _ in cohorts)
    part = (COUNTED if lower else COUNTED_IF_HIGHER) if counts else 0.5 if bounded else 0.0
    normal = PooledTest([c for c in cohorts if _large(*c)], 1.0 - part, trusted_units(gate))
    trusted = normal.trusted(alpha)
    tests: list[PooledTest | FirstValues] = [normal] if trusted else []
    if bounded and not trusted:
        tests = [FirstValues(cohorts, part)]

    strata = tuple(_events(seen, pair) for seen, pair in cohorts) if counts else ()
    least, most = _beside_units(cohorts) if counts else (1.0, 1.0)

    def log_e(border: Border, *, above: bool) -> float:
        told = [test.log_e(border, above=above) for test in tests]
        if counts and border.shift == 0.0 and border.slope > 0.0:
            slope = border.slope / (least if above else most)
            told.append(next_events(strata, slope, above=above) + math.log(part))
        return max(told, default=0.0)

    def surely(border: Border, *, above: bool) -> bool:
        return log_e(border, above=above) >= math.log(1.0 / alpha)

    above, below = (surely(EVEN, above=side) for side in (True, False))
    interval = tests[0].interval(alpha) if tests and intervals else None
    figures = tuple(_figure(cohorts, baseline) for baseline in (True, False))
    return Comparison(
        figures=(figures[0], figures[1]),
        effect=figures[1] - figures[0],
        interval=cut(interval, 0.0, above=above, below=below),
        log_e=log_e(worse, above=lower),
        worse=surely(worse, above=lower),
        no_worse=surely(no_worse, above=not lower),
        better=below if lower else above,
        lacks=None if tests or counts else normal.effective(alpha),
    )


def _large(seen: Measured, pair: Pair) -> bool:
    return min(seen.arms[arm].units for arm in (pair.baseline, pair.candidate)) >= LEAST_UNITS


def _events(seen: Measured, pair: Pair) -> tuple[int, int, float]:
    return seen.arms[pair.baseline].events, seen.arms[pair.candidate].events, pair.share


def _beside_units(cohorts: Sequence[Cohort]) -> tuple[float, float]:
    """``carried.ratio_beside_units`` of all cohorts together."""
    arms = [Sums(), Sums()]
    for seen, pair in cohorts:
        for place, arm in enumerate((pair.baseline, pair.candidate)):
            arms[place] += replace(plain(seen.arms[arm], seen.centre), bins=())
    return ratio_beside_units(*arms)


def _figure(cohorts: Sequence[Cohort], baseline: bool) -> float:
    """An arm's figure: its cohorts', each weighted as its difference is."""
    total, weighted = 0.0, 0.0
    for seen, pair in cohorts:
        both = [seen.arms[arm] for arm in (pair.baseline, pair.candidate)]
        mine = both[0] if baseline else both[1]
        weight = both[0].n * both[1].n / (both[0].n + both[1].n)
        total += weight
        weighted += weight * (mine.y / mine.n + seen.centre)
    return weighted / total
