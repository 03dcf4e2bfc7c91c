"""From sums to answers: how one metric of two arms compares, by every test that applies.

The tests of one question each get a part of its alpha (log e-value plus the log of their part),
and the strongest speaks. See docs/statistics.md for why these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from slipway.boundaries import bernoulli_interval, root
from slipway.carried import (
    Ratio,
    mean_beside_first,
    plain,
    ratio_beside_units,
    value_variance,
)
from slipway.evidence import Measured
from slipway.gates import EVEN, Border, Gate
from slipway.sequential import (
    MeanComparison,
    count_ratio,
    log_sum_exp,
    next_event,
    normal_bound,
    normal_log_mixture,
    refuted,
)

TRUSTED_UNITS, TRUSTED_IF_MEAN = 20.0, 40.0
"""Effective units of each arm, per nat of log(1/alpha), from which the normal approximation
speaks: the smaller alpha, the further into its tails it is believed. A mean needs more than a
rate: where few units make up much of it, an arm that has not met one yet seems to have a small
mean and a small variance (``benchmarks/verdict_means.py``)."""

TUNED = ((10.0, 0.4), (100.0, 0.25), (1_000.0, 0.2), (10_000.0, 0.15))
"""The normal mixtures that the purse is spread over: each a rho in units, tightest near ten times
as many, and its part. So a hundred units are judged nearly as well as a hundred thousand."""

COUNTED, COUNTED_IF_HIGHER = 0.9, 0.5
"""The part of a rate's alpha that goes to the test of counts, where that applies. Errors are rare,
and counts say most of them; successes, for which higher is better, seldom are."""

WIDE = 0.1
"""The part of a metric's range beyond which an interval by counts is wide."""

SHOWN = 0.1
"""Of what the test of counts leaves of alpha, the part of stable's own rate, and that of the first
values: they make an interval, and decide nothing. The rest is the normal test's."""

