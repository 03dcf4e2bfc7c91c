"""A league: who goes out, who wins, and what shares follow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.errors import UsageError
from slipway.evidence import Evidence, Measured, Sums, together
from slipway.gates import Gates, parse
from slipway.league import (
    Place,
    Standing,
    conclude,
    contested,
    goal_of,
    judge_evidence,
    next_shares,
    parts,
    stand,
)
from slipway.verdict import Finding, GateResult, Outcome, Verdict

ERRORS = {"metric": "error", "kind": "guardrail", "type": "rate", "direction": "lower",
          "margin": {"relative": 1.0}}  # fmt: skip
CLICKS = {"metric": "click", "kind": "goal", "type": "rate", "direction": "higher",
          "margin": {"relative": 0.0}}  # fmt: skip
UNITS = 8000


def gates(*more: dict[str, Any], margin: float = 0.0) -> Gates:
    """Errors must be no worse by as much again; clicks are the goal."""
    return parse({"gate": [ERRORS, {**CLICKS, "margin": {"relative": margin}}, *more]})


def rate(**arms: tuple[int, int]) -> Measured:
    """(events, units) of each arm, one request a unit."""
    told = {arm: Sums(n, k, n, k, k, k, n, k, k, k, k, n, k, k) for arm, (k, n) in arms.items()}
    return Measured(0.0, 1.0, told)


def seen(units: int = UNITS, **arms: tuple[float, float]) -> Evidence:
    """(clicks, errors) in percent of as many units of each arm; stable has 5 and 1."""
    rates = {"stable": (5.0, 1.0), **arms}
    counts = dict.fromkeys(rates, units)
    metrics = {
        name: rate(**{arm: (round(units * told[i] / 100), units) for arm, told in rates.items()})
        for i, name in enumerate(("click", "error"))
    }
    return Evidence(counts, metrics, {arm: 1.0 / len(rates) for arm in rates})


def places(standings: Sequence[Standing]) -> dict[str, str]:
    """Member to place, in the order of the standings."""
    return {s.member: str(s.place) for s in standings}


def standings(
    evidence: Evidence, members: Sequence[str] = ("a", "b", "c"), **how: Any
) -> tuple[Standing, ...]:
    """The standings by clicks, with a margin of ``margin``."""
    return stand(members, gates(margin=how.pop("margin", 0.0)), judge_evidence(evidence), **how)


def test_the_best_wins_and_those_it_beats_go_out() -> None:
    """Better than stable, and than every other: each is told why."""
    told = standings(seen(a=(6.0, 1.0), b=(12.0, 1.0), c=(5.0, 1.0)))
    assert places(told) == {"b": "wins", "a": "out", "c": "out"}
    assert told[0].reason.endswith("no other is in")
    assert "worse than b: click" in told[1].reason
    assert told[0].against["a"].outcome == "better"


def test_who_harms_goes_out_though_it_leads_the_goal() -> None:
    """A guardrail comes before the goal, and what a failed member does better beats nobody."""
    told = standings(seen(a=(20.0, 6.0), b=(9.0, 1.0), c=(9.2, 1.0)))
    assert places(told) == {"c": "in", "b": "in", "a": "out"}
    assert told[2].verdict.outcome is Outcome.FAIL
    assert "error" in told[2].reason


def test_two_that_are_alike_wait_unless_the_margin_says_they_are() -> None:
    """No worse than each other within the goal's margin: the one that is ahead wins."""
    alike = seen(20_000, a=(9.0, 1.0), b=(9.1, 1.0))
    waiting = standings(alike, ("a", "b"))
    assert places(waiting) == {"b": "in", "a": "in"}
    assert "passes against stable; against a: click" in waiting[0].reason
    near = standings(alike, ("a", "b"), margin=0.2)
    assert next(s for s in near if s.member == "b").place is Place.WINS
    assert near[0].member == "b"
    assert "surely no worse than a" in near[0].reason


def test_nobody_wins_before_a_newcomer_is_measured() -> None:
    """It has to earn its place, and so has who leads, against it."""
    told = standings(seen(a=(12.0, 1.0)), ("a", "new"))
    assert places(told) == {"a": "in", "new": "in"}
    assert told[1].verdict.outcome is Outcome.NOT_MEASURED
    assert "against new: click was not measured" in told[0].reason


@pytest.mark.parametrize("most", range(2, 9))
def test_all_comparisons_together_spend_alpha(most: int) -> None:
    """Half with stable, half among members, counted both ways."""
    for_stable, for_each = parts(most)
    assert most * for_stable == pytest.approx(0.5)
    assert most * (most - 1) * for_each == pytest.approx(0.5)
    assert parts(1) == (1.0, 0.0)


def test_places_kept_for_newcomers_are_paid_for() -> None:
    """A league that may have five members gives each a fifth, however few there are yet."""
    told = standings(seen(a=(6.0, 1.0)), ("a",), most=5)
    assert told[0].verdict.gates[0].alpha == pytest.approx(0.05 / 2 * 0.1)
    with pytest.raises(UsageError, match="3 members are in a league that may have 2"):
        standings(seen(), most=2)


def test_a_league_has_one_goal_that_is_no_quantile() -> None:
    """Its members must know what they compete for."""
    quantile = {**CLICKS, "metric": "latency", "type": "quantile", "q": 0.9, "direction": "lower"}
    second = {**CLICKS, "metric": "score", "type": "mean", "margin": {"absolute": 0.0}}
    for wrong in ([ERRORS], [ERRORS, quantile], [CLICKS, second]):
        assert not contested(parse({"gate": wrong}))
        with pytest.raises(UsageError, match="needs one goal"):
            goal_of(parse({"gate": wrong}))
    assert goal_of(gates()).metric == "click"


