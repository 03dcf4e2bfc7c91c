"""Ratios of totals over units, and how far what an exact test says may be said of them.

Counts compare units with an event, and bets compare the first value of each unit: both exactly.
A gate is about the figure over all requests. The two go together where a unit's requests are
alike; where a candidate fails all requests of a few users, or only those after a user's first,
they part. So what was seen of how far they part is held against the test, by the delta method
(Deng, Knoblich and Lu, KDD 2018, arXiv 1803.06336), and never counted for it: the exact test's
own chance of being wrong stays what it is.
"""

from __future__ import annotations

import math
from dataclasses import replace

from slipway.evidence import Sums

SURE = 2.0
"""Standard errors by which the estimate of how far they part is held against counts. Against first
values the estimate alone is: they are asked where units are few, and two errors would take half as
many units more, and not be missed (``benchmarks/margins.py``)."""


class Ratio:
    """A ratio of totals over units: its mean, its variance, and how many units that rests on.

    By linearisation, a unit's deviation is d = y - mean * n; the variance counts units, however
    many requests each of them sent (Deng, Knoblich and Lu, "Applying the delta method in metric
    analytics", KDD 2018, arXiv 1803.06336).
    """

    def __init__(self, sums: Sums) -> None:
        r = self.mean = sums.y / sums.n
        self.dd = max(sums.yy - 2 * r * sums.ny + r * r * sums.nn, 0.0)
        d4 = sums.y4 - 4 * r * sums.y3n + 6 * r**2 * sums.y2n2 - 4 * r**3 * sums.yn3
        d4 = self.d4 = max(d4 + r**4 * sums.n4, 0.0)
        # Of normal deviations all units count; where a few are large, only those few do.
        self.effective = 3.0 * self.dd**2 / d4 if self.dd > 0.0 and d4 > 0.0 else 0.0
        self.variance = self.dd / sums.n**2


def plain(sums: Sums, centre: float) -> Sums:
    """First and second-order sums of values as they were, before their centre was taken off."""
    return replace(
        sums,
        y=sums.y + centre * sums.n,
        yy=sums.yy + 2.0 * centre * sums.ny + centre**2 * sums.nn,
        ny=sums.ny + centre * sums.nn,
    )


def events_per_request(sums: Sums) -> tuple[float, float]:
    """Log of a rate over the part of units with an event, and the variance of that.

    Args:
        sums: of a rate's values, as they were.

    Returns:
        Where there was no event yet: as if each unit with one had just one.
    """
    units, n, y, yy, yn, nn = float(sums.units), sums.n, sums.y, sums.yy, sums.ny, sums.nn
    with_event = float(sums.events)
    if with_event == 0.0 or y <= 0.0:
        return -math.log(n / units), max(nn * units / n**2 - 1.0, 0.0) / units
    of_events, of_units, size = y / units, with_event / units, n / units
    # A unit's deviation is Y/mean - n/mean - e/mean; how many requests units with an event sent
    # is not kept, and taken to be as many as if each request had one with the same chance.
    mean_square = (
        yy / of_events**2
        + nn / size**2
        + with_event / of_units**2
        - 2.0 * yn / (of_events * size)
        - 2.0 * y / (of_events * of_units)
        + 2.0 * with_event * (nn / n) / (size * of_units)
    ) / units
    return math.log(y / n) - math.log(of_units), max(mean_square - 1.0, 0.0) / units


def ratio_beside_units(stable: Sums, candidate: Sums) -> tuple[float, float]:
    """The least and the most that a ratio of rates may be of the ratio of units with an event.

    Args:
        stable, candidate: as of ``events_per_request``.

    Returns:
        Around 1, which both are where every unit sends one request.
    """
    s, s_variance = events_per_request(stable)
    c, c_variance = events_per_request(candidate)
    error = SURE * math.sqrt(s_variance + c_variance)
    return math.exp(min(c - s - error, 0.0)), math.exp(max(c - s + error, 0.0))


def mean_beside_first(sums: Sums) -> float:
    """How far the mean over all requests is from that of first values."""
    return sums.y / sums.n - sums.first / sums.units


def value_variance(*arms: Sums) -> float:
    """The variance of a single value, by first values; by all of them where those are all alike."""
    units = sum(s.units for s in arms)
    mean, square = sum(s.first for s in arms) / units, sum(s.first2 for s in arms) / units
    variance = square - mean**2
    if variance > 1e-9 * square:  # else it is what rounding left
        return variance
    return sum(Ratio(s).dd for s in arms) / sum(s.n for s in arms)
