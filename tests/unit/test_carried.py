"""What exact tests say of units is not said of figures where the two part."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from slipway.carried import (
    events_per_request,
    mean_beside_first,
    plain,
    ratio_beside_units,
    value_variance,
)
from slipway.evidence import Evidence, Measured, Sums, Tally
from slipway.gates import Gate, Gates, Policy
from slipway.league import Place, judge_evidence, stand
from slipway.verdict import Verdict, judge

SHARES = {"stable": 0.5, "candidate": 0.5}
User = Callable[[np.random.Generator], np.ndarray]


def at_random(rate: float, requests: int = 20) -> User:
    """Each request of a user fails by itself."""
    return lambda rng: (rng.random(requests) < rate).astype(float)


def all_or_none(rate: float, requests: int = 20) -> User:
    """Of a user all requests fail, or none."""
    return lambda rng: np.full(requests, float(rng.random() < rate))


def after_the_first(rate: float, requests: int = 10) -> User:
    """A user's first request never fails, the others may."""
    return lambda rng: np.concatenate(([0.0], rng.random(requests - 1) < rate))


def seen(users: int, seed: int, **arms: User) -> Measured:
    """So many users of each arm, one after another."""
    rng, tally = np.random.default_rng(seed), Tally(0.0, 1.0, 0.01)
    for arm, user in arms.items():
        for i in range(users):
            for value in user(rng):
                tally.add(arm, f"{arm} {i}", float(value))
    return tally.measured()


def judged(measured: Measured, users: int, **gate: Any) -> Verdict:
    """The verdict on a gate of errors."""
    gates = Gates(Policy(alpha=0.05), (Gate("error", **gate),))
    units = dict.fromkeys(measured.arms, users)
    return judge(Evidence(units, {"error": measured}, SHARES), gates)


def test_where_each_unit_sends_one_request_they_are_the_same() -> None:
    """Counts of units are counts of requests, first values are all values: nothing is held back."""
    measured = seen(300, 1, stable=at_random(0.1, 1), candidate=at_random(0.2, 1))
    arms = [plain(s, measured.centre) for s in measured.arms.values()]
    assert ratio_beside_units(*arms) == pytest.approx((1.0, 1.0))
    for sums in measured.arms.values():
        assert mean_beside_first(sums) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("user", [at_random(0.05), all_or_none(0.1), at_random(0.4)])
def test_how_far_they_part_is_known_to_within_its_error(user: User) -> None:
    """Events per request over units with an event: 200 draws lie about the truth as told."""
    told = []
    for seed in range(200):
        measured = seen(100, seed, a=user)
        if measured.arms["a"].events:
            told.append(events_per_request(plain(measured.arms["a"], measured.centre)))
    logs = np.array([log for log, _ in told])
    spread = math.sqrt(float(np.mean([variance for _, variance in told])))
    assert spread == pytest.approx(float(logs.std()), rel=0.35, abs=0.01)


@pytest.mark.parametrize("margin", [{"relative": 0.0}, {"relative": 0.2}, {"absolute": 0.005}])
def test_a_few_users_of_whom_all_fails_are_more_than_many_of_whom_little_does(
    margin: dict[str, float],
) -> None:
    """6 % of requests beside 2 % is no pass, though a third as many users saw an error."""
    for seed in range(6):
        users = 500
        measured = seen(users, seed, stable=at_random(0.02), candidate=all_or_none(0.06))
        assert judged(measured, users, **margin).outcome != "pass"
        back = seen(users, seed, stable=all_or_none(0.06), candidate=at_random(0.02))
        assert judged(back, users, **margin).outcome != "fail"


def test_a_member_is_not_out_because_others_errors_lie_with_few_users() -> None:
    """Alike in the rate that the goal is about, all three stay in."""
    goal = Gates(Policy(), (Gate("click", kind="goal", direction="higher", relative=0.0),))
    clicks = seen(500, 3, stable=at_random(0.1), a=at_random(0.1), b=all_or_none(0.1))
    evidence = Evidence(dict.fromkeys(clicks.arms, 500), {"click": clicks})
    told = stand(["a", "b"], goal, judge_evidence(evidence))
    assert [s.place for s in told] == [Place.IN, Place.IN]


@pytest.mark.parametrize("gate", [{"absolute": 0.02}, {"budget": 0.02}, {"limit": 0.05}])
def test_what_fails_after_a_user_s_first_request_is_seen(gate: dict[str, float]) -> None:
    """27 % beside nothing: neither test may pass it, and in the end it fails."""
    few = seen(300, 1, stable=after_the_first(0.001), candidate=after_the_first(0.3))
    assert judged(few, 300, **gate).outcome != "pass"
    many = seen(1500, 1, stable=after_the_first(0.02), candidate=after_the_first(0.3))
    assert judged(many, 1500, **gate).outcome == "fail"


@pytest.mark.parametrize(("stable", "requests"), [(0.05, 20), (0.3, 8)])
def test_at_the_margin_itself_a_rate_does_not_pass(stable: float, requests: int) -> None:
    """Users with an event saturate: their ratio is less than that of the rates."""
    passed = 0
    for seed in range(12):
        worse = at_random(1.3 * stable, requests)
        told = seen(600, seed, stable=at_random(stable, requests), candidate=worse)
        passed += judged(told, 600, relative=0.3).outcome == "pass"
    assert passed <= 1


def test_first_values_that_are_all_alike_leave_a_clock() -> None:
    """The variance of a value is then that of all of them; rounding is no variance."""
    measured = seen(100, 1, a=after_the_first(0.5))
    assert value_variance(measured.arms["a"]) == pytest.approx(0.25, rel=0.2)
    tally = Tally(0.0, 1.0, 0.7)
    for i in range(50):
        tally.add("a", str(i), 0.7)
    assert value_variance(tally.measured().arms["a"]) == 0.0
    assert value_variance(Sums(units=3, n=3.0, first=0.3, first2=0.03 + 1e-18)) == 0.0


def test_a_part_of_a_negative_figure_is_no_margin() -> None:
    """A tenth of a loss has no sign that anybody means: not measured, in words."""
    tally, rng = Tally(None, None, -10.0), np.random.default_rng(1)
    for i in range(400):
        tally.add("stable" if i % 2 else "candidate", str(i), float(rng.normal(-10.0)))
    gates = Gates(Policy(), (Gate("profit", type="mean", direction="higher", relative=0.1),))
    units = {"stable": 200, "candidate": 200}
    told = judge(Evidence(units, {"profit": tally.measured()}, SHARES), gates)
    assert told.outcome == "not_measured"
    assert "give it an absolute one" in told.reason
