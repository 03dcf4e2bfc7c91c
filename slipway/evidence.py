"""Evidence: what was seen of each arm, as sums over units that add.

A *unit* (a user, a device) is assigned as a whole and its requests resemble each other, so
nothing here counts requests as if they were independent: every figure is a sum over units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from slipway.errors import UsageError

BINS = 64
"""Points, less one, among which a bounded metric's first values are spread."""


@dataclass(frozen=True, slots=True)
class Sums:
    """One metric in one arm. With n a unit's measured requests and y their total (less the
    metric's ``centre`` for each request), all sums run over units.

    Args:
        units: units with a measured request.
        events: units with any value other than zero (for rates: units with an event).
        n, y: first-order sums.
        yy, ny, nn: second-order sums, for the variance of a ratio of totals.
        y4, y3n, y2n2, yn3, n4: fourth-order sums, for how far that variance may be trusted.
        first, first2: sums of each unit's first measured value, less the centre, and its square.
        bins: units by their first measured value, over ``BINS`` + 1 points from low to high; a
            value between two points counts for each in proportion. Empty without bounds.
    """

    units: int = 0
    events: int = 0
    n: float = 0.0
    y: float = 0.0
    yy: float = 0.0
    ny: float = 0.0
    nn: float = 0.0
    y4: float = 0.0
    y3n: float = 0.0
    y2n2: float = 0.0
    yn3: float = 0.0
    n4: float = 0.0
    first: float = 0.0
    first2: float = 0.0
    bins: tuple[float, ...] = ()

    def __add__(self, other: Sums) -> Sums:
        """The sums of two disjoint sets of units, taken about the same centre."""
        plain = {name: getattr(self, name) + getattr(other, name) for name in _PLAIN}
        return Sums(**plain, bins=tuple(a + b for a, b in zip(self.bins, other.bins, strict=True)))


_PLAIN = tuple(f.name for f in fields(Sums) if f.name != "bins")


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric in all arms.

    Args:
        low, high: bounds of its values, or None.
        arms: arm name to its sums.
        centre: what was taken off every value before summing: any constant near the mean, so
            that sums of squares keep their digits.
        requests: arm name to its mature requests, measured or not; empty where not known.
    """

    low: float | None
    high: float | None
    arms: Mapping[str, Sums]
    centre: float = 0.0
    requests: Mapping[str, int] = field(default_factory=dict)

    @property
    def range(self) -> float:
        """How far its values may lie apart; infinite where they have no bounds."""
        return math.inf if self.low is None or self.high is None else self.high - self.low


@dataclass(frozen=True, slots=True)
class Tails:
    """One metric's values beyond thresholds, in all arms: what says how its quantile moved.

    Whether a quantile is above x is whether more than 1 - q of the values are: a rate, which is
    counted by units like any other.

    Args:
        q: which quantile.
        threshold: the pooled q-quantile of the first values, fixed from then on.
        level: the rate beyond the threshold, in every arm.
        worse, no_worse: the same, but for all arms save the stable one beyond the threshold
            moved to where worse begins, and to where no worse ends.
        histograms: arm name to its requests by ``histogram_key``.
        waiting: how many values there are of how many that fix the threshold; None once they have.
    """

    q: float
    threshold: float
    level: Measured
    worse: Measured
    no_worse: Measured
    histograms: Mapping[str, Mapping[int, int]]
    waiting: tuple[int, int] | None = None

    @classmethod
    def awaited(cls, q: float, have: int, need: int) -> Tails:
        """What there is before the threshold is: how many values it waits for."""
        nothing = Measured(0.0, 1.0, {})
        return cls(q, 0.0, nothing, nothing, nothing, {}, (have, need))


@dataclass(frozen=True, slots=True)
class Cohorts:
    """One metric of several cohorts with disjoint units (``slipway.cohorts``).

    Args:
        each: what was measured in a cohort, with the shares of units that its route gave.
    """

    each: tuple[tuple[Measured, Mapping[str, float]], ...]

    def having(self, *arms: str) -> Cohorts:
        """Those cohorts in which all these arms were measured."""
        return Cohorts(tuple(c for c in self.each if all(arm in c[0].arms for arm in arms)))

    @property
    def level(self) -> Measured:
        """How much was measured in all, by arm: units and requests, and nothing of their values."""
        arms: dict[str, Sums] = {}
        asked: dict[str, int] = {}
        for seen, _ in self.each:
            for arm, sums in seen.arms.items():
                arms[arm] = arms.get(arm, Sums()) + Sums(units=sums.units, n=sums.n)
            for arm, count in seen.requests.items():
                asked[arm] = asked.get(arm, 0) + count
        return Measured(None, None, arms, requests=asked)


WIDTH = 0.01
"""The width of a histogram's bins, relative to their values: the error of its quantiles."""

LEAST = 1e-9
"""What a histogram tells from 0: smaller values are in its lowest bin, and are taken for 0."""


def bin_edges(key: int) -> tuple[float, float]:
    """The values of a histogram's bin: key is floor(log(value) / log(1 + WIDTH)).

    The lowest bin's are taken for 0: it ends barely above that, as every bin must.
    """
    if key <= math.floor(math.log(LEAST) / math.log1p(WIDTH)):
        return 0.0, LEAST / 1000.0
    return (1.0 + WIDTH) ** key, (1.0 + WIDTH) ** (key + 1)


