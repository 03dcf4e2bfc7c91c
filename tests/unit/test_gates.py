"""gates.toml is parsed, checked whole, and frozen; its schema says the same as its parser."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from slipway.errors import ExpectationError
from slipway.gates import Border, Gate, Gates, parse
from slipway.metrics import of_step

GATE = {
    "metric": "error",
    "kind": "guardrail",
    "type": "rate",
    "direction": "lower",
    "margin": {"relative": 0.0},
}


def test_each_kind_of_step_has_its_gates() -> None:
    """Copies are held to limits, pairs among them; users to all but pairs."""
    rate = {"kind": "guardrail", "type": "rate", "direction": "lower"}
    chosen = parse(
        {
            "gate": [
                {**rate, "metric": "error", "budget": 0.1},
                {**rate, "metric": "slow", "limit": 0.1, "options": {"over_ms": 9}},
                {**rate, "metric": "disagreement", "limit": 0.1},
            ]
        }
    )
    of = {mirrors: [g.metric for g in of_step(chosen, mirrors).gates] for mirrors in (True, False)}
    assert of == {True: ["slow", "disagreement"], False: ["error", "slow"]}


def refused(raw: dict[str, Any]) -> str:
    """What parsing says of faulty gates."""
    with pytest.raises(ExpectationError) as caught:
        parse(raw)
    return caught.value.what


def test_defaults_are_the_documented_ones() -> None:
    """A gate that says only what it must gets the defaults."""
    gates = parse({"gate": [GATE]})
    assert gates.policy.alpha == 0.05
    assert gates.policy.on_inconclusive == "rollback"
    assert gates.gates == (Gate(metric="error", relative=0.0),)
    assert (gates.gates[0].missing, gates.gates[0].min_units) == ("not_measured", 1)


def test_every_fault_is_named_with_its_path_and_what_is_allowed() -> None:
    """Eight faults, one message."""
    told = refused(
        {
            "policy": {"alpha": 1.5, "on_inconclusive": "wait", "colour": 1},
            "gate": [
                {**GATE, "kind": "fence", "margin": {"relative": -0.1}, "min_units": 0},
                {"metric": "cost", "type": "mean", "kind": "goal", "budget": 1, "margin": {}},
            ],
            "gates": [],
        }
    )
    for part in (
        "policy.alpha: found 1.5 (allowed: a number between 0 and 1, both excluded)",
        "policy.on_inconclusive: found 'wait' (allowed: one of rollback, hold, extend)",
        "policy.colour: unknown (allowed: alpha, ",
        "gate.0.kind: found 'fence' (allowed: one of guardrail, signal, goal)",
        "gate.0.margin.relative: found -0.1 (allowed: a number from 0",
        "gate.0.min_units: found 0 (allowed: a whole number from 1)",
        "gate.1.direction: missing",
        "gate.1: give one of margin, budget, limit",
        "gates: unknown (allowed: policy, gate)",
    ):
        assert part in told


@pytest.mark.parametrize("alpha", [0, 1, -0.1, math.nan, "0.05", True])
def test_alpha_outside_0_to_1_is_refused(alpha: Any) -> None:
    """Numbers, NaN and other kinds alike."""
    assert "policy.alpha" in refused({"policy": {"alpha": alpha}, "gate": [GATE]})


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"type": "quantile"}, "gate.0.q: a quantile gate has it, and no other"),
        ({"q": 0.99}, "gate.0.q: a quantile gate has it, and no other"),
        ({"low": 1, "high": 0}, "gate.0.low: 1 is not below high, 0"),
        ({"direction": "higher", "margin": {"relative": 1}}, "gate.0.margin.relative: below 1"),
        ({"margin": {"relative": 0.1, "absolute": 0.1}}, "gate.0.margin: found"),
        ({"weight": 0}, "gate.0.weight: found 0 (allowed: a number above 0, "),
        ({"metric": ""}, "gate.0.metric: found ''"),
        (
            {"margin": {"relative": 1e300}},
            "gate.0.margin.relative: found 1e+300 (allowed: a number",
        ),
        ({"direction": "higher", "margin": {"relative": "x"}}, "gate.0.margin.relative: found 'x'"),
        ({"high": -(10**400)}, "(allowed: a number from -1e60 to 1e60)"),
    ],
)
def test_keys_that_do_not_fit_together_are_refused(change: dict[str, Any], part: str) -> None:
    """Each says what is wrong with which gate."""
    assert part in refused({"gate": [{**GATE, **change}]})


def test_no_gates_are_no_verdict() -> None:
    """An empty list, and no list, stop the run."""
    for raw in ({}, {"gate": []}, {"gate": "error"}):
        assert "gate: there is none" in refused(raw)


def test_a_gate_given_twice_is_refused() -> None:
    """Two gates of one name could not be told apart in the evidence."""
    assert "gate.1: 'error' has a gate already" in refused({"gate": [GATE, GATE]})


def test_alpha_is_shared_out_by_weight() -> None:
    """The parts sum to the whole."""
    gates = parse({"gate": [{**GATE, "weight": 3}, {**GATE, "metric": "slow"}]})
    assert [gates.alpha(g) for g in gates.gates] == pytest.approx([0.0375, 0.0125])


def test_borders_follow_direction_margin_and_budget() -> None:
    """Worse begins at the margin; a budget splits the two borders."""
    assert Gate("e", relative=0.1).borders(0.5) == (Border(1.1, 0.0), Border(1.1, 0.0))
    up = Gate("auc", direction="higher", absolute=0.02)
    assert up.borders(0.5) == (Border(1.0, -0.02), Border(1.0, -0.02))
    assert Gate("e", budget=0.02).borders(0.25) == (Border(1.0, 0.02), Border(1.0, 0.08))


def test_names_tell_gates_of_one_metric_apart() -> None:
    """Options and quantile are part of the name."""
    gate = Gate("slow", options={"over_ms": 50}, relative=0.0)
    assert gate.name == "slow(over_ms=50)"
    assert Gate("latency", type="quantile", q=0.99, relative=0.0).name == "latency p99"


def test_gates_are_found_again_from_the_plan() -> None:
    """A plan keeps the raw table; parsing it again gives the same gates."""
    raw = {"policy": {"alpha": 0.1}, "gate": [GATE]}
    assert isinstance(parse(raw), Gates)
    assert parse(json.loads(json.dumps(raw))) == parse(raw)


@pytest.mark.parametrize(
    "gate",
    [
        {"type": "rate", "direction": "lower", "limit": 0.0},
        {"type": "rate", "direction": "higher", "limit": 1},
        {"type": "mean", "direction": "lower", "limit": -1.0, "low": -1.0},
    ],
)
def test_a_limit_that_nothing_could_ever_show_to_be_kept_is_refused(gate: dict[str, Any]) -> None:
    """No number of perfect answers proves that there will never be another."""
    with pytest.raises(ExpectationError, match="can never be shown to be kept"):
        parse({"gate": [{"metric": "error", "kind": "guardrail", **gate}]})
