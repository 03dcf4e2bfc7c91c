"""docs/how-to/expectations.md knows every key that the code does, and its examples are read."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from slipway import expectations, gates
from slipway.gates_schema import schema

PAGE = (Path(__file__).parents[2] / "docs/how-to/expectations.md").read_text(encoding="utf-8")
KEYS = {
    "fixed_set.toml": expectations.FIXED,
    "edge_cases.jsonl": expectations.CASE,
    "must": expectations.MUSTS,
    "offline": expectations.OFFLINE,
    "offline metrics": expectations.OFFLINE_METRICS,
    "policy": gates.POLICY_KEYS,
    "gate": gates.GATE_KEYS,
}


def _examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("part", KEYS)
def test_every_key_is_on_the_page(part):
    """A key that the code knows is named on the page."""
    named = set(re.findall(r"`(\w+)`", PAGE)) | set(re.findall(r'"(\w+)":', PAGE))
    assert set(KEYS[part]) - named == set()


@pytest.mark.parametrize("part", ["policy", "gate", "offline"])
def test_every_default_of_gates_toml_is_on_the_page(part):
    """Its own column tells what a key is that is not given."""
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \| .* \|$", PAGE, re.MULTILINE)
    told = {(key, default) for keys, default in rows for key in re.findall(r"`(\w+)`", keys)}
    table = schema()["properties"][part]
    for key, rule in table.get("items", table)["properties"].items():
        default = f"`{rule['default']}`" if "default" in rule else "none"
        required = {(key, "must be given"), (key, "one must be given")}
        assert {(key, default), *required} & told, key


def test_the_examples_are_valid(tmp_path):
    """The page's examples, put together, are a pack without faults."""
    suite, case = _examples("json")
    fixed, offline, live = _examples("toml")
    (tmp_path / "suite.json").write_text(suite)
    (tmp_path / "edge_cases.jsonl").write_text(case)
    (tmp_path / "gates.toml").write_text(offline + live)
    (tmp_path / "fixed_set.csv").write_text("income,trade,y\n1,baker,0\n")
    digest = expectations.digest_file(tmp_path / "fixed_set.csv")
    (tmp_path / "fixed_set.toml").write_text(fixed.replace("sha256:...", digest))
    pack = expectations.load(tmp_path)
    assert len(pack.offline) == 3
    assert json.loads(case)["name"] == pack.edge_cases[0].name
    assert tomllib.loads(live)["gate"][0]["metric"] == "error"