RARE = 0.1
"""The part of units with an event up to which a ratio of such units is that of the rates."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The two arms that are compared, and the chance of a unit of either to be the candidate's."""

    baseline: str
    candidate: str
    share: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the candidate compares.

    Args:
        figures: (stable's, candidate's) figure.
        effect: the candidate's less stable's.
        interval: its confidence sequence, or None where it has an open end.
        log_e: evidence that the candidate is beyond the border of worse.
        worse, no_worse, better: whether it is surely beyond that border, surely within the border
            of no worse, surely better.
        lacks: where no test may be trusted yet: the effective units of the arm that has fewer, and
            how many it needs.
        resolution: how far the effect may be off because values were counted in bins; the interval
            includes it.
        ratio: the confidence sequence of the candidate's rate over the other's, by units with an
            event, where those are rare and counts compare them.
    """

    figures: tuple[float, float]
    effect: float
    interval: tuple[float, float] | None
    log_e: float
    worse: bool
    no_worse: bool
    better: bool
    lacks: tuple[float, float] | None = None
    resolution: float = 0.0
    ratio: tuple[float, float] | None = None


class Test(Protocol):
    """One way to answer."""

    def log_e(self, border: Border, *, above: bool) -> float:
        """Log e-value of the candidate being above (below) the border, weighted."""
        ...

    def decides(self, border: Border, alpha: float, *, above: bool) -> bool:
        """Whether the candidate is surely above (below) the border: at alpha, weighted."""
        ...

    def interval(self, alpha: float) -> tuple[float, float]:
        """The confidence sequence of the difference, each end at alpha, weighted."""
        ...


class _ByWealth:
    """A test that decides where its wealth reaches 1/alpha."""

    def log_e(self, border: Border, *, above: bool) -> float:
        """See ``Test``."""
        raise NotImplementedError

    def decides(self, border: Border, alpha: float, *, above: bool) -> bool:
        """See ``Test``."""
        return self.log_e(border, above=above) >= math.log(1.0 / alpha)


class CountTest:
    """Exact: which arm the next unit with an event is in. Answers of ratios only.

    What that says of rates is less where units have many events (``slipway.carried``).
    """

    def __init__(self, seen: Measured, pair: Pair, part: float) -> None:
        self._stable, self._candidate = seen.arms[pair.baseline], seen.arms[pair.candidate]
        arms = (plain(s, seen.centre) for s in (self._stable, self._candidate))
        self._beside = ratio_beside_units(*arms)
        self._rate = self._stable.y / self._stable.n + seen.centre
        self._share, self.part = pair.share, part
        self._counts = (self._stable.events, self._candidate.events)

    def log_e(self, border: Border, *, above: bool) -> float:
        """See ``Test``."""
        if border.shift != 0.0 or border.slope <= 0.0:
            return -math.inf
        slope = self._of_units(border, above)
        return next_event(*self._counts, self._share, slope, above=above) + math.log(self.part)

    def decides(self, border: Border, alpha: float, *, above: bool) -> bool:
        """See ``Test``."""
        if border.shift != 0.0 or border.slope <= 0.0:
            return False
        slope = self._of_units(border, above)
        return refuted(*self._counts, self._share, slope, alpha * self.part, above=above)

    def _of_units(self, border: Border, above: bool) -> float:
        """The ratio of units with an event beyond which that of the rates is beyond the border."""
        least, most = self._beside
        return border.slope / (least if above else most)

    @property
    def rare(self) -> bool:
        """Whether units with events are so rare that their ratio is that of the rates, and yet
        stable has some, so that there is a rate to multiply."""
        arms = (self._stable, self._candidate)
        return self._stable.events > 0 and all(s.events <= RARE * s.units for s in arms)

    def interval(self, alpha: float) -> tuple[float, float]:
        """The difference: stable's rate times (the ratio less 1), with both at their ends."""
        s = self._stable
        spare = alpha * _spare(self)
        low, high = bernoulli_interval(s.events, s.units, spare, s.units)
        scale = self._rate / (s.events / s.units)  # from units with an event to events of requests
        ends = []
        for ratio, upper in zip(self.ratio(alpha), (False, True), strict=True):
            most = high if (ratio > 1.0) == upper else low
            ends.append(most * scale * (ratio - 1.0))
        return ends[0], ends[1]

    def ratio(self, alpha: float) -> tuple[float, float]:
        """The confidence sequence of the ratio of the rates, each end at alpha, weighted."""
        told, (least, most) = (*self._counts, self._share, alpha * self.part), self._beside
        return least * count_ratio(*told, upper=False), most * count_ratio(*told, upper=True)


class FirstValueTest(_ByWealth):
    """Exact: bets on the first measured value of each unit, for metrics with bounds.

    What that says of means is less where later values differ (``slipway.carried``).
    """

    def __init__(self, seen: Measured, pair: Pair, part: float) -> None:
        import numpy as np

        assert seen.low is not None
        assert seen.high is not None
        self._low, self._range, self._part = seen.low, seen.high - seen.low, part
        stable, candidate = (np.asarray(seen.arms[a].bins) for a in (pair.baseline, pair.candidate))
        self._bets = MeanComparison(candidate, stable, pair.share)
        arms = (seen.arms[pair.baseline], seen.arms[pair.candidate])
        self._beside = [mean_beside_first(sums) for sums in arms]

    def _parts_by(self, slope: float) -> tuple[float, float]:
        """The least and the most that means are beyond a line of that slope, if first values are
        on it; around 0."""
        stable, candidate = self._beside
        gap = candidate - slope * stable
        return min(gap, 0.0), max(gap, 0.0)

    def log_e(self, border: Border, *, above: bool) -> float:
        """See ``Test``."""
        least, most = self._parts_by(border.slope)
        line = border.shift - (least if above else most)
        shift = (border.slope * self._low + line - self._low) / self._range
        return self._bets.log_e(border.slope, shift, above=above) + math.log(self._part)

    def interval(self, alpha: float) -> tuple[float, float]:
        """See ``Test``."""
        low, high = (self._bets.bound(alpha * self._part, upper=u) for u in (False, True))
        least, most = self._parts_by(1.0)
        return low * self._range + least, high * self._range + most


def wealth(s: float, v: float) -> float:
    """Log wealth of the mixtures of ``TUNED`` together, one-sided."""
    logs = [math.log(p) + normal_log_mixture(s, v, rho, one_sided=True) for rho, p in TUNED]
    return log_sum_exp(logs)


