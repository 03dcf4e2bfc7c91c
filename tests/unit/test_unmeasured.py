"""Why a gate is not measured is told as it is."""

from __future__ import annotations

import pytest

from slipway.evidence import Evidence, Tails
from slipway.gates import Gate, Gates, Policy
from slipway.verdict import Outcome, judge

UNITS = {"stable": 600, "candidate": 200}


@pytest.mark.parametrize(
    ("metrics", "told"),
    [
        (
            {"latency p99": Tails.awaited(0.99, 800, 5000)},
            "it waits for the first 5000 values of all arms together, which say where to compare, "
            "and there are 800",
        ),
        ({}, "too few values to say where to compare"),
    ],
)
def test_a_quantile_that_waits_is_not_told_to_have_no_data(
    metrics: dict[str, Tails], told: str
) -> None:
    """There may be data of both arms, and is too little to say where to compare."""
    gate = Gate("latency", type="quantile", q=0.99, relative=0.1, missing="fail")
    verdict = judge(Evidence(UNITS, metrics), Gates(Policy(), (gate,)))
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert verdict.reason == f"latency p99 was not measured: {told}"
