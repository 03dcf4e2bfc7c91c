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

from slipway.evidence import Measured
from slipway.gates import EVEN, Border, Gate
from slipway.inference import (
    COUNTED,
    COUNTED_IF_HIGHER,
    Comparison,
    NormalTest,
    Pair,
    bound,
    wealth,
)
from slipway.sequential import next_events

Cohort = tuple[Measured, Pair]
"""One metric of the units of a cohort, and the pair with its share in that cohort."""


class PooledTest:
    """The normal mixture on the difference of two arms, added up over cohorts.

    A cohort's weight is the variance it has gathered, so the sum is that of least variance where
    the units of all cohorts are alike.

    Source: as ``inference.NormalTest``.
    """

    def __init__(self, cohorts: Sequence[Cohort], part: float) -> None:
        self._tests = [NormalTest(seen, pair, 1.0) for seen, pair in cohorts]
        self._part = part
        self.clock = math.fsum(t.clock for t in self._tests)

    def trusted(self, alpha: float) -> bool:
        """Whether both arms have effective units enough, over all cohorts."""
        told = [t.effective(alpha * self._part) for t in self._tests]
        return self.clock > 0.0 and math.fsum(have for have, _ in told) >= told[0][1]

    def _gap(self, border: Border) -> tuple[float, float]:
        """The candidate's excess over the border, and its variance."""
        parts = [(t.clock / self.clock, *t.gap(border)) for t in self._tests if t.clock > 0.0]
        gap = math.fsum(w * g for w, g, _ in parts)
        return gap, math.fsum(w * w * v for w, _, v in parts)

    def log_e(self, border: Border, *, above: bool) -> float:
        """Log e-value of the candidate being above (below) the border, weighted."""
        gap, variance = self._gap(border)
        z = gap / math.sqrt(variance) * (1.0 if above else -1.0)
        return wealth(z * math.sqrt(self.clock), self.clock) + math.log(self._part)

    def interval(self, alpha: float) -> tuple[float, float]:
        """The confidence sequence of the difference, each end at alpha, weighted."""
        gap, variance = self._gap(EVEN)
        radius = bound(self.clock, alpha * self._part) * math.sqrt(variance / self.clock)
        return gap - radius, gap + radius


def compare_cohorts(
    cohorts: Sequence[Cohort], gate: Gate, alpha: float, next_share: float = 1.0
) -> Comparison | None:
    """Compare one metric of two arms over cohorts; None while nothing can be said.

    Args:
        cohorts: with disjoint units, and data of both arms in each.
        gate: of type rate or mean.
        alpha: what this comparison may spend, at all looks together. Of k arms that are each
            compared with a leader, give each alpha / k.
        next_share: what a budget is divided by.
    """
    worse, no_worse = gate.borders(next_share)
    lower, counts = gate.lower_is_better, gate.type == "rate" and gate.relative is not None
    part = (COUNTED if lower else COUNTED_IF_HIGHER) if counts else 0.0
    normal = PooledTest(cohorts, 1.0 - part) if cohorts else None
    trusted = normal is not None and normal.trusted(alpha)
    if normal is None or not (trusted or counts):
        return None

    def log_e(border: Border, *, above: bool) -> float:
        told = [normal.log_e(border, above=above)] if trusted else []
        if counts and border.shift == 0.0 and border.slope > 0.0:
            strata = tuple(_events(seen, pair) for seen, pair in cohorts)
            told.append(next_events(strata, border.slope, above=above) + math.log(part))
        return max(told, default=0.0)

    need = math.log(1.0 / alpha)
    figures = tuple(_figure(cohorts, baseline) for baseline in (True, False))
    return Comparison(
        figures=(figures[0], figures[1]),
        effect=figures[1] - figures[0],
        interval=normal.interval(alpha) if trusted else None,
        log_e=log_e(worse, above=lower),
        worse=log_e(worse, above=lower) >= need,
        no_worse=log_e(no_worse, above=not lower) >= need,
        better=log_e(EVEN, above=not lower) >= need,
    )


def _events(seen: Measured, pair: Pair) -> tuple[int, int, float]:
    return seen.arms[pair.baseline].events, seen.arms[pair.candidate].events, pair.share


def _figure(cohorts: Sequence[Cohort], baseline: bool) -> float:
    """An arm's figure: its cohorts', each weighted by the requests of both arms in it."""
    total, weighted = 0.0, 0.0
    for seen, pair in cohorts:
        both = [seen.arms[arm] for arm in (pair.baseline, pair.candidate)]
        mine = both[0] if baseline else both[1]
        weight = both[0].n + both[1].n
        total += weight
        weighted += weight * (mine.y / mine.n + seen.centre)
    return weighted / total
