"""Judge observations as they would have been seen live: look after look, until a decision."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from slipway.errors import UsageError
from slipway.evidence import WIDTH, Evidence, Measure, Measured, QuantileMeasure, Tails, Tally
from slipway.league import Place, Standing
from slipway.rounds import Round, Trial

Value = tuple[float, str, str, float | None]
"""When, of which arm and unit, and what; None where there is no value."""

SHORTEST = 1e-3
"""Seconds between two looks."""


@dataclass(frozen=True, slots=True)
class Looks:
    """When to look.

    Args:
        seconds: every so many seconds, if not 0.
        rows: every so many rows, if not 0.
    """

    seconds: float = 0.0
    rows: int = 0

    @classmethod
    def parse(cls, text: str) -> Looks:
        """``every:60s``, ``every:100`` or ``each``.

        Raises:
            UsageError: it is none of these.
        """
        if text == "each":
            return cls(rows=1)
        unit = text.removeprefix("every:")
        try:
            found = cls(seconds=float(unit[:-1])) if unit.endswith("s") else cls(rows=int(unit))
        except ValueError:
            found = cls()
        if unit == text or not (math.inf > found.seconds >= SHORTEST or found.rows > 0):
            raise UsageError(
                f"'{text}' does not say when to look", do="give every:60s, every:100 or each"
            )
        return found


class Sight:
    """What has been seen of one measure so far."""

    def __init__(self, measure: Measure, stable: str) -> None:
        self._measure, self._stable = measure, stable
        self._tally: Tally | None = None

    def add(self, arm: str, unit: str, value: float) -> None:
        """One value."""
        if self._tally is None:  # the first value is near enough to the mean to centre on
            self._tally = Tally(self._measure.low, self._measure.high, value)
        self._tally.add(arm, unit, value)

    def measured(self, asked: Mapping[str, int]) -> Measured | Tails | None:
        """The evidence so far, of so many requests of each arm that were asked for a value."""
        if self._tally is None:
            return Measured(self._measure.low, self._measure.high, {}, requests=asked)
        return replace(self._tally.measured(), requests=asked)


class TailSight(Sight):
    """What has been seen of a quantile: nothing until the first values fix its threshold."""

    def __init__(self, measure: QuantileMeasure, stable: str) -> None:
        super().__init__(measure, stable)
        self._quantile = measure
        self._waiting: list[tuple[str, str, float]] = []
        self._borders: tuple[float, ...] = ()
        self._tails = [Tally(0.0, 1.0) for _ in range(3)]
        self._histograms: dict[str, dict[int, int]] = {}

    def add(self, arm: str, unit: str, value: float) -> None:
        """One value."""
        if self._borders:
            self._count(arm, unit, value)
            return
        self._waiting.append((arm, unit, value))
        if len(self._waiting) == self._quantile.first:
            level = quantile([v for _, _, v in self._waiting], self._quantile.q)
            moved = (self._quantile.worse, self._quantile.no_worse)
            self._borders = (level, *(a * level + b for a, b in moved))
            for seen in self._waiting:
                self._count(*seen)
            self._waiting = []

    def _count(self, arm: str, unit: str, value: float) -> None:
        key = math.floor(math.log(max(value, 1e-9)) / math.log1p(WIDTH))
        histogram = self._histograms.setdefault(arm, {})
        histogram[key] = histogram.get(key, 0) + 1
        for tally, border in zip(self._tails, self._borders, strict=True):
            beyond = value > (self._borders[0] if arm == self._stable else border)
            tally.add(arm, unit, float(beyond))

    def measured(self, asked: Mapping[str, int]) -> Measured | Tails | None:
        """The evidence so far; how much it waits for before the threshold is fixed."""
        if not self._borders:
            return Tails.awaited(self._quantile.q, len(self._waiting), self._quantile.first)
        level, worse, no_worse = (t.measured() for t in self._tails)
        level = replace(level, requests=asked)
        return Tails(self._quantile.q, self._borders[0], level, worse, no_worse, self._histograms)


def quantile(values: list[float], q: float) -> float:
    """The quantile by linear interpolation (Hyndman and Fan's type 7, as DuckDB's)."""
    ordered = sorted(values)
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


class Sights:
    """What has been seen of all measures so far; each value counts once it is mature."""

    def __init__(self, measures: Sequence[Measure], stable: str) -> None:
        self._measures = measures
        self._sights = [
            (TailSight if isinstance(m, QuantileMeasure) else Sight)(m, stable)  # type: ignore[arg-type]
            for m in measures
        ]
        self._units: dict[str, set[str]] = {}
        self._waiting: list[deque[Value]] = [deque() for _ in measures]
        self._asked: list[Counter[str]] = [Counter() for _ in measures]

    def add(self, at: float, arm: str, unit: str, values: Iterable[float | None]) -> None:
        """One row."""
        self._units.setdefault(arm, set()).add(unit)
        for waiting, value in zip(self._waiting, values, strict=True):
            waiting.append((at, arm, unit, value))

    def _take(self, i: int, at: float) -> None:
        """Count the values of a measure that are mature by then."""
        waiting, sight, asked = self._waiting[i], self._sights[i], self._asked[i]
        while waiting and waiting[0][0] + self._measures[i].maturity <= at:
            _, arm, unit, value = waiting.popleft()
            asked[arm] += 1
            if value is not None:
                sight.add(arm, unit, value)

    @property
    def ripe(self) -> float:
        """When the next value matures of those that are not counted yet; infinite without one."""
        told = zip(self._waiting, self._measures, strict=True)
        return min((w[0][0] + m.maturity for w, m in told if w), default=math.inf)

    def evidence(self, at: float) -> Evidence:
        """The evidence at a time."""
        found = []
        for i, measure in enumerate(self._measures):
            self._take(i, at)
            found.append((measure.name, self._sights[i].measured(dict(self._asked[i]))))
        units = {arm: len(seen) for arm, seen in self._units.items()}
        return Evidence(units, {n: m for n, m in found if m is not None})


def replay(
    rows: Iterable[tuple[Any, ...]],
    measures: Sequence[Measure],
    trial: Trial,
    looks: Looks,
    *,
    to_end: bool = False,
) -> Iterator[Round]:
    """Look after look at all arms, up to the one that settles the last outcome, or the last.

    Args:
        rows: (at, arm, unit, value per measure), oldest first.
        to_end: for a picture: go on to the last row, and give intervals at every look.
    """
    sights = Sights(measures, trial.baseline)
    inside, out = list(trial.members), tuple[Standing, ...]()
    for number, at, last in _moments(rows, looks, sights):
        told = trial.look(
            sights.evidence(at), at, number=number, inside=inside, intervals=to_end or last,
            beside=to_end,
        )  # fmt: skip
        yield replace(told, standings=told.standings + out)
        if not (told.open or to_end):
            return
        inside = told.open
        out = tuple(s for s in told.standings if s.place is Place.OUT) + out


def _moments(
    rows: Iterable[tuple[Any, ...]], looks: Looks, sights: Sights
) -> Iterator[tuple[int, float, bool]]:
    """Feed the rows to the sights; each time a look is due: (its number, when, the last one?).

    Looks that are due while no row comes and no value matures are counted, and passed over.
    """
    number, fresh, due, at = 0, 0, None, 0.0
    for at, arm, unit, *values in rows:
        due = at + looks.seconds if due is None else due
        while looks.seconds and at >= due:
            yield number + 1, due, False
            passed = math.floor((at - due) / looks.seconds) + 1
            if (ripe := sights.ripe) <= at:
                passed = max(math.ceil((ripe - due) / looks.seconds), 1)
            number, due, fresh = number + passed, due + passed * looks.seconds, 0
        sights.add(at, arm, unit, values)
        fresh += 1
        if looks.rows and fresh == looks.rows:
            number, fresh = number + 1, 0
            yield number, at, False
    yield max(number + (fresh > 0), 1), at, True  # the last row's own look, once more in full
