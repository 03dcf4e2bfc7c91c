"""Verdicts: the four outcomes, each with its reason, and never a pass for what was not measured."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from slipway.errors import UsageError
from slipway.evidence import BINS, Evidence, Measured, Sums, Tally
from slipway.gates import Gates, parse
from slipway.verdict import Finding, Outcome, Verdict, judge

SHARES = {"stable": 0.9, "candidate": 0.1}


def gates(*changes: Mapping[str, Any], **policy: Any) -> Gates:
    """Gates that differ from a plain error guardrail by these changes."""
    plain = {
        "metric": "error", "kind": "guardrail", "type": "rate", "direction": "lower",
        "margin": {"relative": 0.0},
    }  # fmt: skip
    made = [{**plain, **change} for change in changes or ({},)]
    for gate in made:
        if "budget" in gate:
            del gate["margin"]
    return parse({"policy": policy, "gate": made})


def rate(stable: tuple[int, int], candidate: tuple[int, int]) -> Measured:
    """(events, units) of each arm, one request a unit."""
    arms = {}
    for arm, (k, n) in (("stable", stable), ("candidate", candidate)):
        bins = (float(n - k), *[0.0] * (BINS - 1), float(k))
        if n:
            arms[arm] = Sums(n, k, n, k, k, k, n, k, k, k, k, n, k, k, bins)
    return Measured(0.0, 1.0, arms)


def mean(stable: list[float], candidate: list[float], high: float | None = 1.0) -> Measured:
    """One value a unit."""
    tally = Tally(0.0 if high else None, high)
    for arm, values in (("stable", stable), ("candidate", candidate)):
        for unit, value in enumerate(values):
            tally.add(arm, f"{arm}{unit}", value)
    return tally.measured()


def evidence(shares: Mapping[str, float] | None = None, **metrics: Measured) -> Evidence:
    """Evidence of some metrics, all of whose units were measured."""
    arms = next(iter(metrics.values())).arms
    units = {arm: sums.units for arm, sums in arms.items()}
    return Evidence(units, metrics, SHARES if shares is None else shares)


BAD, SAME = rate((9, 1800), (12, 200)), rate((90, 18000), (10, 2000))


def test_more_errors_than_allowed_fail() -> None:
    """A guardrail that is worse fails the candidate, and says by what."""
    verdict = judge(evidence(error=BAD), gates())
    assert verdict.outcome is Outcome.FAIL
    assert verdict.gates[0].outcome is Finding.WORSE
    assert verdict.gates[0].e_value >= 1.0 / 0.05
    assert "error 0.06 against stable's 0.005" in verdict.reason
    low, _ = verdict.gates[0].interval or (0.0, 0.0)
    assert low > 0.0
    assert verdict.more_units is None


def test_a_rate_is_told_as_a_ratio_as_well() -> None:
    """Twelve in 200 against nine in 1,800: twelve times, and surely above once; as the effect."""
    found = judge(evidence(error=BAD), gates()).gates[0]
    assert found.ratio is not None
    assert found.ratio[0] > 1.0
    assert found.ratio[0] < 12.0 < found.ratio[1]
    assert found.interval is not None
    assert found.interval[0] > 0.0
    assert judge(evidence(error=SAME), gates({"budget": 0.1})).gates[0].ratio is None


def test_the_same_rate_is_inconclusive_at_no_margin() -> None:
    """Equality cannot be proved to the last digit; more units are asked for."""
    verdict = judge(evidence(error=SAME), gates())
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.gates[0].outcome is Finding.UNDECIDED
    assert verdict.reason == verdict.gates[0].reason


def test_the_same_rate_passes_within_a_margin() -> None:
    """Half as many errors again would have shown."""
    verdict = judge(evidence(error=SAME), gates({"margin": {"relative": 2.0}}))
    assert verdict.outcome is Outcome.PASS
    assert verdict.gates[0].outcome is Finding.NO_WORSE


def test_a_budget_asks_little_of_a_small_share_and_all_of_promotion() -> None:
    """The same evidence carries a small next share, and not the whole."""
    chosen = gates({"budget": 0.005})
    seen = evidence({"stable": 0.5, "candidate": 0.5}, error=rate((5, 1000), (5, 1000)))
    small, whole = (judge(seen, chosen, next_share=w) for w in (0.1, 1.0))
    assert small.outcome is Outcome.PASS
    assert (
        "no worse within a margin of 0.05 (the budget 0.005 at the next share 0.1)" in small.reason
    )
    assert whole.outcome is Outcome.INCONCLUSIVE
    assert 0.1 < whole.share < 1.0
    at_share = judge(seen, chosen, next_share=whole.share * 0.999)
    assert at_share.outcome is Outcome.PASS


def test_harm_beyond_the_whole_budget_fails_at_any_share() -> None:
    """A candidate that can never be promoted is not kept because few meet it."""
    seen = evidence({"stable": 0.99, "candidate": 0.01}, error=rate((15, 3000), (12, 40)))
    assert judge(seen, gates({"budget": 0.02}), next_share=0.05).outcome is Outcome.FAIL


def test_a_broken_probability_is_called_worse_within_forty_units() -> None:
    """A Brier score that is higher by 0.25, at one per cent of the traffic."""
    rng = random.Random(4)
    stable = [rng.betavariate(1.5, 8) for _ in range(3000)]
    candidate = [min(rng.betavariate(1.5, 8) + 0.25, 1.0) for _ in range(40)]
    seen = evidence({"stable": 0.99, "candidate": 0.01}, error=mean(stable, candidate))
    verdict = judge(seen, gates({"type": "mean", "budget": 0.03}), next_share=0.05, part=0.2)
    assert verdict.outcome is Outcome.FAIL


def test_what_has_no_data_is_not_measured() -> None:
    """No traffic, no metric, no candidate: never a pass."""
    only_stable = rate((1, 100), (0, 0))
    for seen in (
        Evidence({}, {}),
        Evidence({"stable": 90, "candidate": 10}, {}, SHARES),
        Evidence({"stable": 90, "candidate": 10}, {"error": only_stable}, SHARES),
        Evidence({"stable": 90, "candidate": 10}, {"error": Measured(0, 1, {})}, SHARES),
    ):
        verdict = judge(seen, gates())
        assert verdict.outcome is Outcome.NOT_MEASURED
        assert verdict.gates[0].outcome is Finding.NOT_MEASURED
    assert (
        "no data of candidate"
        in judge(
            Evidence({"stable": 90, "candidate": 10}, {"error": only_stable}, SHARES), gates()
        ).reason
    )


def test_missing_may_be_declared_a_failure() -> None:
    """Where a gate says so, silence is worse."""
    seen = Evidence({"stable": 90, "candidate": 10}, {}, SHARES)
    assert judge(seen, gates({"missing": "fail"})).outcome is Outcome.FAIL


def test_silence_says_nothing_before_enough_was_asked() -> None:
    """Before the first request, and while no label can have come, nothing is missing yet."""
    chosen = gates({"missing": "fail", "min_units": 50})
    asked = {"stable": 900, "candidate": 100}
    immature = Measured(0, 1, {}, requests={})
    for seen in (
        Evidence({}, {}, SHARES),
        Evidence({"stable": 441, "candidate": 49}, {}, SHARES),
        Evidence(asked, {"error": immature}, SHARES),
    ):
        assert judge(seen, chosen).outcome is Outcome.NOT_MEASURED
    silent = Measured(0, 1, {}, requests=asked)
    assert judge(Evidence(asked, {"error": silent}, SHARES), chosen).outcome is Outcome.FAIL


def test_an_uneven_split_is_no_missing_data() -> None:
    """Where fewer units of one arm were measured than chance explains, nothing is compared."""
    uneven = evidence({"stable": 0.5, "candidate": 0.5}, error=rate((9, 1800), (1, 200)))
    verdict = judge(uneven, gates({"missing": "fail"}))
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert "sample-ratio mismatch" in verdict.reason


def test_a_quantile_is_not_missing_before_its_threshold_is_fixed() -> None:
    """Its first values are still being gathered."""
    chosen = gates({"missing": "fail", "type": "quantile", "q": 0.99})
    seen = Evidence({"stable": 900, "candidate": 100}, {}, SHARES)
    assert judge(seen, chosen).outcome is Outcome.NOT_MEASURED


def test_one_unmeasured_gate_holds_what_another_passed() -> None:
    """The overall outcome is that of the worst news."""
    chosen = gates({"margin": {"relative": 2.0}}, {"metric": "slow"})
    verdict = judge(evidence(error=SAME), chosen)
    assert [g.outcome for g in verdict.gates] == [Finding.NO_WORSE, Finding.NOT_MEASURED]
    assert verdict.outcome is Outcome.NOT_MEASURED


def test_too_few_units_decide_nothing() -> None:
    """Not even what is plain."""
    verdict = judge(evidence(error=BAD), gates({"min_units": 201}))
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert "an arm has fewer than 201 units" in verdict.reason


def test_a_signal_holds_and_does_not_fail() -> None:
    """Worse, it waits for a person; undecided, it lets the rollout move on."""
    worse = judge(evidence(error=BAD), gates({"kind": "signal"}))
    assert worse.outcome is Outcome.INCONCLUSIVE
    assert "a signal holds the rollout" in worse.reason
    assert judge(evidence(error=SAME), gates({"kind": "signal"})).outcome is Outcome.PASS


def test_a_goal_is_demanded_of_the_promotion_only() -> None:
    """Undecided, it lets the share grow but not to all users; better, it is promoted."""
    chosen = gates({"kind": "goal"})
    assert judge(evidence(error=SAME), chosen, next_share=0.5).outcome is Outcome.PASS
    assert judge(evidence(error=SAME), chosen, next_share=1.0).outcome is Outcome.INCONCLUSIVE
    better = evidence(error=rate((900, 18000), (20, 2000)))
    verdict = judge(better, chosen)
    assert verdict.outcome is Outcome.PASS
    assert verdict.gates[0].outcome is Finding.BETTER
    assert judge(evidence(error=BAD), chosen, next_share=0.5).outcome is Outcome.FAIL


def test_higher_may_be_better() -> None:
    """Fewer successes are worse, more are better."""
    chosen = gates({"direction": "higher"})
    fewer, more = rate((900, 1800), (40, 200)), rate((900, 1800), (160, 200))
    assert judge(evidence(error=fewer), chosen).gates[0].outcome is Finding.WORSE
    assert judge(evidence(error=more), chosen).gates[0].outcome is Finding.BETTER


def test_a_split_that_does_not_fit_the_shares_is_not_compared() -> None:
    """A sample-ratio mismatch says that the arms' users are not alike."""
    odd = rate((50, 10000), (10, 2000))
    verdict = judge(evidence(error=odd), gates({"margin": {"relative": 2.0}}))
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert (
        "sample-ratio mismatch: units are 10000 of stable and 2000 of candidate" in verdict.reason
    )


