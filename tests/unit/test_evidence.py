"""Evidence adds: whatever the order and however it is cut by units."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.evidence import BINS, LEAST, WIDTH, QuantileMeasure, Sums, Tally, bin_edges
from slipway.verdict import NOTHING

Rows = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 9), st.sampled_from((0.0, 0.25, 0.3, 1.0))),
    max_size=60,
)


def tally(rows: list[tuple[str, int, float]], centre: float = 0.0) -> dict[str, Sums]:
    """The sums per arm of some rows; an arm has units of its own."""
    seen = Tally(0.0, 1.0, centre)
    for arm, unit, value in rows:
        seen.add(arm, f"{arm}{unit}", value)
    return dict(seen.measured().arms)


@settings(max_examples=60, deadline=None)
@given(Rows, st.sampled_from((0.0, 0.3)))
def test_sums_are_those_of_the_units(rows: list[tuple[str, int, float]], centre: float) -> None:
    """Every figure, counted again the slow way."""
    for arm, sums in tally(rows, centre).items():
        units: dict[int, list[float]] = {}
        for _, unit, value in (r for r in rows if r[0] == arm):
            units.setdefault(unit, []).append(value)
        totals = [(len(v), sum(v) - centre * len(v)) for v in units.values()]
        assert sums.units == len(units)
        assert sums.events == sum(any(v) for v in units.values())
        assert sums.n == sum(n for n, _ in totals)
        assert sums.y == pytest.approx(sum(y for _, y in totals), abs=1e-9)
        assert sums.yy == pytest.approx(sum(y * y for _, y in totals), abs=1e-9)
        assert sums.y2n2 == pytest.approx(sum((y * n) ** 2 for n, y in totals), abs=1e-6)
        assert sums.first == pytest.approx(sum(v[0] - centre for v in units.values()), abs=1e-9)
        assert sum(sums.bins) == pytest.approx(len(units))
        mean = sum(i * c for i, c in enumerate(sums.bins)) / BINS
        assert mean == pytest.approx(sum(v[0] for v in units.values()))


@settings(max_examples=40, deadline=None)
@given(Rows, st.integers(0, 9))
def test_disjoint_units_add(rows: list[tuple[str, int, float]], cut: int) -> None:
    """Cut by unit, summed apart and added, it is the same evidence."""
    whole = tally(rows)
    parts = [tally([r for r in rows if (r[1] < cut) == side]) for side in (True, False)]
    for arm, sums in whole.items():
        both = [p[arm] for p in parts if arm in p]
        added = both[0] + both[1] if len(both) == 2 else both[0]
        assert added.units == sums.units
        assert (added.y, added.yy, added.n4) == pytest.approx((sums.y, sums.yy, sums.n4))
        assert added.bins == pytest.approx(sums.bins)


def test_a_histogram_s_bins_are_as_narrow_as_promised() -> None:
    """Each bin's edges differ by the width, relative to the value."""
    low, high = bin_edges(250)
    assert high / low - 1.0 == pytest.approx(WIDTH)
    assert bin_edges(251)[0] == pytest.approx(high)


def test_the_lowest_bin_is_taken_for_0() -> None:
    """A logarithm has no bin for 0: its own is that of the least value that is told from it."""
    lowest = math.floor(math.log(LEAST) / math.log1p(WIDTH))
    low, high = bin_edges(lowest)
    assert low == 0.0
    assert 0.0 < high <= NOTHING
    assert bin_edges(lowest + 1)[0] == pytest.approx(LEAST, rel=WIDTH)


def test_a_rarer_quantile_waits_for_more_values() -> None:
    """Fifty values beyond it are wanted, on either side."""
    first = {q: QuantileMeasure("x", "x", "mean", None, None, q=q).first for q in (0.5, 0.99, 0.1)}
    assert first == {0.5: 100, 0.99: 5000, 0.1: 500}