@dataclass(frozen=True, slots=True)
class Measure:
    """What evidence to gather for a gate.

    Args:
        name: the gate's.
        expression: SQL over a request's columns; NULL where there is no value.
        type: ``rate`` or ``mean``.
        low, high: bounds of its values, or None.
        maturity: only requests older than this many seconds count.
    """

    name: str
    expression: str
    type: str
    low: float | None
    high: float | None
    maturity: float = 0.0

    def sql(self) -> str:
        """The expression."""
        return self.expression


@dataclass(frozen=True, slots=True)
class QuantileMeasure(Measure):
    """A measure of a quantile.

    Args:
        q: which quantile.
        worse, no_worse: (slope, shift) that move the threshold to either border.
    """

    q: float = 0.5
    worse: tuple[float, float] = (1.0, 0.0)
    no_worse: tuple[float, float] = (1.0, 0.0)

    @property
    def first(self) -> int:
        """How many first values fix the threshold: fifty beyond it on its rarer side."""
        return math.ceil(50.0 / min(self.q, 1.0 - self.q))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen on one route.

    Args:
        units: arm name to how many units it was assigned and seen to serve.
        metrics: a gate's name to what was measured for it.
        shares: arm name to the share of units that the route gives it; empty where not known.
        crossed: units seen in more than one arm; they are left out of every sum.
        cohorts: the evidence of each cohort, where this is that of several ``together``.
    """

    units: Mapping[str, int]
    metrics: Mapping[str, Measured | Tails | Cohorts]
    shares: Mapping[str, float] = field(default_factory=dict)
    crossed: int = 0
    cohorts: tuple[Evidence, ...] = ()


def together(cohorts: Sequence[Evidence]) -> Evidence:
    """The evidence of cohorts with disjoint units, to be judged as one.

    Args:
        cohorts: each with the shares that its route gave, and rates and means only: a quantile's
            threshold is fixed by the first values, and those are another cohort's.

    Raises:
        UsageError: a cohort has the evidence of a quantile.
    """
    units: dict[str, int] = {}
    metrics: dict[str, tuple[tuple[Measured, Mapping[str, float]], ...]] = {}
    for cohort in cohorts:
        for arm, count in cohort.units.items():
            units[arm] = units.get(arm, 0) + count
        for name, seen in cohort.metrics.items():
            if not isinstance(seen, Measured):
                raise UsageError(
                    f"'{name}' is a quantile, which is not compared over cohorts",
                    do="limit the rate of what is beyond it instead (the metric 'slow')",
                )
            metrics[name] = (*metrics.get(name, ()), (seen, cohort.shares))
    return Evidence(
        units,
        {name: Cohorts(each) for name, each in metrics.items()},
        crossed=sum(c.crossed for c in cohorts),
        cohorts=tuple(cohorts),
    )


class Tally:
    """Sums that grow by single values, in order of time: what a replay and a test need.

    Args:
        low, high: bounds of the metric, or None.
        centre: see ``Measured``.
    """

    def __init__(
        self, low: float | None = None, high: float | None = None, centre: float = 0.0
    ) -> None:
        self._bounds, self._centre = (low, high), centre
        self._units: dict[str, dict[str, tuple[float, float, bool]]] = {}
        self._totals: dict[str, list[float]] = {}
        self._bins: dict[str, list[float]] = {}

    def add(self, arm: str, unit: str, value: float) -> None:
        """One measured request of a unit."""
        if arm not in self._units:
            self._units[arm], self._totals[arm] = {}, [0.0] * len(_PLAIN)
            self._bins[arm] = [] if None in self._bounds else [0.0] * (BINS + 1)
        seen = self._units[arm].get(unit)
        y = value - self._centre
        if seen is None:
            before, after = None, (1.0, y, value != 0.0)
            self._begin(arm, value, y)
        else:
            before, after = seen, (seen[0] + 1.0, seen[1] + y, seen[2] or value != 0.0)
        self._units[arm][unit] = after
        old = _terms(*before) if before else (0.0,) * len(_terms(*after))
        totals = self._totals[arm]
        for i, (a, b) in enumerate(zip(old, _terms(*after), strict=True)):
            totals[i] += b - a

    def _begin(self, arm: str, value: float, y: float) -> None:
        self._totals[arm][-2] += y
        self._totals[arm][-1] += y * y
        low, high = self._bounds
        if low is not None and high is not None:
            place = (value - low) / (high - low) * BINS
            below = min(int(place), BINS - 1)
            self._bins[arm][below] += 1.0 - (place - below)
            self._bins[arm][below + 1] += place - below

    def measured(self) -> Measured:
        """The evidence so far."""
        arms = {arm: self._sums(arm) for arm in self._totals}
        return Measured(*self._bounds, arms, self._centre)

    def _sums(self, arm: str) -> Sums:
        plain: dict[str, Any] = dict(zip(_PLAIN, self._totals[arm], strict=True))
        counts = {name: round(plain[name]) for name in ("units", "events")}
        return Sums(**(plain | counts), bins=tuple(self._bins[arm]))


def _terms(n: float, y: float, event: bool) -> tuple[float, ...]:
    """One unit's part of the sums, in the order of ``Sums`` up to n4."""
    yy, ny, nn = y * y, n * y, n * n
    return (1.0, float(event), n, y, yy, ny, nn, yy * yy, yy * ny, yy * nn, ny * nn, nn * nn)