def test_values_that_come_for_one_arm_more_often_are_not_compared() -> None:
    """The units are split as declared, but those with the metric are not."""
    seen = evidence(error=rate((50, 9000), (5, 400)))
    seen = replace(seen, units={"stable": 9000, "candidate": 1000})
    verdict = judge(seen, gates({"margin": {"relative": 5.0}}))
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert "units with error are 9000 of stable and 400 of candidate" in verdict.reason


def test_units_in_two_arms_stop_the_comparison() -> None:
    """A few are left out; more than one in a hundred are a fault of the assignment."""
    seen = evidence(error=SAME)
    chosen = gates({"margin": {"relative": 2.0}})
    assert judge(replace(seen, crossed=100), chosen).outcome is Outcome.PASS
    verdict = judge(replace(seen, crossed=1000), chosen)
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert "1000 units were seen in more than one arm" in verdict.reason


def test_too_small_a_part_with_a_value_is_not_measured() -> None:
    """Labels for a tenth of the requests are no basis where half was demanded."""
    covered = replace(SAME, requests={"stable": 180000, "candidate": 20000})
    verdict = judge(evidence(error=covered), gates({"coverage": 0.5}))
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert "measured for 18000 of 180000 requests of stable" in verdict.reason


def test_few_values_without_bounds_decide_nothing() -> None:
    """No exact test is known for them, and the normal one is not trusted yet."""
    seen = evidence(
        {"stable": 0.5, "candidate": 0.5}, error=mean([1.0, 2.0] * 9, [5.0, 6.0] * 9, None)
    )
    verdict = judge(seen, gates({"type": "mean"}))
    assert verdict.gates[0].outcome is Finding.UNDECIDED
    assert verdict.gates[0].interval is None


