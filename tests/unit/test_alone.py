"""One arm by itself, held against a limit: valid at every look, and it decides."""

from __future__ import annotations

import random

import pytest

from slipway.alone import compare_alone
from slipway.evidence import Evidence, Tally
from slipway.gates import Gate, parse
from slipway.verdict import Finding, Outcome, judge

LIMIT = 0.05


def _gates(**changes):
    gate = {"metric": "error", "kind": "guardrail", "type": "rate", "direction": "lower"}
    return parse({"gate": [{**gate, "limit": LIMIT, **changes}]})


def _tally(rate: float, units: int, seed: int, each: int = 1) -> Tally:
    draw, tally = random.Random(seed), Tally(0.0, 1.0)
    for unit in range(units):
        for _ in range(each):
            tally.add("candidate", str(unit), float(draw.random() < rate))
    return tally


def _seen(tally: Tally, units: int) -> Evidence:
    return Evidence({"candidate": units}, {"error": tally.measured()}, {"candidate": 1.0})


@pytest.mark.parametrize(
    ("rate", "outcome"), [(0.01, Outcome.PASS), (0.2, Outcome.FAIL), (0.05, Outcome.INCONCLUSIVE)]
)
def test_a_rate_is_surely_within_its_limit_surely_beyond_it_or_neither(
    rate: float, outcome: Outcome
) -> None:
    """Without a single request of stable: none is needed to hold an arm against a limit."""
    verdict = judge(_seen(_tally(rate, 1500, 1), 1500), _gates())
    assert verdict.outcome is outcome
    (told,) = verdict.gates
    assert told.interval is not None
    assert told.interval[0] <= told.effect <= told.interval[1]
    assert "at a limit of 0.05" in told.reason


def test_a_few_units_are_judged_exactly() -> None:
    """Where the normal approximation may not be trusted, the bets on first values speak."""
    verdict = judge(_seen(_tally(0.9, 12, 2), 12), _gates())
    assert verdict.outcome is Outcome.FAIL
    assert "surely beyond it" in verdict.reason


def test_a_rate_at_its_limit_is_seldom_called_beyond_it_at_any_of_many_looks() -> None:
    """The false alarms of 200 runs of 40 looks stay below alpha, within what chance allows."""
    alarms = 0
    for seed in range(200):
        draw, tally = random.Random(seed), Tally(0.0, 1.0)
        for unit in range(400):
            tally.add("candidate", str(unit), float(draw.random() < LIMIT))
            if unit % 10 == 9:
                found = judge(_seen(tally, unit + 1), _gates(), intervals=False)
                if found.outcome is Outcome.FAIL:
                    alarms += 1
                    break
    assert alarms <= 16  # of a binomial(200, 0.05), more comes once in 30 times at full alpha


def test_no_data_of_the_arm_is_not_measured() -> None:
    """A limit that nothing was held against has not been kept."""
    verdict = judge(Evidence({"candidate": 10}, {}, {"candidate": 1.0}), _gates())
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert verdict.gates[0].outcome is Finding.NOT_MEASURED


def test_a_mean_without_bounds_waits_until_it_may_be_trusted() -> None:
    """It says how many units it lacks, and decides when they are there."""
    gates = _gates(type="mean", limit=10.0)
    draw, tally = random.Random(3), Tally()
    for unit in range(30):
        tally.add("candidate", str(unit), draw.gauss(5.0, 1.0))
    few = judge(_seen(tally, 30), gates)
    assert few.outcome is Outcome.INCONCLUSIVE
    assert "effective units" in few.reason
    for unit in range(30, 600):
        tally.add("candidate", str(unit), draw.gauss(5.0, 1.0))
    assert judge(_seen(tally, 600), gates).outcome is Outcome.PASS


@pytest.mark.parametrize(("direction", "perfect"), [("lower", 0.0), ("higher", 1.0)])
def test_a_limit_at_the_bound_is_broken_by_a_value_off_it_and_by_nothing_else(
    direction: str, perfect: float
) -> None:
    """A perfect candidate is not beyond a limit that it keeps; one bad answer is enough."""
    chosen = Gate("error", type="rate", direction=direction, limit=perfect)
    tally = Tally(0.0, 1.0)
    for unit in range(20):
        tally.add("candidate", str(unit), perfect)
    kept = compare_alone(tally.measured(), chosen, "candidate", 0.05)
    assert not kept.worse
    tally.add("candidate", "20", 1.0 - perfect)
    assert compare_alone(tally.measured(), chosen, "candidate", 0.05).worse


@pytest.mark.parametrize(("limit", "worse"), [(-0.1, True), (1.1, False)])
def test_a_limit_beyond_the_bounds_is_known_beforehand(limit: float, worse: bool) -> None:
    """No mean of zeros and ones is at most -0.1, and each is at most 1.1."""
    chosen = Gate("error", type="rate", direction="lower", limit=limit)
    tally = Tally(0.0, 1.0)
    tally.add("candidate", "one", 0.0)
    told = compare_alone(tally.measured(), chosen, "candidate", 0.05)
    assert (told.worse, told.no_worse) == (worse, not worse)
