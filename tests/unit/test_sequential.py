"""The e-processes keep their promise: a fair bet wins nothing on average."""

from __future__ import annotations

import json
import math
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.sequential import (
    EXACT_EVENTS,
    SPARE,
    MeanComparison,
    count_ratio,
    crossing,
    log_normal_cdf,
    mismatch,
    next_event,
    normal_bound,
    normal_log_mixture,
    refuted,
)

SHARED = Path(os.environ.get("SLIPWAY_SHARED", Path(__file__).parents[3] / "shared"))
SAVVI = SHARED / "vectors" / "savvi_sequential.json"


def expectation(events: int, share: float, ratio: float, truth: float, *, above: bool) -> float:
    """The mean e-value of ``next_event`` after so many events, if the rates' ratio is truth."""
    p = share * truth / (share * truth + 1.0 - share)
    return sum(
        math.comb(events, k)
        * p**k
        * (1.0 - p) ** (events - k)
        * math.exp(next_event(events - k, k, share, ratio, above=above))
        for k in range(events + 1)
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 40),
    st.floats(0.01, 0.9),
    st.floats(0.5, 2.0),
    st.floats(0.1, 1.0),
    st.booleans(),
)
def test_counts_win_nothing_where_the_null_is_true(
    events: int, share: float, ratio: float, within: float, above: bool
) -> None:
    """On the border the mean e-value is 1; inside the null it is at most 1."""
    at_border = expectation(events, share, ratio, ratio, above=above)
    assert at_border == pytest.approx(1.0, rel=1e-9)
    inside = ratio * within if above else ratio / within
    assert expectation(events, share, ratio, inside, above=above) <= 1.0 + 1e-9


def test_counts_find_a_fourfold_rate_with_few_events() -> None:
    """26 events, 9 of them in a tenth of the traffic, refute equal rates at 1 in 20."""
    assert next_event(17, 9, 0.1, 1.0, above=True) > math.log(20.0)
    assert next_event(24, 2, 0.1, 1.0, above=True) < 0.0


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("odds", [0.01, 0.1 / 0.9, 1.0, 9.0])
def test_the_chance_of_ever_crossing_a_bar_is_counted_right(odds: float, above: bool) -> None:
    """Beside every path of nine events walked one by one; and Ville's bound is never passed."""
    bar, p = math.log(8.0), odds / (1.0 + odds)
    share = p if above else 1.0 - p
    ended = 0.0
    for path in product((0, 1), repeat=9):
        counts = [(n - sum(path[:n]), sum(path[:n])) for n in range(10)]
        told = counts if above else [pair[::-1] for pair in counts]
        if any(next_event(*pair, share, 1.0, above=above) >= bar for pair in told):
            ended += p ** sum(path) * (1.0 - p) ** (9 - sum(path))
    assert ended <= crossing(odds, bar, above=above) <= math.exp(-bar) * (1.0 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.005, 0.95),
    st.floats(-1.5, 1.5).map(math.exp),
    st.sampled_from([0.05, 0.0225, 0.005]),
    st.booleans(),
)
def test_refuting_before_the_wealth_is_there_stays_within_alpha(
    share: float, ratio: float, alpha: float, above: bool
) -> None:
    """The lowest wealth that decides is reached with a chance of at most alpha, at all looks."""
    decided = [
        next_event(n - k, k, share, ratio, above=above)
        for n in range(0, 40, 3)
        for k in range(n + 1)
        if refuted(n - k, k, share, ratio, alpha, above=above)
    ]
    if decided:
        lowest = min(decided)
        assert lowest >= math.log(1.0 / alpha) - SPARE
        odds = share * ratio / (1.0 - share)
        assert crossing(odds if above else 1.0 / odds, lowest, above=above) <= alpha


def test_many_events_decide_by_their_wealth_alone() -> None:
    """Beyond the events that are counted out, the bar is 1/alpha again."""
    wealth = next_event(EXACT_EVENTS, 60, 0.1, 1.0, above=True)
    assert refuted(EXACT_EVENTS, 60, 0.1, 1.0, math.exp(-wealth), above=True)
    assert not refuted(EXACT_EVENTS, 60, 0.1, 1.0, math.exp(-wealth - 0.01), above=True)


def test_the_ratio_s_interval_is_what_counts_have_not_refuted() -> None:
    """Each end is the last ratio that is refuted; nothing seen leaves it open."""
    low, high = (count_ratio(100, 30, 0.1, 0.05, upper=u) for u in (False, True))
    assert low < 30 / 100 * 9 < high
    assert refuted(100, 30, 0.1, low, 0.05, above=True)
    assert not refuted(100, 30, 0.1, 1.02 * low, 0.05, above=True)
    assert refuted(100, 30, 0.1, high, 0.05, above=False)
    assert not refuted(100, 30, 0.1, high / 1.02, 0.05, above=False)
    assert count_ratio(0, 0, 0.1, 0.05, upper=True) == math.inf
    assert count_ratio(0, 0, 0.1, 0.05, upper=False) == 0.0