def test_many_values_without_bounds_are_compared() -> None:
    """A mean cost that is higher by three tenths is found, and its interval holds it."""
    rng = random.Random(1)
    stable, candidate = ([rng.expovariate(1 / m) for _ in range(2500)] for m in (1.0, 1.3))
    seen = evidence({"stable": 0.5, "candidate": 0.5}, error=mean(stable, candidate, None))
    result = judge(seen, gates({"type": "mean"})).gates[0]
    assert result.outcome is Finding.WORSE
    assert result.interval is not None
    assert result.interval[0] < 0.3 < result.interval[1]


def test_a_verdict_is_read_back_from_its_record() -> None:
    """Also from JSON text, and also where nothing was measured."""
    for seen in (evidence(error=BAD), evidence(error=SAME), Evidence({}, {})):
        verdict = judge(seen, gates({}, {"metric": "slow"}), look=7)
        text = json.dumps(verdict.record(), allow_nan=False)
        assert Verdict.from_record(json.loads(text)) == verdict


def test_alpha_is_split_over_gates_and_parts() -> None:
    """Two gates, in a step that may spend a fifth."""
    verdict = judge(evidence(error=BAD), gates({}, {"metric": "slow"}), part=0.2)
    assert [g.alpha for g in verdict.gates] == pytest.approx([0.005, 0.005])


