"""Comparisons over cohorts stay honest while shares follow what was seen."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from slipway.cohorts import Cohort, FirstValues, PooledTest, compare_cohorts
from slipway.evidence import BINS, Measured, Sums
from slipway.gates import EVEN, Gate
from slipway.inference import TRUSTED_UNITS, CountTest, FirstValueTest, NormalTest, Pair
from slipway.sequential import next_event, next_events

RATE = Gate("error", type="rate", relative=0.0)
POINTS = Gate("error", type="rate", absolute=0.0)
MEAN = Gate("cost", type="mean", absolute=0.3)


def rates(share: float, stable: tuple[int, int], candidate: tuple[int, int]) -> Cohort:
    """(events, units) of each arm in a cohort with this share, one request a unit."""
    arms = {}
    for arm, (k, n) in (("stable", stable), ("candidate", candidate)):
        bins = (float(n - k), *[0.0] * (BINS - 1), float(k))
        arms[arm] = Sums(n, k, n, k, k, k, n, k, k, k, k, n, k, k, bins)
    return Measured(0.0, 1.0, arms), Pair("stable", "candidate", share)


def means(share: float, stable: list[float], candidate: list[float]) -> Cohort:
    """One value a unit, unbounded."""
    arms = {}
    for arm, values in (("stable", stable), ("candidate", candidate)):
        x, n = np.array(values), len(values)
        y, y2, y3, y4 = (float((x**k).sum()) for k in (1, 2, 3, 4))
        arms[arm] = Sums(n, n, n, y, y2, y, n, y4, y3, y2, y, n, y, y2)
    return Measured(None, None, arms), Pair("stable", "candidate", share)


@pytest.mark.parametrize("above", [True, False])
def test_bets_on_cohorts_win_nothing_when_shares_follow_events(above: bool) -> None:
    """The mean e-value over all ways of two cohorts is 1; the second share follows the first."""
    mean = 0.0
    for first, second in product(range(6), range(6)):
        shares = (0.2, 0.05 if first > 1 else 0.6)
        chance = 1.0
        for k, p in zip((first, second), shares, strict=True):
            chance *= math.comb(5, k) * p**k * (1.0 - p) ** (5 - k)
        strata = ((5 - first, first, shares[0]), (5 - second, second, shares[1]))
        mean += chance * math.exp(next_events(strata, 1.0, above=above))
    assert mean == pytest.approx(1.0, rel=1e-9)


def test_one_cohort_says_what_one_comparison_says() -> None:
    """The same counts, the same wealth."""
    assert next_events(((17, 9, 0.1),), 1.0, above=True) == next_event(17, 9, 0.1, 1.0, above=True)
    seen, pair = rates(0.1, (17, 1000), (9, 100))
    found = compare_cohorts([(seen, pair)], RATE, 0.05)
    assert found.log_e == pytest.approx(CountTest(seen, pair, 0.9).log_e(EVEN, above=True))


def test_one_large_cohort_of_values_is_compared_as_any_two_arms_are() -> None:
    """By the normal test: the same interval, and the same wealth up to its clock's tuning."""
    rng = np.random.default_rng(3)
    seen, pair = means(0.3, list(rng.exponential(1.2, 700)), list(rng.exponential(1, 300)))
    pooled, plain = (
        PooledTest([(seen, pair)], 1.0, TRUSTED_UNITS),
        NormalTest(seen, pair, 1.0, TRUSTED_UNITS),
    )
    assert pooled.clock == pytest.approx(plain.clock, rel=0.05)
    assert pooled.interval(0.05) == pytest.approx(plain.interval(0.05), rel=0.02)
    assert pooled.log_e(EVEN, above=False) == pytest.approx(plain.log_e(EVEN, above=False), abs=0.1)