def bound(v: float, alpha: float) -> float:
    """The sum at which ``wealth`` reaches 1/alpha."""
    # Any one of them would need its part of alpha alone; together they need no more.
    most = min(normal_bound(v, alpha * part, rho, one_sided=True) for rho, part in TUNED)
    return root(lambda s: wealth(s, v) - math.log(1.0 / alpha), 0.0, most)


class NormalTest(_ByWealth):
    """Asymptotic: the normal mixture on the difference of two ratios of totals.

    Its clock is the variance gathered so far, in units of one request's variance. While a unit
    goes on sending, what it adds resembles what it added before, which only makes one look more
    like the next (Slepian's inequality; docs/statistics.md).

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory
    and asymptotic confidence sequences", Annals of Statistics, 2024, arXiv 2103.06476.
    """

    def __init__(
        self, seen: Measured, pair: Pair, part: float, per_nat: float = TRUSTED_UNITS
    ) -> None:
        stable, candidate = seen.arms[pair.baseline], seen.arms[pair.candidate]
        self._c, self._s, self._part, self._per_nat = Ratio(candidate), Ratio(stable), part, per_nat
        self._centre = seen.centre
        unit_variance = value_variance(stable, candidate)
        dd = self._c.dd + self._s.dd
        gathered = self._c.dd * self._s.dd / dd if dd > 0.0 else 0.0
        self.clock = gathered / unit_variance if unit_variance > 0.0 else 0.0

    def trusted(self, alpha: float) -> bool:
        """Whether both arms have units enough for this alpha."""
        have, need = self.effective(alpha)
        return self.clock > 0.0 and have >= need

    def effective(self, alpha: float) -> tuple[float, float]:
        """The effective units of the arm that has fewer, and how many it needs."""
        need = self._per_nat * math.log(1.0 / (alpha * self._part))
        return min(self._c.effective, self._s.effective), need

    def log_e(self, border: Border, *, above: bool) -> float:
        """See ``Test``."""
        gap, variance = self.gap(border)
        z = gap / math.sqrt(variance) * (1.0 if above else -1.0)
        return wealth(z * math.sqrt(self.clock), self.clock) + math.log(self._part)

    def gap(self, border: Border) -> tuple[float, float]:
        """The candidate's excess over the border, and its variance."""
        c, s = self._c, self._s
        stable = border.slope * (s.mean + self._centre) + border.shift
        return c.mean + self._centre - stable, c.variance + border.slope**2 * s.variance

    def interval(self, alpha: float) -> tuple[float, float]:
        """See ``Test``."""
        radius = self.radius(alpha) * math.sqrt(self._c.variance + self._s.variance)
        effect = self._c.mean - self._s.mean
        return effect - radius, effect + radius

    def radius(self, alpha: float) -> float:
        """Standard errors from the middle to either end of the interval."""
        v = self.clock
        return bound(v, alpha * self._part) / math.sqrt(v)


def trusted_units(gate: Gate) -> float:
    """Effective units per nat of log(1/alpha) from which a gate's normal approximation speaks."""
    return TRUSTED_IF_MEAN if gate.type == "mean" else TRUSTED_UNITS


def compare(
    seen: Measured,
    gate: Gate,
    pair: Pair,
    alpha: float,
    next_share: float,
    intervals: bool = True,
) -> Comparison:
    """Compare one metric of two arms by every test that applies.

    Args:
        seen: with data of both arms.
        alpha: the gate's part.
        next_share: what a budget is divided by.
        intervals: whether to work out the interval, which no decision needs.
    """
    tests = _tests(seen, gate, pair, alpha)
    worse, no_worse = gate.borders(next_share)
    lower = gate.lower_is_better
    s, c = (seen.arms[arm] for arm in (pair.baseline, pair.candidate))
    figures = (s.y / s.n + seen.centre, c.y / c.n + seen.centre)
    interval = ratio = None
    if intervals:
        above, below = (decided(tests, EVEN, alpha, above=side) for side in (True, False))
        interval = cut(_interval(seen, tests, pair, alpha), 0.0, above=above, below=below)
        ratio = cut(_ratio(tests, alpha), 1.0, above=above, below=below)
    return Comparison(
        figures=figures,
        effect=figures[1] - figures[0],
        interval=interval,
        log_e=strongest(tests, worse, above=lower),
        worse=decided(tests, worse, alpha, above=lower),
        no_worse=decided(tests, no_worse, alpha, above=not lower),
        better=decided(tests, EVEN, alpha, above=not lower),
        lacks=None if tests else NormalTest(seen, pair, 1.0, trusted_units(gate)).effective(alpha),
        ratio=ratio,
    )


