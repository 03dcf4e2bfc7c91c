"""Imports go one way, and the nouns are cheap to import."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {
    "asyncio", "duckdb", "evidently", "great_expectations", "matplotlib", "mlflow", "numpy",
    "onnx", "onnxruntime", "pandas", "prefect", "pyarrow", "pydantic", "requests", "rich",
    "scipy", "skl2onnx", "sklearn", "skops", "sqlalchemy", "yaml",
}  # fmt: skip
NOUNS = (
    "slipway",
    "slipway.errors",
    "slipway.release",
    "slipway.routing",
    "slipway.ledger",
    "slipway.lifecycle",
    "slipway.verdict",
    "slipway.rollout",
    "slipway.controller",
    "slipway.strategies.canary",
    "slipway.expectations",
    "slipway.policy",
    "slipway.home",
    "slipway.story",
)


def loaded(*modules: str) -> set[str]:
    """The names of all modules that a fresh interpreter has after importing these."""
    program = f"import sys, json, {', '.join(modules)}; print(json.dumps(sorted(sys.modules)))"
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(told.stdout))


def test_imports_go_one_way() -> None:
    """The contracts of ``.importlinter``: layers, siblings, no Prefect, no hot store."""
    linter = Path(sys.executable).parent / "lint-imports"
    told = subprocess.run(
        [str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_nouns_and_decisions_import_nothing_heavy() -> None:
    """All together: whoever only asks what is live does not wait for pandas."""
    found = loaded(*NOUNS)
    assert not HEAVY & found
    assert not {name for name in found if name.split(".")[0] in ("flows", "tasks")}
    ours = {n for n in found if n.startswith("slipway")}
    assert len(found - loaded("json") - ours) < 150, "the standard library's part grew a lot"


@pytest.mark.parametrize("module", ["slipway.cli", "slipway.serving.gateway"])
def test_programs_start_without_the_heavy_ones(module: str) -> None:
    """The command line and the gateway import what trains, checks and registers only when asked."""
    slow = {"pandas", "sklearn", "mlflow", "prefect", "great_expectations", "evidently", "scipy"}
    assert not (slow | {"pyarrow", "duckdb", "sqlalchemy"}) & loaded(module)
