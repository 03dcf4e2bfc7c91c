"""What is shown agrees with what is found: no interval that includes what a finding excludes."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import example, given, settings
from hypothesis import strategies as st

from slipway.cohorts import compare_cohorts
from slipway.evidence import BINS, Measured, Sums, Tally
from slipway.gates import Gate, parse
from slipway.inference import Comparison, Pair, compare

KINDS = ((0.0,), (1.0,), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1.0,) * 5)
"""The values of a unit's requests, by its kind."""

Counts = st.tuples(
    st.integers(0, 20_000), st.integers(0, 900), *[st.integers(0, 300)] * (len(KINDS) - 2)
).filter(any)


def arm(counts: Sequence[int]) -> Sums:
    """The sums of so many units of each kind."""
    total = Sums(bins=(0.0,) * (BINS + 1))
    for values, count in zip(KINDS, counts, strict=True):
        one = Tally(0.0, 1.0)
        for value in values:
            one.add("x", "u", value)
        for bit in range(count.bit_length()):
            unit = one.measured().arms["x"]
            for _ in range(bit):
                unit = unit + unit
            total = total + unit if count >> bit & 1 else total
    return total


def gate(kind: str, direction: str, margin: dict[str, float]) -> Gate:
    """A guardrail of values from 0 to 1."""
    made = {"metric": "x", "kind": "guardrail", "type": kind, "direction": direction}
    bounds = {"low": 0.0, "high": 1.0} if kind == "mean" else {}
    return parse({"gate": [{**made, **bounds, "margin": margin}]}).gates[0]


GATES = [
    gate(kind, direction, margin)
    for kind, margin in (
        ("rate", {"relative": 0.0}),
        ("rate", {"relative": 0.1}),
        ("rate", {"absolute": 0.01}),
        ("mean", {"relative": 0.05}),
    )
    for direction in ("lower", "higher")
]


def agrees(found: Comparison, judged: Gate) -> bool:
    """Whether the interval, and the ratio's, are on the side of even on which they were found."""
    good = -1.0 if judged.lower_is_better else 1.0
    even = judged.relative == 0.0
    for ends, middle in ((found.interval, 0.0), (found.ratio, 1.0)):
        low, high = sorted(good * (end - middle) for end in ends) if ends else (0.0, 0.0)
        if (found.better or (found.no_worse and even)) and low < 0.0:
            return False
        if found.worse and high > 0.0:
            return False
    return True


@settings(max_examples=60, deadline=None)
@given(Counts, Counts, st.sampled_from((0.05, 0.5)), st.sampled_from((0.05, 0.006)))
@example((4000, 1000, 0, 0, 0), (4200, 800, 0, 0, 0), 0.5, 0.05)
@example((4200, 800, 0, 0, 0), (4000, 1000, 0, 0, 0), 0.5, 0.05)
@example((100, 60, 0, 0, 0), (140, 20, 0, 0, 0), 0.5, 0.05)
def test_an_interval_never_contradicts_the_finding(
    stable: tuple[int, ...], candidate: tuple[int, ...], share: float, alpha: float
) -> None:
    """Better or worse by any test: then the interval ends at even, or before, in cohorts too."""
    seen = Measured(0.0, 1.0, {"stable": arm(stable), "candidate": arm(candidate)})
    pair = Pair("stable", "candidate", share)
    for judged in GATES:
        assert agrees(compare(seen, judged, pair, alpha, 1.0), judged), judged
        assert agrees(compare_cohorts([(seen, pair)], judged, alpha), judged), judged


def test_a_difference_of_rates_is_one() -> None:
    """With a handful of events a ratio may be anything, a difference is never beyond 1."""
    arms = {}
    for arm, events in (("stable", 2), ("candidate", 2)):
        bins = (float(50 - events), *[0.0] * (BINS - 1), float(events))
        k, n = float(events), 50.0
        arms[arm] = Sums(50, events, n, k, k, k, n, k, k, k, k, n, k, k, bins)
    gate = Gate("error", type="rate", relative=0.5)
    found = compare(Measured(0.0, 1.0, arms), gate, Pair("stable", "candidate", 0.5), 0.05, 1.0)
    assert found.interval is not None
    assert -0.6 < found.interval[0] < 0.0 < found.interval[1] < 0.6
