"""A closed decision is judged again on later labels, and stands or is contradicted."""

from __future__ import annotations

import pytest

from slipway.errors import UsageError
from slipway.evidence import BINS, Evidence, Measured, Sums
from slipway.gates import parse
from slipway.review import labelled, review
from slipway.verdict import Outcome, Verdict, judge

GATE = {"kind": "guardrail", "type": "rate", "direction": "lower", "margin": {"absolute": 0.05}}
GATES = parse({"gate": [{**GATE, "metric": "wrong", "maturity": 60}, {**GATE, "metric": "error"}]})
LONGER = labelled(GATES, 3600)


def wrong(candidate: int, of: int = 2000) -> Measured:
    """Stable is wrong for 1,000 of 10,000 units; the candidate for so many of its own."""
    arms = {}
    for arm, k, n in (("stable", 1000, 10_000), ("candidate", candidate, of)):
        bins = (float(n - k), *[0.0] * (BINS - 1), float(k))
        arms[arm] = Sums(n, k, n, k, k, k, n, k, k, k, k, n, k, k, bins)
    return Measured(0.0, 1.0, arms)


def seen(candidate: int) -> Evidence:
    """Evidence of both gates; nobody has errors to speak of."""
    return Evidence(
        {"stable": 10_000, "candidate": 2000},
        {"wrong": wrong(candidate), "error": wrong(200)},
        {"stable": 5 / 6, "candidate": 1 / 6},
    )


def decided(candidate: int) -> Verdict:
    """The verdict on the labels that came in time."""
    return judge(seen(candidate), GATES)


def test_only_gates_that_wait_for_labels_are_asked_again() -> None:
    """Their window is longer, and alpha is theirs alone."""
    assert [(g.name, g.maturity) for g in LONGER.gates] == [("wrong", 3600)]
    assert LONGER.alpha(LONGER.gates[0]) == GATES.policy.alpha


@pytest.mark.parametrize(
    ("before", "after", "stands"),
    [(200, 205, True), (200, 600, False), (600, 610, True), (600, 200, False), (600, 290, True)],
)
def test_a_decision_stands_until_labels_contradict_it(
    before: int, after: int, stands: bool
) -> None:
    """A pass falls where the candidate is worse, a failure only where it is surely no worse."""
    closed = decided(before)
    assert closed.outcome is (Outcome.PASS if before == 200 else Outcome.FAIL)
    found = review(closed, seen(after), LONGER)
    assert found.stands is stands
    assert f"the {closed.outcome}" in found.reason


def test_a_failure_for_another_reason_stands() -> None:
    """Errors rolled it back; that its answers turned out right does not undo that."""
    bad = Evidence(
        {"stable": 10_000, "candidate": 2000}, {"wrong": wrong(200), "error": wrong(900)}
    )
    closed = judge(bad, GATES)
    assert closed.outcome is Outcome.FAIL
    assert review(closed, seen(200), LONGER).stands


def test_a_review_without_data_says_that_nothing_was_measured() -> None:
    """Requests that are no longer kept can neither confirm a decision nor contradict it."""
    found = review(decided(200), Evidence({}, {}), LONGER)
    assert found.stands is None
    assert found.reason.startswith("whether the pass stands was not measured")


def test_what_cannot_be_reviewed_is_refused() -> None:
    """No late labels, no longer wait, no decision: each in its words."""
    with pytest.raises(UsageError, match="sees nothing new"):
        labelled(GATES, 60)
    with pytest.raises(UsageError, match="no gate waits for labels"):
        labelled(parse({"gate": [{**GATE, "metric": "error"}]}), 60)
    closed = judge(seen(270), GATES)
    assert closed.outcome is Outcome.INCONCLUSIVE
    with pytest.raises(UsageError, match="decided nothing"):
        review(closed, seen(600), LONGER)
