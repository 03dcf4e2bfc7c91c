"""One arm by itself: is its figure surely within a limit, or surely beyond it?

For launches in which nobody stays with stable to compare with (blue/green), for pairs of answers
to the same request (shadow), and for limits that hold whatever stable does. Valid at every look.
"""

from __future__ import annotations

import math
from typing import Protocol

from slipway.carried import Ratio, mean_beside_first, value_variance
from slipway.evidence import Measured, Sums
from slipway.gates import Gate
from slipway.inference import Comparison, bound, trusted_units, wealth
from slipway.sequential import STAKES, log_gains, log_sum_exp


class _Test(Protocol):
    """One way to answer; ``part`` is its part of alpha."""

    part: float

    def log_e(self, limit: float, *, above: bool) -> float:
        """Log e-value of the arm's figure being above (below) a limit, before its part."""
        ...

    def interval(self, alpha: float) -> tuple[float, float]:
        """The confidence sequence of the figure, each end at alpha times the part."""
        ...


class _FirstValues:
    """Exact: bets on the first measured value of each unit, spread evenly over ``STAKES``.

    Source: as ``sequential.log_gains``.
    """

    def __init__(self, seen: Measured, sums: Sums, part: float) -> None:
        import numpy as np

        assert seen.low is not None
        assert seen.high is not None
        self.part, self._low, self._range = part, seen.low, seen.high - seen.low
        counts = np.asarray(sums.bins)
        used = counts.nonzero()[0]
        self._values, self._counts = used / (len(counts) - 1), counts[used]
        gap = mean_beside_first(sums)
        self._least, self._most = min(gap, 0.0), max(gap, 0.0)

    def log_e(self, limit: float, *, above: bool) -> float:
        import numpy as np

        m = (limit - (self._least if above else self._most) - self._low) / self._range
        if not 0.0 < m < 1.0:
            return math.inf if self._refuted_at_bound(m, above) else -math.inf
        most = 1.0 / m if above else 1.0 / (1.0 - m)
        stakes = np.array(STAKES)[:, None] * most
        gains = log_gains(self._values, np.array([m]), stakes, above=above)[:, 0, :]
        purse = (gains @ self._counts).tolist()
        return log_sum_exp(purse) - math.log(len(purse))

    def _refuted_at_bound(self, m: float, above: bool) -> bool:
        """Whether the mean is surely above (below) a limit that leaves no room to bet.

        Beyond the bounds no mean lies. A mean at a bound is refuted by one value off it.
        """
        if not 0.0 <= m <= 1.0:
            return (m < 0.0) == above
        off = self._values > 0.0 if m <= 0.0 else self._values < 1.0
        return (m <= 0.0) == above and bool(off.any())

    def interval(self, alpha: float) -> tuple[float, float]:
        need = math.log(1.0 / (alpha * self.part))
        ends = []
        for above in (True, False):
            low, high = self._low, self._low + self._range
            for _ in range(30):
                middle = (low + high) / 2
                refutes = self.log_e(middle, above=above) >= need
                low, high = (middle, high) if refutes == above else (low, middle)
            ends.append(low if above else high)
        return ends[0], ends[1]


class _Normal:
    """Asymptotic: the normal mixture on a ratio of totals (see ``inference.NormalTest``)."""

    def __init__(self, seen: Measured, sums: Sums, part: float, per_nat: float) -> None:
        self.part, self._ratio, self._centre = part, Ratio(sums), seen.centre
        self._per_nat = per_nat
        variance = value_variance(sums)
        self._clock = self._ratio.dd / variance if variance > 0.0 else 0.0

    def lacks(self, alpha: float) -> tuple[float, float] | None:
        """The effective units there are and those it needs to be trusted; None where it is."""
        need = self._per_nat * math.log(1.0 / (alpha * self.part))
        have = self._ratio.effective if self._clock > 0.0 else 0.0
        return None if have >= need else (have, need)

    def log_e(self, limit: float, *, above: bool) -> float:
        gap = (self._ratio.mean + self._centre - limit) * (1.0 if above else -1.0)
        z = gap / math.sqrt(self._ratio.variance)
        return wealth(z * math.sqrt(self._clock), self._clock)

    def interval(self, alpha: float) -> tuple[float, float]:
        errors = bound(self._clock, alpha * self.part) / math.sqrt(self._clock)
        radius, mean = errors * math.sqrt(self._ratio.variance), self._ratio.mean + self._centre
        return mean - radius, mean + radius


def compare_alone(
    seen: Measured, gate: Gate, arm: str, alpha: float, intervals: bool = True
) -> Comparison:
    """Hold one arm's figure against a gate's limit.

    Args:
        seen: with data of the arm.
        alpha: the gate's part.
        intervals: whether to work out the interval, which no decision needs.

    Returns:
        As for two arms, with the limit in stable's place: ``effect`` and ``interval`` are the
        figure's distance from it.
    """
    assert gate.limit is not None
    limit, sums = gate.limit, seen.arms[arm]
    figure = sums.y / sums.n + seen.centre
    test, lacks = _test(seen, sums, gate, alpha)
    beyond = within = -math.inf
    if test:
        beyond = test.log_e(limit, above=gate.lower_is_better) + math.log(test.part)
        within = test.log_e(limit, above=not gate.lower_is_better) + math.log(test.part)
    need, interval = math.log(1.0 / alpha), None
    if test and intervals:
        low, high = test.interval(alpha)
        interval = (low - limit, high - limit)
    return Comparison(
        figures=(limit, figure),
        effect=figure - limit,
        interval=interval,
        log_e=max(beyond, -690.0),
        worse=beyond >= need,
        no_worse=within >= need,
        better=False,
        lacks=lacks,
    )


def _test(
    seen: Measured, sums: Sums, gate: Gate, alpha: float
) -> tuple[_Test | None, tuple[float, float] | None]:
    """The test that speaks: the normal one where it may be trusted, else the exact one.

    Each has its part of alpha from the start, so that the change is paid for.
    """
    bounded = seen.low is not None and seen.high is not None
    normal = _Normal(seen, sums, 0.5 if bounded else 1.0, trusted_units(gate))
    lacks = normal.lacks(alpha)
    if lacks is None:
        return normal, None
    return (_FirstValues(seen, sums, 0.5), None) if bounded else (None, lacks)
