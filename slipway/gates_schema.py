"""The JSON Schema of ``gates.toml``, published as ``docs/gates.schema.json``.

Made from the tables that the parsers go by (``slipway.gates``, ``slipway.expectations``), and held
to them by a test. No schema can say that ``low`` is below ``high``, that a mean's limit lies short
of the best of these, that shares sum to 1, or that two gates have different names: parsers do.

    python -m slipway.gates_schema > docs/gates.schema.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from slipway.expectations import BOUNDS, OFFLINE_METRICS, OfflineGate
from slipway.gates import DEMANDS, GATE_KEYS, LARGEST, POLICY_KEYS, REQUIRED, TEXT, Gate, Policy

POLICY = {
    "alpha": "The chance of a false alarm, and of a false pass, over all gates and looks together.",
    "on_inconclusive": "What to do at the end of a step's time without a decision.",
    "srm_alpha": "The chance of calling a sound split of units a mismatch.",
    "shares": "Arm to its share of units, where no route table tells it; together 1.",
}
GATE = {
    "metric": "A built-in metric, your own as package.module:Class, or a column of observations.",
    "kind": "guardrail: worse rolls back; signal: worse holds; goal: must be better to promote.",
    "type": "rate (0 or 1 for each request), mean, or quantile.",
    "q": "Which quantile, such as 0.99; for type quantile alone, which needs it.",
    "direction": "Which way is better.",
    "margin": "How much worse is still no worse: a share of stable's figure, or an absolute one.",
    "budget": "Instead of a margin: the harm allowed to all users together, in the metric's unit.",
    "limit": "Instead of a margin: where the candidate's own figure must lie, whatever stable's.",
    "low": "The least value that the metric has, where it is not built in; below high.",
    "high": "The largest value that the metric has, where it is not built in.",
    "min_units": "How many units each arm needs before the gate is decided.",
    "missing": "What a gate without data is: not measured, or as if it were worse.",
    "maturity": "Seconds to wait for a request's value before the request counts.",
    "coverage": "The part of each arm's mature requests that must have a value.",
    "weight": "Its part of alpha, beside the other gates' weights.",
    "options": "Arguments of the metric's class.",
    "query": "PromQL of a mean, one series per label arm: for slipway judge --prometheus.",
}
OFFLINE_GATE = {
    "metric": "A figure over the fixed dataset, or latency_p99_ms of single requests.",
    "slice": "A column of which every value must meet the bound by itself.",
    "min_rows": "Slices with fewer rows are not judged.",
    "min": "The least that the figure may be.",
    "max": "The most that the figure may be.",
    "not_worse_than_stable": "How much worse than the stable release's figure it may be.",
}


def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of ``gates.toml`` read as JSON."""
    policy = {key: rule[2] for key, rule in POLICY_KEYS.items()}
    gate = {key: rule[2] for key, rule in GATE_KEYS.items()}
    number = {"type": "number", "minimum": -LARGEST, "maximum": LARGEST}
    offline: dict[str, Any] = {
        "metric": {"enum": list(OFFLINE_METRICS)},
        "slice": TEXT,
        "min_rows": GATE_KEYS["min_units"][2],
        **dict.fromkeys(BOUNDS, number),
    }
    live = {
        **_table(gate, GATE, Gate, REQUIRED),
        "oneOf": _one_of(DEMANDS),
        "allOf": _together(),
    }
    before = {
        **_table(offline, OFFLINE_GATE, OfflineGate, ("metric",)),
        "oneOf": _one_of(BOUNDS),
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gates.toml",
        "type": "object",
        "properties": {
            "policy": {
                "description": "What holds for all gates of live traffic together.",
                **_table(policy, POLICY, Policy),
            },
            "gate": {
                "description": "What a candidate must show on live traffic.",
                "type": "array",
                "minItems": 1,
                "items": live,
            },
            "offline": {
                "description": "What a release must reach before launch, over the fixed dataset.",
                "type": "array",
                "minItems": 1,
                "items": before,
            },
        },
        "required": ["gate"],
        "additionalProperties": False,
    }


def _table(
    rules: Mapping[str, Any],
    meanings: Mapping[str, str],
    parsed: type[Any],
    required: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The schema of a table: each key with its meaning, and the default that it is parsed with."""
    plain = {f.name: f.default for f in fields(parsed) if f.default not in (MISSING, None)}
    told = {key: {"default": x} for key, x in plain.items() if key not in required and x != ""}
    return {
        "type": "object",
        "properties": {
            key: {"description": meanings[key], **rule, **told.get(key, {})}
            for key, rule in rules.items()
        },
        **({"required": list(required)} if required else {}),
        "additionalProperties": False,
    }


def _one_of(keys: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"required": [key]} for key in keys]


def _together() -> list[dict[str, Any]]:
    """What a key of a gate asks of the others."""
    quantile, goal = {"type": {"const": "quantile"}}, {"kind": {"const": "goal"}}
    rate, higher = {"type": {"const": "rate"}}, {"direction": {"const": "higher"}}
    lower = {"direction": {"const": "lower"}}
    return [
        {**_if(quantile, {"limit": False}, ["q"]), "else": {"properties": {"q": False}}},
        _if(goal, {"limit": False}),
        _if({"query": True}, {"type": {"const": "mean"}}),
        _if(higher, {"margin": {"properties": {"relative": {"exclusiveMaximum": 1}}}}),
        _if(rate | lower, {"limit": {"exclusiveMinimum": 0}}),
        _if(rate | higher, {"limit": {"exclusiveMaximum": 1}}),
    ]


def _if(
    given: Mapping[str, Any], then: Mapping[str, Any], required: list[str] | None = None
) -> dict[str, Any]:
    asked: dict[str, Any] = {"properties": dict(then)}
    if required:
        asked["required"] = required
    return {"if": {"properties": dict(given), "required": list(given)}, "then": asked}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(schema(), indent=2) + "\n")