@pytest.mark.parametrize("change", [{"next_share": 0.0}, {"next_share": 1.5}, {"part": 0.0}])
def test_shares_and_parts_outside_0_to_1_are_refused(change: dict[str, float]) -> None:
    """The message names the argument."""
    with pytest.raises(UsageError, match=next(iter(change))):
        judge(evidence(error=SAME), gates(), **change)


def test_an_undecided_verdict_estimates_what_it_needs() -> None:
    """With that many units and the same effect, it would be decided."""
    chosen = gates({"type": "mean", "margin": {"absolute": 0.02}})
    rng = random.Random(3)

    def seen(n: int) -> Evidence:
        values = [[rng.betavariate(2, 6) for _ in range(n)] for _ in range(2)]
        return evidence({"stable": 0.5, "candidate": 0.5}, error=mean(*values))

    verdict = judge(seen(300), chosen)
    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.more_units is not None
    assert 100 < verdict.more_units < 4000
    assert judge(seen(300 + 3 * verdict.more_units), chosen).outcome is Outcome.PASS


def test_e_values_beyond_floats_are_still_json() -> None:
    """A hundred thousand errors against none."""
    seen = evidence({"stable": 0.5, "candidate": 0.5}, error=rate((1, 9000), (9000, 9000)))
    record = judge(seen, gates()).record()
    assert math.isfinite(record["gates"][0]["e_value"])
    json.dumps(record, allow_nan=False)
