"""Evidence: what was seen of each arm, as sums over units that add.

A *unit* (a user, a device) is assigned as a whole and its requests resemble each other, so
nothing here counts requests as if they were independent: every figure is a sum over units.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

BINS = 256
"""Bins of a bounded metric's first values; the tests round against the claim they support."""


@dataclass(frozen=True, slots=True)
class Sums:
    """One metric in one arm. With y a unit's total of the metric (less ``centre`` per request)
    and n its measured requests, all sums run over units.

    Args:
        units: units with a measured request.
        events: units with a total other than zero (for rates: units with an event).
        n, y: requests measured; total of the metric, centred.
        yy, ny, nn: second-order sums, for the variance of a ratio of totals.
        y4, y3n, y2n2, yn3, n4: fourth-order sums, for how far that variance may be trusted.
        first, first2: sum of each unit's first measured value and of its square, centred.
        bins: units by their first measured value, from ``low`` to ``high`` in ``BINS`` + 1
            points (point i is low + i (high - low) / BINS; a value counts at the point below it).
        ragged: whether any value lay between two points, so that rounding matters.
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
    bins: tuple[int, ...] = ()
    ragged: bool = False

    def __add__(self, other: Sums) -> Sums:
        """The sums of two disjoint sets of units."""
        bins = tuple(a + b for a, b in zip(self.bins, other.bins, strict=True))
        plain = {
            f.name: getattr(self, f.name) + getattr(other, f.name)
            for f in fields(self)
            if f.name not in ("bins", "ragged")
        }
        return Sums(**plain, bins=bins, ragged=self.ragged or other.ragged)


@dataclass(frozen=True, slots=True)
class Measured:
    """One metric in all arms.

    Args:
        low, high: bounds of its values, or None.
        centre: what was taken off every value before summing (near the mean, for exactness).
        arms: arm name to its sums.
    """

    low: float | None
    high: float | None
    centre: float
    arms: Mapping[str, Sums]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was seen on one route.

    Args:
        units: arm name to how many units were assigned to it and seen.
        shares: arm name to the share of units that the route gives it; empty where not known.
        metrics: metric name to what was measured of it.
        crossed: units seen in more than one arm (left out of every sum).
    """

    units: Mapping[str, int]
    shares: Mapping[str, float]
    metrics: Mapping[str, Measured]
    crossed: int = 0


class Tally:
    """Gathers evidence from single values, in order of time: for tests and small inputs.

    Args:
        low, high: bounds of the metric, or None.
        centre: subtracted from every value; any constant.
    """

    def __init__(self, low: float | None, high: float | None, centre: float = 0.0) -> None:
        self.low, self.high, self.centre = low, high, centre
        self._seen: dict[str, dict[str, list[float]]] = {}

    def add(self, arm: str, unit: str, value: float) -> None:
        """One measured request: [requests, total, first value] of its unit."""
        row = self._seen.setdefault(arm, {}).setdefault(unit, [0.0, 0.0, value])
        row[0] += 1.0
        row[1] += value

    def measured(self) -> Measured:
        """The evidence so far."""
        arms = {arm: self._sums(list(units.values())) for arm, units in self._seen.items()}
        return Measured(self.low, self.high, self.centre, arms)

    def _sums(self, rows: list[list[float]]) -> Sums:
        c = self.centre
        total: dict[str, Any] = dict.fromkeys((f.name for f in fields(Sums)), 0.0)
        bins = [0] * (BINS + 1 if self.low is not None and self.high is not None else 0)
        ragged = False
        for n, whole, start in rows:
            y, first = whole - c * n, start - c
            terms = {
                "n": n, "y": y, "yy": y * y, "ny": n * y, "nn": n * n,
                "y4": y**4, "y3n": y**3 * n, "y2n2": y * y * n * n, "yn3": y * n**3, "n4": n**4,
                "first": first, "first2": first * first,
            }  # fmt: skip
            for name, term in terms.items():
                total[name] += term
            if self.low is not None and self.high is not None:
                place = (start - self.low) / (self.high - self.low) * BINS
                bins[int(place)] += 1
                ragged = ragged or place != int(place)
        total |= {"units": len(rows), "events": sum(r[1] != 0 for r in rows)}
        return Sums(**{**total, "bins": tuple(bins), "ragged": ragged})
