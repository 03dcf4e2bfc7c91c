"""Whether arms kept their shares while a file was written, without which sums cannot be compared.

Where a share changed, one arm lay more in the bad hours than the other, and the hours are judged
in place of the arms. Chance alone gives new units to arms, each by itself; so under the same
shares, any span of the file has new units of each arm as a draw from all of them has.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from slipway.errors import UsageError

if TYPE_CHECKING:
    from slipway.observations import Observations

SPANS = 10
"""Into how many spans of as many rows a file is parted; rows of one moment stay together."""

LARGE = 1.5
"""By which factor an arm's odds in a span must differ from those in all spans."""

LEVEL = 1e-6
"""The chance, at most, that a file whose shares never changed is refused."""

Counts = Counter[tuple[int, str]]
"""How many there are by span, from 0, and arm."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What an arm has of a span, and what it has of all spans.

    Args:
        mine, of: the arm's in the span, and all arms'.
        whole: the arm's part of all spans.
    """

    span: int
    mine: int
    of: int
    whole: float

    @property
    def side(self) -> int:
        """1 where the arm's odds are far higher than in all spans, -1 where far lower, or 0."""
        here, there = self.mine * (1.0 - self.whole), self.whole * (self.of - self.mine)
        return (here > LARGE * there) - (there > LARGE * here)

    @property
    def log_e(self) -> float:
        """How surely it is no draw from all spans: its chance is at most exp(-log_e).

        Source: Hoeffding, "Probability inequalities for sums of bounded random variables", JASA,
        1963, theorem 1, which holds for draws without replacement too (section 6).
        """
        return sum(
            n * math.log(n / (self.of * part))
            for n, part in ((self.mine, self.whole), (self.of - self.mine, 1.0 - self.whole))
            if n
        )


def require_steady(seen: Observations) -> None:
    """Refuse observations in which an arm's share changed much.

    Its part of the rows must have changed as well: of users who were there before the file began,
    an arm that they come to less often shows the most of them late, and has as few rows then as
    always.

    Raises:
        UsageError: it names the arm, and what part of the new units it had when.
    """
    tenths = _count(seen, f"rowid * {SPANS} // {seen.count}", "observations")
    if not _sides(seen, tenths):
        return  # to count by moments and units is dearer
    borders = _borders(seen)
    span = " + ".join(f'("at" >= {border!r})::INTEGER' for border in borders) or "0"
    sides = _sides(seen, _count(seen, span, "observations"))
    first = '(SELECT min("at") AS "at", min(arm) AS arm FROM observations GROUP BY hash(unit))'
    units = _count(seen, span, first)
    least = math.log(2 * SPANS * len(seen.arms) / LEVEL)
    for arm in reversed(seen.arms):
        parts = _parts(units, arm)
        if any((arm, p.span, p.side) in sides and p.log_e > least for p in parts):
            raise _refusal(seen, arm, parts, borders)


def _borders(seen: Observations) -> list[float]:
    """Where spans after the first begin."""
    at = ", ".join(str(seen.count * i // SPANS) for i in range(1, SPANS))
    query = f'SELECT DISTINCT "at" FROM observations WHERE rowid IN ({at}) ORDER BY 1'  # noqa: S608
    return [row[0] for row in seen.db.execute(query).fetchall()]


def _count(seen: Observations, span: str, source: str) -> Counts:
    query = f"SELECT {span} AS span, arm, count(*) FROM {source} GROUP BY span, arm"  # noqa: S608
    return Counter({(span, arm): n for span, arm, n in seen.db.execute(query).fetchall()})


def _sides(seen: Observations, counts: Counts) -> set[tuple[str, int, int]]:
    """The arms and spans that differ much, and to which side."""
    return {(arm, p.span, p.side) for arm in seen.arms for p in _parts(counts, arm) if p.side}


def _parts(counts: Counts, arm: str) -> list[_Part]:
    """What an arm has of each span that has anything."""
    of: Counter[int] = Counter()
    for (span, _), n in counts.items():
        of[span] += n
    whole = sum(counts[span, arm] for span in of) / of.total()
    return [_Part(span, counts[span, arm], of[span], whole) for span in sorted(of)]


def _refusal(seen: Observations, arm: str, parts: list[_Part], borders: list[float]) -> UsageError:
    """Tell the spans in which an arm had most surely too few, and too many, of the new units."""

    def surely_more(part: _Part) -> float:
        return math.copysign(part.log_e, part.mine - part.whole * part.of)

    def tell(part: _Part) -> str:
        return (
            f"{100 * part.mine / part.of:.3g} % of the {part.of} new {seen.unit}s"
            f"{_when(seen, borders, part.span)}"
        )

    ends = (min(parts, key=surely_more), max(parts, key=surely_more))
    first, last = sorted(ends, key=lambda part: part.span)
    return UsageError(
        f"the shares of the arms changed: '{arm}' had {tell(first)}, and {tell(last)}",
        where=str(seen.path),
        do="arms are compared at shares that stay: judge each span with its own shares by itself",
    )


def _when(seen: Observations, borders: list[float], span: int) -> str:
    since = f" from {seen.moment(borders[span - 1])}" if span else ""
    return since + (f" to {seen.moment(borders[span])}" if span < len(borders) else " on")
