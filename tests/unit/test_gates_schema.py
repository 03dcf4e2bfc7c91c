"""docs/gates.schema.json says what the parsers of gates.toml say, but for what no schema can."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from slipway.errors import ExpectationError
from slipway.expectations import OFFLINE, OfflineGate, read_offline
from slipway.gates import GATE_KEYS, POLICY_KEYS, Gate, Policy, parse
from slipway.gates_schema import schema

SCHEMA = Path(__file__).parents[2] / "docs" / "gates.schema.json"
CHECK = jsonschema.Draft202012Validator(schema())
RATE = {
    "metric": "error",
    "kind": "guardrail",
    "type": "rate",
    "direction": "lower",
    "margin": {"relative": 0.0},
}
LIMIT = {key: RATE[key] for key in ("metric", "kind", "type", "direction")}
AUC = {"metric": "auc", "min": 0.7}


def gate(**change: Any) -> dict[str, Any]:
    """A file with one gate."""
    return {"gate": [{**RATE, **change}]}


def limit(value: Any, **change: Any) -> dict[str, Any]:
    """A file with one gate that has a limit."""
    return {"gate": [{**LIMIT, "limit": value, **change}]}


def policy(**keys: Any) -> dict[str, Any]:
    """A file with a policy."""
    return {"policy": keys, **gate()}


def offline(*gates: Any) -> dict[str, Any]:
    """A file with gates before launch."""
    return {"offline": list(gates), **gate()}


def accepted(raw: dict[str, Any]) -> bool:
    """Whether the parsers take it."""
    faults: list[str] = []
    if "offline" in raw:
        read_offline(faults, raw["offline"])
    try:
        parse(raw)
    except ExpectationError:
        return False
    return not faults


FIT: list[dict[str, Any]] = [
    gate(),
    gate(min_units=100.0),
    gate(min_units=10**30),
    gate(type="quantile", q=0.9),
    gate(type="mean", low=0, high=1),
    gate(type="mean", low=0),
    gate(type="mean", query="x"),
    gate(direction="higher", margin={"relative": 0.99}),
    gate(direction="higher", margin={"absolute": 2}),
    gate(margin={"relative": 1}),
    gate(kind="goal", margin={"absolute": 0}),
    gate(coverage=1.0, weight=1e-300, maturity=0, missing="fail", options={"a": [1]}),
    limit(0.1),
    limit(2.0),
    limit(0.9, direction="higher"),
    limit(0, type="mean"),
    limit(-1, type="mean", direction="higher"),
    policy(),
    policy(alpha=0.1, on_inconclusive="hold", srm_alpha=0.01),
    policy(shares={"a": 0.5, "b": 0.5}),
    offline(AUC),
    offline({"metric": "mae", "max": 3, "slice": "x", "min_rows": 10.0}),
    offline({"metric": "auc", "not_worse_than_stable": -0.1}),
]
UNFIT: list[dict[str, Any]] = [
    {},
    {"gate": []},
    {"gate": {}},
    {"gate": [1]},
    {"gate": [{}]},
    {**gate(), "gates": 1},
    {**gate(), "policy": []},
    gate(colour=1),
    gate(min_units=0),
    gate(min_units=1.5),
    gate(min_units=True),
    gate(type="quantile"),
    gate(type="median"),
    gate(q=0.9),
    gate(type="mean", q=0.9),
    gate(type="quantile", q=1),
    gate(kind="fence"),
    gate(query="x"),
    gate(type="quantile", q=0.5, query="x"),
    gate(type="mean", query="  "),
    gate(metric=""),
    gate(metric=" "),
    gate(direction="higher", margin={"relative": 1.0}),
    gate(direction="higher", margin={"relative": "x"}),
    gate(margin={"relative": 0, "absolute": 0}),
    gate(margin={}),
    gate(margin={"absolute": -1}),
    gate(margin={"relative": 1e300}),
    gate(margin="0.1"),
    gate(margin=None),
    gate(budget=0.1),
    gate(weight=0),
    gate(weight=1e308),
    gate(low=10**400),
    gate(maturity=-1),
    gate(coverage=1.1),
    gate(missing="pass"),
    gate(options=[]),
    {"gate": [LIMIT]},
    limit(0.0),
    limit(-0.5),
    limit(1.0, direction="higher"),
    limit(0.1, kind="goal"),
    limit(0.1, type="quantile", q=0.9),
    limit("0.1"),
    policy(alpha=1),
    policy(alpha=True),
    policy(on_inconclusive="wait"),
    policy(colour=1),
    policy(shares={}),
    policy(shares={"a": 1.0}),
    policy(shares={"a": 2.0, "b": -1.0}),
    {**gate(), "offline": {}},
    offline(),
    offline(1),
    offline({"metric": "auc"}),
    offline({**AUC, "max": 1}),
    offline({**AUC, "metric": "beauty"}),
    offline({**AUC, "min": 10**400}),
    offline({**AUC, "min": "0.7"}),
    offline({**AUC, "min_rows": 0}),
    offline({**AUC, "slice": " "}),
    offline({**AUC, "colour": 1}),
    offline({"min": 0.7}),
]
BEYOND_A_SCHEMA: list[dict[str, Any]] = [
    gate(type="mean", low=1, high=0),
    limit(-1, type="mean", low=-1),
    policy(shares={"a": 0.5, "b": 0.1}),
    {"gate": [RATE, RATE]},
]


@pytest.mark.parametrize("raw", FIT, ids=json.dumps)
def test_both_take_what_is_fit(raw: dict[str, Any]) -> None:
    """A file that is read is valid."""
    assert accepted(raw)
    assert list(CHECK.iter_errors(raw)) == []


@pytest.mark.parametrize("raw", UNFIT, ids=range(len(UNFIT)))
def test_both_refuse_what_is_not(raw: dict[str, Any]) -> None:
    """A file that is refused is not valid."""
    assert not accepted(raw)
    assert not CHECK.is_valid(raw)


@pytest.mark.parametrize("raw", BEYOND_A_SCHEMA, ids=json.dumps)
def test_what_no_schema_can_say_the_parser_does(raw: dict[str, Any]) -> None:
    """These few are documented as such."""
    assert not accepted(raw)
    assert CHECK.is_valid(raw)


def test_the_published_file_is_the_schema() -> None:
    """``python -m slipway.gates_schema`` wrote it."""
    jsonschema.Draft202012Validator.check_schema(schema())
    assert json.loads(SCHEMA.read_text()) == json.loads(json.dumps(schema()))


PARTS: list[tuple[str, Any, type[Any], tuple[str, ...]]] = [
    ("policy", POLICY_KEYS, Policy, ("shares",)),
    ("gate", GATE_KEYS, Gate, ("metric", "kind", "type", "direction")),
    ("offline", OFFLINE, OfflineGate, ("metric", "slice")),
]


@pytest.mark.parametrize(("part", "keys", "parsed", "without"), PARTS, ids=["p", "g", "o"])
def test_each_key_is_described_with_its_default(
    part: str, keys: Any, parsed: type[Any], without: tuple[str, ...]
) -> None:
    """The default is the one that the parser gives."""
    told = schema()["properties"][part]
    properties = told.get("items", told)["properties"]
    assert set(properties) == set(keys)
    assert all(p["description"].endswith(".") for p in properties.values())
    plain = {f.name: f.default for f in fields(parsed) if isinstance(f.default, str | int | float)}
    defaults = {key: p["default"] for key, p in properties.items() if "default" in p}
    assert defaults == {key: x for key, x in plain.items() if key not in without}