def test_cohorts_are_judged_together() -> None:
    """An arm that had most of its units in a bad hour is not blamed for it."""
    good, bad = seen(2000, a=(5.0, 1.0)), seen(2000, stable=(1.0, 1.0), a=(1.0, 1.0))
    hours = []
    for hour, (stable, a) in ((good, (9, 1)), (bad, (1, 9))):
        arms = {"stable": stable, "a": a}
        units = {arm: 200 * part for arm, part in arms.items()}
        metrics = {}
        for name in ("click", "error"):
            shown = hour.metrics[name]
            assert isinstance(shown, Measured)
            part = {arm: shown.arms[arm].events / 2000 for arm in arms}
            metrics[name] = rate(**{arm: (round(n * part[arm]), n) for arm, n in units.items()})
        hours.append(Evidence(units, metrics, {arm: p / 10 for arm, p in arms.items()}))
    told = standings(together(hours), ("a",))
    assert places(told) == {"a": "in"}
    summed = {arm: hours[0].units[arm] + hours[1].units[arm] for arm in ("stable", "a")}
    clicks = rate(stable=(92, summed["stable"]), a=(28, summed["a"]))
    both = Evidence(summed, {**hours[0].metrics, "click": clicks}, {"stable": 0.5, "a": 0.5})
    assert places(standings(both, ("a",))) == {"a": "out"}  # what summing would say


def test_units_that_do_not_fit_their_cohorts_shares_are_no_evidence() -> None:
    """Each cohort's split is doubted by itself, and the doubts multiply."""
    fits, odd = seen(a=(5.0, 1.0)), seen(a=(5.0, 1.0))
    odd = Evidence({"stable": 8000, "a": 7300}, odd.metrics, odd.shares)
    (told,) = standings(together([fits, odd]), ("a",))
    assert told.verdict.outcome is Outcome.NOT_MEASURED
    assert "do not fit the shares of their 2 route tables" in told.reason


def test_the_standings_come_down_to_one_member() -> None:
    """First who is out, then who wins, else who is ahead: it is the strategy's to act on."""
    releases = {"a": "A", "b": "B", "c": "C"}
    told = standings(seen(a=(6.0, 1.0), b=(12.0, 1.0), c=(5.0, 1.0)))
    said = conclude(told, releases)
    assert (said.outcome, said.release) == (Outcome.FAIL, "A")
    assert said.reason.startswith("a: worse than b")
    assert [s["release"] for s in said.record()["standings"]] == ["B", "A", "C"]
    won = conclude(standings(seen(b=(12.0, 1.0)), ("b",)), releases)
    assert (won.outcome, won.release) == (Outcome.PASS, "B")
    ahead = conclude(standings(seen(a=(9.0, 1.0), b=(9.1, 1.0)), ("a", "b")), releases)
    assert (ahead.outcome, ahead.release) == (Outcome.INCONCLUSIVE, "B")
    nobody = conclude(standings(seen(), ("c",)), releases)
    assert (nobody.outcome, nobody.release) == (Outcome.NOT_MEASURED, "C")


def known(member: str, effect: float, width: float, place: Place) -> Standing:
    """A standing of which only the goal's figure is told."""
    interval = (effect - width, effect + width)
    found = GateResult("click", "goal", Finding.UNDECIDED, effect, interval, 1.0, (9, 9), 0.0,
                       0.05, "told")  # fmt: skip
    verdict = Verdict(Outcome.INCONCLUSIVE, "told", (found,), 1, (9, 9))
    return Standing(member, place, verdict, {}, "told")


FIGURE = st.tuples(st.floats(-0.1, 0.1), st.floats(1e-4, 0.1), st.sampled_from(Place))


@given(st.lists(FIGURE, min_size=1, max_size=6), st.floats(0.0, 0.08))
def test_shares_add_up_and_follow_the_figures(
    figures: list[tuple[float, float, Place]], floor: float
) -> None:
    """All of the total is given out, each gets its floor, who is out gets nothing."""
    told = [known(f"m{i}", *figure) for i, figure in enumerate(figures)]
    inside = {s.member for s in told if s.place is not Place.OUT}
    shares = next_shares(told, gates(), 0.5, floor)
    assert set(shares) == inside
    if inside:
        assert sum(shares.values()) == pytest.approx(0.5)
        assert min(shares.values()) >= floor - 1e-9


@given(st.lists(st.floats(-0.1, 0.1), min_size=2, max_size=6), st.floats(1e-3, 0.1))
def test_of_figures_as_sure_the_best_gets_most(effects: list[float], width: float) -> None:
    """And all get the same where nothing is known of one of them yet."""
    told = [known(f"m{i}", effect, width, Place.IN) for i, effect in enumerate(effects)]
    shares = next_shares(told, gates(), 0.5, 0.02)
    assert shares[f"m{effects.index(max(effects))}"] == max(shares.values())
    new = stand(["new"], gates(), judge_evidence(seen()))
    assert len(set(next_shares([*told, *new], gates(), 0.7, 0.02).values())) == 1


def test_floors_fit_into_the_total() -> None:
    """More members than their floors allow is an error, not a smaller floor."""
    told = standings(seen(a=(5.0, 1.0), b=(5.0, 1.0), c=(5.0, 1.0)))
    with pytest.raises(UsageError, match="3 members at a floor"):
        next_shares(told, gates(), 0.5, 0.2)
    assert next_shares(told, gates(), 0.6, 0.2) == pytest.approx({"a": 0.2, "b": 0.2, "c": 0.2})
