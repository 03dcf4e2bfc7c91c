"""What a replica may take and hold at most before a route may name it."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest

from slipway import expectations, spec
from slipway.expectations import OfflineGate
from tasks.probe import most_mb, slowest_ms

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"
PACK = expectations.load(FLIGHTS / "expectations" / "flights")


def declared(**overrides: Any) -> spec.Spec:
    """The example's spec with keys overridden."""
    return spec.load(FLIGHTS, {k.replace("__", "."): v for k, v in overrides.items()})


@pytest.mark.parametrize(
    ("serving", "gates", "most"),
    [
        ({}, (), 2000.0),
        ({"budget_ms": 300}, (), 300.0),
        ({"budget_ms": 300, "budgets_ms": {"candidate": 40}}, (), 40.0),
        ({"budget_ms": 300}, (OfflineGate("latency_p99_ms", "max", 25.0),), 25.0),
        ({"budget_ms": 300}, (OfflineGate("latency_p99_ms", "max", 999.0),), 300.0),
        ({"budget_ms": 300}, (OfflineGate("auc", "max", 1.0),), 300.0),
    ],
)
def test_a_replica_is_never_slower_than_the_gateway_waits(
    serving: dict[str, Any], gates: tuple[OfflineGate, ...], most: float
) -> None:
    """With a gate on latency the tighter one counts; without one there is a bound all the same."""
    assert slowest_ms(declared(serving=serving), replace(PACK, offline=gates)) == most


def test_memory_is_bound_by_the_runtimes_limit() -> None:
    """The spec's, wherever replicas may run in containers; a plain process has none."""
    assert most_mb(declared(runtime={"kind": "docker", "limits": {"memory_mb": 300}})) == 300
    assert most_mb(declared(runtime={"kind": "auto"})) == 1024
    assert most_mb(declared(runtime={"kind": "process"})) == inf
