"""From sums to answers: how one metric of two arms compares, by every test that applies.

The tests of one question each get a part of its alpha (``log_e`` less the log of their weight),
and the strongest speaks. See docs/statistics.md for why these.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slipway.evidence import BINS, Measured, Sums
from slipway.gates import Gate
from slipway.sequential import (
    MeanComparison,
    next_event,
    normal_bound,
    normal_log_mixture,
)

if TYPE_CHECKING:
    from slipway.sequential import Array

TRUSTED_UNITS = 100.0
"""Effective units of each arm from which the normal approximation is used."""

COUNTED = 0.9
"""The part of a rate's alpha that goes to the test of counts, where that applies."""

TUNED_UNITS = 10.0
"""The rho of the normal mixture, in units: tightest near ten times as many."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the candidate compares.

    Args:
        figures: (stable's, candidate's) figure.
        effect: the candidate's less stable's.
        interval: its confidence sequence.
        margin: how much worse is allowed at the next share.
        log_e_worse: evidence that it is worse than allowed at all.
        log_e_no_worse: evidence that it is worse by less than the margin.
        log_e_better: evidence that it is better.
    """

    figures: tuple[float, float]
    effect: float
    interval: tuple[float, float]
    margin: float
    log_e_worse: float
    log_e_no_worse: float
    log_e_better: float


@dataclass(frozen=True, slots=True)
class Line:
    """A border between better and worse: candidate = slope * stable + shift."""

    slope: float
    shift: float


class _Normal:
    """The normal mixture on the difference of two ratios of totals, by linearisation.

    A unit's deviation is d = y - r n. Its standard error counts units, however many requests
    each sent; while units go on sending, a unit's later deviations resemble its earlier ones,
    which only makes looks more alike (Slepian's inequality; docs/statistics.md).
    """

    def __init__(self, measured: Measured, stable: Sums, candidate: Sums, weight: float) -> None:
        self.log_weight = math.log(weight)
        self._c, self._s = _Ratio(candidate), _Ratio(stable)
        self._centre = measured.centre
        pooled_n = stable.units + candidate.units
        mean = (stable.first + candidate.first) / pooled_n
        self._unit_variance = max((stable.first2 + candidate.first2) / pooled_n - mean**2, 0.0)

    @property
    def trusted(self) -> bool:
        return min(self._c.effective, self._s.effective) >= TRUSTED_UNITS

    def _clock(self, slope: float) -> float:
        """The information so far, in units."""
        c, s = self._c.dd, self._s.dd
        return c * s / (c + s) / self._unit_variance

    def _deviate(self, line: Line) -> float:
        """Standard errors by which the candidate lies above the line."""
        c, s = self._c, self._s
        gap = (c.mean + self._centre) - line.slope * (s.mean + self._centre) - line.shift
        return gap / math.sqrt(c.variance + line.slope**2 * s.variance)

    def log_e(self, line: Line, *, above: bool) -> float:
        """Log e-value of the candidate being above (below) the line."""
        v = self._clock(line.slope)
        z = self._deviate(line) * (1.0 if above else -1.0)
        wealth = normal_log_mixture(z * math.sqrt(v), v, TUNED_UNITS, one_sided=True)
        return wealth + self.log_weight

    def interval(self, alpha: float) -> tuple[float, float]:
        """The confidence sequence of the difference."""
        v = self._clock(1.0)
        weighted = alpha * math.exp(self.log_weight)
        radius = normal_bound(v, weighted, TUNED_UNITS, one_sided=True) / math.sqrt(v)
        se = math.sqrt(self._c.variance + self._s.variance)
        effect = self._c.mean - self._s.mean
        return effect - radius * se, effect + radius * se


class _Ratio:
    """A ratio of totals over units: its mean, variance, and how many units that rests on."""

    def __init__(self, sums: Sums) -> None:
        r = self.mean = sums.y / sums.n
        self.dd = max(sums.yy - 2 * r * sums.ny + r * r * sums.nn, 0.0)
        d4 = (
            sums.y4 - 4 * r * sums.y3n + 6 * r**2 * sums.y2n2 - 4 * r**3 * sums.yn3
            + r**4 * sums.n4
        )  # fmt: skip
        # Of normal deviations all units count; of a few large ones only those few.
        self.effective = 3.0 * self.dd**2 / d4 if self.dd > 0.0 and d4 > 0.0 else 0.0
        self.variance = self.dd / sums.n**2