@pytest.mark.parametrize(("gate", "runs"), [(RATE, 20), (POINTS, 4)])
def test_cohorts_without_events_count_as_much_as_those_with(gate: Gate, runs: int) -> None:
    """Errors of 1 % at a share of 5 %: most cohorts of 400 see none of the candidate's."""
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(runs):
        hours, called = [], False
        for _ in range(10):
            for _ in range(15):
                mine = int(rng.binomial(400, 0.05))
                k, j = int(rng.binomial(400 - mine, 0.01)), int(rng.binomial(mine, 0.01))
                hours.append(rates(0.05, (k, 400 - mine), (j, mine)))
            found = compare_cohorts(hours, gate, 0.05, intervals=False)
            called |= found.worse or found.better
        wrong += called
    assert wrong <= 1


def test_a_bad_hour_is_not_blamed_on_the_arm_that_had_most_of_it() -> None:
    """Both arms fail alike in each hour; summed over hours, the candidate would look worse."""
    hours = [rates(0.1, (90, 9000), (10, 1000)), rates(0.9, (100, 1000), (900, 9000))]
    found = compare_cohorts(hours, RATE, 0.05)
    assert not found.worse
    assert found.interval is not None
    assert found.interval[0] < 0.0 < found.interval[1]
    assert found.effect == pytest.approx(0.0)
    assert next_event(190, 910, 0.5, 1.0, above=True) > math.log(1e6)  # what summing would say


def test_what_little_cohorts_say_adds_up() -> None:
    """Five cohorts, none of which decides alone, decide together; so do means."""
    hours = [rates(s, (k, n), (4, 120)) for s, k, n in ((0.1, 9, 1080), (0.2, 5, 480))] * 3
    assert not any(compare_cohorts([h], RATE, 0.05).worse for h in hours)
    assert compare_cohorts(hours, RATE, 0.05).worse
    rng = np.random.default_rng(4)
    costs = [means(0.5, list(rng.exponential(1, 90)), list(rng.exponential(2, 90)))] * 8
    few, found = compare_cohorts(costs[:1], MEAN, 0.05), compare_cohorts(costs, MEAN, 0.05)
    assert few.lacks is not None
    assert not (few.worse or few.no_worse or few.better)
    assert found.worse
    assert not found.better


def test_adaptive_shares_call_alike_arms_worse_within_alpha() -> None:
    """120 leagues of eight hours, looked at every hour; the share chases the better figure."""
    rng, wrong = np.random.default_rng(9), 0
    for _ in range(120):
        share, hours, called = 0.5, [], False
        for hour in range(8):
            p = 0.02 + 0.02 * (hour % 4)
            mine = int(rng.binomial(800, share))
            k, j = int(rng.binomial(800 - mine, p)), int(rng.binomial(mine, p))
            hours.append(rates(share, (k, 800 - mine), (j, mine)))
            found = compare_cohorts(hours, RATE, 0.05)
            called |= found.worse
            share = 0.15 if j * (800 - mine) > k * mine else 0.85
        wrong += called
    assert wrong <= 0.05 * 120


def test_arms_without_an_error_are_surely_no_worse_in_the_end() -> None:
    """Where nothing varies the normal test never speaks: first values do, cohort by cohort."""
    gate = Gate("error", type="rate", absolute=0.02)
    found = compare_cohorts([rates(0.2, (0, 800), (0, 200))], gate, 0.01)
    assert not (found.worse or found.no_worse or found.better)
    assert found.interval is not None
    hours = [rates(s, (0, 1000), (0, round(1000 * s / (1 - s)))) for s in (0.2, 0.3, 0.4, 0.2)]
    many = compare_cohorts(hours, gate, 0.01)
    assert many.no_worse
    assert not (many.worse or many.better)
    assert many.interval is not None
    assert found.interval[0] < many.interval[0] < 0.0 < many.interval[1] < found.interval[1]


def test_of_one_cohort_first_values_say_what_one_comparison_says() -> None:
    """The same bets, the same wealth, and the same interval."""
    seen, pair = rates(0.3, (3, 70), (9, 30))
    alone, pooled = FirstValueTest(seen, pair, 0.5), FirstValues([(seen, pair)], 0.5)
    for above in (True, False):
        assert pooled.log_e(EVEN, above=above) == pytest.approx(alone.log_e(EVEN, above=above))
    assert pooled.interval(0.05) == pytest.approx(alone.interval(0.05), abs=2e-4)
