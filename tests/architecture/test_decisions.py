"""Decisions are functions of their arguments: no clock, no chance, no environment."""

import ast
from pathlib import Path

import pytest
from source import ROOT, dotted, imported, place, python_files, tree

DECISIONS = [
    *(
        ROOT / "slipway" / f"{name}.py"
        for name in (
            "release", "routing", "ledger", "lifecycle", "rollout", "controller", "evidence",
            "sequential", "inference", "gates", "verdict", "expectations", "policy", "story",
        )
    ),
    *python_files("slipway/strategies", "slipway/metrics"),
]  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter"}
CHANCE = {"random", "secrets", "uuid", "time", "socket", "subprocess", "threading", "asyncio"}


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_reads_no_clock_no_chance_and_no_environment(path: Path) -> None:
    """Time, randomness and ids are arguments, so that a whole rollout can be played in a test."""
    found = [
        f"{place(path, n)} imports {m}" for m, n in imported(path) if m.split(".")[0] in CHANCE
    ]
    for node in ast.walk(tree(path)):
        if not isinstance(node, (ast.Call, ast.Attribute)):
            continue
        name = dotted(node.func if isinstance(node, ast.Call) else node)
        parts = name.split(".")
        clock = isinstance(node, ast.Call) and len(parts) > 1 and parts[-1] in CLOCKS
        if clock or name in ("os.environ", "os.urandom", "os.getenv") or "default_rng" in parts:
            found.append(f"{place(path, node)} uses {name}")
    assert not found, "\n".join(found)


def test_nothing_executable_is_unpickled() -> None:
    """Models are ONNX, or skops with declared types: no pickle, joblib or shelve anywhere."""
    unpicklers = {"pickle", "joblib", "dill", "cloudpickle", "shelve", "marshal"}
    found = [
        place(path, node)
        for path in python_files("slipway", "flows", "tasks")
        for module, node in imported(path)
        if module.split(".")[0] in unpicklers
    ]
    assert not found