class _Bounded:
    """The exact comparison of the first measured value of each unit, on [low, high]."""

    def __init__(
        self, measured: Measured, stable: Sums, candidate: Sums, share: float, weight: float
    ) -> None:
        assert measured.low is not None and measured.high is not None
        self.log_weight = math.log(weight)
        self._low, self._range = measured.low, measured.high - measured.low
        self._test = MeanComparison(_points(candidate), _points(stable), share)

    def log_e(self, line: Line, *, above: bool) -> float:
        """Log e-value of the candidate being above (below) the line."""
        shift = (line.slope * self._low + line.shift - self._low) / self._range
        return self._test.log_e(line.slope, shift, above=above) + self.log_weight

    def interval(self, alpha: float) -> tuple[float, float]:
        """The confidence sequence of the difference."""
        weighted = alpha * math.exp(self.log_weight)
        low, high = (self._test.bound(weighted, upper=u) * self._range for u in (False, True))
        return low, high


class _NextEvent:
    """The exact test of which arm the next unit with an event is in. Answers of ratios only."""

    def __init__(self, stable: Sums, candidate: Sums, share: float, weight: float) -> None:
        self.log_weight = math.log(weight)
        self._counts, self._share = (stable.events, candidate.events), share

    def log_e(self, line: Line, *, above: bool) -> float:
        """Log e-value of the candidate being above (below) the line."""
        if line.shift != 0.0 or line.slope <= 0.0:
            return -math.inf
        return next_event(*self._counts, self._share, line.slope, above=above) + self.log_weight

    def interval(self, alpha: float) -> tuple[float, float]:
        """It says nothing of a difference."""
        return -math.inf, math.inf


Test = _Normal | _Bounded | _NextEvent


def _points(sums: Sums) -> tuple[Array, Array]:
    """Distinct values in [0, 1] and their counts."""
    import numpy as np

    counts = np.asarray(sums.bins)
    used = np.flatnonzero(counts)
    return used / BINS, counts[used]


def compare(
    measured: Measured,
    gate: Gate,
    baseline: str,
    candidate: str,
    share: float,
    alpha: float,
    next_share: float,
) -> Comparison:
    """Compare one metric of two arms by every test that applies.

    Args:
        share: the chance of a unit of the two to be the candidate's.
        alpha: the gate's part.
        next_share: what a budget is divided by.
    """
    s, c = measured.arms[baseline], measured.arms[candidate]
    tests = _tests(measured, gate, s, c, share)
    figures = (s.y / s.n + measured.centre, c.y / c.n + measured.centre)
    lower = gate.direction == "lower"
    worse, no_worse, margin = _lines(gate, figures[0], next_share)
    ends = [t.interval(alpha) for t in tests]
    return Comparison(
        figures=figures,
        effect=figures[1] - figures[0],
        interval=(max(e[0] for e in ends), min(e[1] for e in ends)),
        margin=margin,
        log_e_worse=_strongest(tests, worse, above=lower),
        log_e_no_worse=_strongest(tests, no_worse, above=not lower),
        log_e_better=_strongest(tests, Line(1.0, 0.0), above=not lower),
    )


def _strongest(tests: Sequence[Test], line: Line, *, above: bool) -> float:
    return max((t.log_e(line, above=above) for t in tests), default=-math.inf)


def _lines(gate: Gate, stable: float, next_share: float) -> tuple[Line, Line, float]:
    """The border of worse, the border of no worse, and the margin in the metric's units."""
    sign = 1.0 if gate.direction == "lower" else -1.0
    if gate.relative is not None:
        line = Line(1.0 + sign * gate.relative, 0.0)
        return line, line, gate.relative * abs(stable)
    if gate.absolute is not None:
        line = Line(1.0, sign * gate.absolute)
        return line, line, gate.absolute
    assert gate.budget is not None
    # Harm beyond the whole budget can never be promoted: that is worse at any share.
    margin = gate.budget / next_share
    return Line(1.0, sign * gate.budget), Line(1.0, sign * margin), margin


def _tests(measured: Measured, gate: Gate, s: Sums, c: Sums, share: float) -> list[Test]:
    """The tests that apply, with their parts of alpha.

    The exact test of first values speaks until the normal one, which uses every value, may be
    trusted. Both have their part from the start, so the change costs nothing.
    """
    counted = gate.type == "rate" and gate.relative is not None
    rest = 1.0 - COUNTED if counted else 1.0
    bounded = measured.low is not None and measured.high is not None
    normal = _Normal(measured, s, c, rest / 2 if bounded else rest)
    tests: list[Test] = [_NextEvent(s, c, share, COUNTED)] if counted else []
    if normal.trusted:
        tests.append(normal)
    elif bounded:
        tests.append(_Bounded(measured, s, c, share, rest / 2))
    return tests