@pytest.mark.skipif(
    not SAVVI.is_file() and "SLIPWAY_SHARED" not in os.environ,
    reason="the collected vectors are not beside the project",
)
@pytest.mark.parametrize(
    ("name", "draws", "arms", "stop", "p_value"),
    [
        ("srm_three_arms", "assignments", 3, 402, 0.0485),
        ("canary_two_poisson", "event_source", 2, 210, 0.0456),
    ],
)
def test_mismatch_stops_where_the_published_examples_do(
    name: str, draws: str, arms: int, stop: int, p_value: float
) -> None:
    """Sample-ratio and error-count examples after Lindon and Malek."""
    told = json.loads(SAVVI.read_text())[name]
    counts = [0] * arms
    log_e = 0.0
    for arm in told[draws]:
        counts[arm] += 1
        log_e = mismatch(counts, told["theta0"])
        if log_e >= math.log(1.0 / told["alpha"]):
            break
    assert sum(counts) == stop
    assert math.exp(-log_e) == pytest.approx(p_value, abs=5e-5)


def test_mismatch_wins_nothing_where_units_fall_as_declared() -> None:
    """The mean e-value over all ways that 12 units can fall is 1."""
    n, shares = 12, (0.3, 0.7)
    total = sum(
        math.comb(n, k)
        * shares[0] ** k
        * shares[1] ** (n - k)
        * math.exp(mismatch((k, n - k), shares))
        for k in range(n + 1)
    )
    assert total == pytest.approx(1.0)


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize(("c", "s", "shift"), [(0.5, 0.5, 0.0), (0.1, 0.1, 0.0), (0.4, 0.2, 0.2)])
def test_mean_bets_win_nothing_where_the_null_is_true(
    above: bool, c: float, s: float, shift: float
) -> None:
    """The mean e-value over all outcomes of seven values a side, on the border, is at most 1."""
    n, points, total = 7, 4, 0.0
    for k, m in product(range(n + 1), repeat=2):
        chance = math.comb(n, k) * c**k * (1 - c) ** (n - k)
        chance *= math.comb(n, m) * s**m * (1 - s) ** (n - m)
        mine, theirs = np.zeros(points + 1), np.zeros(points + 1)
        mine[[0, -1]], theirs[[0, -1]] = (n - k, k), (n - m, m)
        log_e = MeanComparison(mine, theirs, 0.5).log_e(1.0, shift, above=above)
        total += chance * math.exp(log_e)
    assert total <= 1.0


def spread(values: np.ndarray, points: int = 64) -> np.ndarray:
    """Counts of values in [0, 1], shared out between neighbouring points."""
    place = values * points
    low = np.minimum(place.astype(int), points - 1)
    counts = np.bincount(low, 1.0 - (place - low), minlength=points + 1)
    return counts + np.bincount(low + 1, place - low, minlength=points + 1)


def test_mean_bets_find_a_broken_candidate_within_thirty_units() -> None:
    """A mean that is higher by 0.25 is called higher by at least 0.03, at one in a thousand."""
    rng = np.random.default_rng(0)
    stable, candidate = rng.beta(2, 10, 3000), np.clip(rng.beta(2, 10, 30) + 0.25, 0, 1)
    seen = MeanComparison(spread(candidate), spread(stable), 0.01)
    assert seen.log_e(1.0, 0.03, above=True) > math.log(1000.0)
    assert seen.bound(0.001, upper=False) >= 0.03
    assert seen.bound(0.001, upper=True) > 0.25


def test_a_smaller_alpha_never_gives_a_shorter_interval() -> None:
    """Intervals are nested, and hold the difference seen."""
    rng = np.random.default_rng(1)
    a, b = rng.beta(2, 5, 200), rng.beta(2, 5, 300)
    seen = MeanComparison(spread(a), spread(b), 0.4)
    lows = [seen.bound(alpha, upper=False) for alpha in (0.2, 0.05, 0.01)]
    highs = [seen.bound(alpha, upper=True) for alpha in (0.2, 0.05, 0.01)]
    assert lows == sorted(lows, reverse=True)
    assert highs == sorted(highs)
    assert lows[0] < a.mean() - b.mean() < highs[0]


def test_no_data_refutes_only_what_cannot_be() -> None:
    """Without values every possible difference is left."""
    empty = np.zeros(65)
    seen = MeanComparison(empty, empty, 0.5)
    assert seen.log_e(1.0, 0.0, above=True) == pytest.approx(0.0)
    assert seen.log_e(1.0, -1.5, above=True) == math.inf
    assert (seen.bound(0.05, upper=False), seen.bound(0.05, upper=True)) == (-1.0, 1.0)


def test_the_normal_bound_is_where_its_mixture_reaches_one_over_alpha() -> None:
    """One-sided and two-sided alike, at any variance."""
    for v, one_sided in product((0.5, 10.0, 1e4), (True, False)):
        s = normal_bound(v, 0.01, 10.0, one_sided=one_sided)
        log_m = normal_log_mixture(s, v, 10.0, one_sided=one_sided)
        assert log_m == pytest.approx(math.log(100.0), abs=1e-9)


def test_the_normal_tail_is_right_far_out() -> None:
    """Both branches agree where they meet, and go on falling as -x^2/2."""
    assert log_normal_cdf(-30.001) == pytest.approx(log_normal_cdf(-29.999), rel=1e-3)
    assert log_normal_cdf(-100.0) == pytest.approx(-5005.5242, abs=1e-3)


def test_what_lies_absurdly_far_on_the_other_side_wins_nothing() -> None:
    """Large numbers do not cancel into wealth, and no rate is divided by nothing."""
    for s in (-1e5, -1e9, -1e40):
        assert -200.0 < normal_log_mixture(s, 100.0, 10.0, one_sided=True) < 0.0
    assert next_event(3, 100, 0.5, 1e60, above=True) < 0.0
    assert next_event(1, 100, 0.5, 1e60, above=False) > 0.0