def _tests(seen: Measured, gate: Gate, pair: Pair, alpha: float) -> list[Test]:
    """The tests that apply to a rate or mean, with their parts of alpha.

    Where counts cannot answer, the exact test of first values speaks until the normal one, which
    uses every value, may be trusted; each has its part from the start, so the change is paid for.
    """
    bounded = seen.range < math.inf
    if gate.type == "rate" and gate.relative is not None:
        counted = COUNTED if gate.lower_is_better else COUNTED_IF_HIGHER
        count = CountTest(seen, pair, counted)
        normal = NormalTest(seen, pair, 1.0 - counted - 2.0 * _spare(count))
        return [count, normal] if normal.trusted(alpha) else [count]
    normal = NormalTest(seen, pair, 0.5 if bounded else 1.0, trusted_units(gate))
    if normal.trusted(alpha):
        return [normal]
    return [FirstValueTest(seen, pair, 0.5)] if bounded else []


def _spare(count: CountTest) -> float:
    return SHOWN * (1.0 - count.part)


def _interval(
    seen: Measured, tests: Sequence[Test], pair: Pair, alpha: float
) -> tuple[float, float] | None:
    """The confidence sequence of the difference, by the test that tells most of it.

    A rate that is compared by counts has its interval from them where it can, else from the tests
    of values. Which of them it is depends on what was seen, so all their parts together, and those
    of the decisions, are no more than alpha for each end.
    """
    if not (tests and isinstance(count := tests[0], CountTest)):
        return tests[-1].interval(alpha) if tests else None
    if count.rare and math.isfinite((ends := count.interval(alpha))[1]):
        return _narrowed(seen, count, ends, pair, alpha)
    if len(tests) > 1:
        return tests[1].interval(alpha)
    bounded = seen.range < math.inf
    return FirstValueTest(seen, pair, _spare(count)).interval(alpha) if bounded else None


def _narrowed(
    seen: Measured, count: CountTest, ends: tuple[float, float], pair: Pair, alpha: float
) -> tuple[float, float]:
    """A wide interval by counts, without what first values refute: of few events they tell more."""
    if seen.range == math.inf or ends[1] - ends[0] <= WIDE * seen.range:
        return ends
    others = FirstValueTest(seen, pair, _spare(count)).interval(alpha)
    return max(ends[0], others[0], -seen.range), min(ends[1], others[1], seen.range)


def _ratio(tests: Sequence[Test], alpha: float) -> tuple[float, float] | None:
    if not (tests and isinstance(tests[0], CountTest) and tests[0].rare):
        return None
    return closed(*tests[0].ratio(alpha))


def cut(
    ends: tuple[float, float] | None, even: float, *, above: bool, below: bool
) -> tuple[float, float] | None:
    """An interval without what a test has refuted: all below even, or all above it.

    This costs no alpha: the tests have theirs already, and what refutes even refutes all beyond.
    """
    if ends is None:
        return None
    low, high = ends
    if above:
        low, high = max(low, even), max(high, even)
    if below:
        low, high = min(low, even), min(high, even)
    return low, high


def strongest(tests: Sequence[Test], border: Border, *, above: bool) -> float:
    """The largest log e-value that a test has; 0 where there is none."""
    return max((t.log_e(border, above=above) for t in tests), default=0.0)


def decided(tests: Sequence[Test], border: Border, alpha: float, *, above: bool) -> bool:
    """Whether a test decides: each has its part of alpha."""
    return any(t.decides(border, alpha, above=above) for t in tests)


def closed(low: float, high: float) -> tuple[float, float] | None:
    """An interval, if it has no open end."""
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None
