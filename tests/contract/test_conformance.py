"""Every class that implements a port keeps its laws; new classes are found by themselves."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

import slipway
from slipway import metrics, ports
from slipway.conformance import ledger_store, metric, runtime, strategy
from slipway.evidence import Measure, QuantileMeasure
from slipway.stores.sql_ledger import open_ledger
from slipway.strategies import BUILT_IN, resolve
from slipway.testing import FakeRuntime, MemoryLedger, release

Law = Callable[[Any], None]


@cache
def classes() -> tuple[type, ...]:
    """Every public class that slipway defines, wherever it lies."""
    found = []
    for each in pkgutil.walk_packages(slipway.__path__, "slipway."):
        if each.name.endswith("__main__") or each.name.startswith("slipway.templates"):
            continue  # programs, and text that 'slipway new' lays down: they hold no parts
        module = importlib.import_module(each.name)
        found += [
            c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == each.name
        ]
    return tuple(c for c in found if not c.__name__.startswith("_"))


def methods(port: type) -> frozenset[str]:
    """What a class must be able to do to be a port's."""
    return frozenset(n for n, v in vars(port).items() if inspect.isfunction(v) and n[0] != "_")


def implementing(port: type) -> set[str]:
    """The classes, other than the port itself, that have all its methods."""
    return {
        f"{c.__module__}:{c.__name__}"
        for c in classes()
        if c is not port and all(callable(getattr(c, m, None)) for m in methods(port))
    }


TRIED: dict[type, set[str]] = {
    ports.LedgerStore: {
        "slipway.stores.sql_ledger:SqlLedger",
        "slipway.testing:MemoryLedger",
    },
    ports.Metric: {
        *metrics.BUILT_IN.values(),
        "slipway.evidence:Measure",
        "slipway.evidence:QuantileMeasure",
    },
    ports.Runtime: {
        "slipway.runtimes.docker:DockerRuntime",  # in e2e/test_docker_runtime.py
        "slipway.runtimes.swarm:SwarmRuntime",  # in e2e/test_swarm_runtime.py
        "slipway.runtimes.kubernetes:KubernetesRuntime",  # in model_server/test_kubernetes_runtime
        "slipway.runtimes.process:ProcessRuntime",  # in model_server/test_process_runtime.py
        "slipway.testing:FakeRuntime",
    },
    ports.Strategy: set(BUILT_IN.values()),
}


@pytest.mark.parametrize("port", TRIED)
def test_every_class_of_a_port_is_tried(port: type) -> None:
    """A new class without a trial fails here, so that nobody forgets to hold it to the laws."""
    missing = implementing(port) - TRIED[port]
    assert not missing, (
        f"{', '.join(sorted(missing))} implements {port.__name__} but is not held to its laws: "
        f"add a trial of it, and its name to TRIED, in {__name__}.py"
    )
    gone = TRIED[port] - implementing(port)
    assert not gone, f"{', '.join(sorted(gone))} no longer implements {port.__name__}"


@pytest.mark.parametrize("law", ledger_store.LAWS, ids=lambda law: law.__name__)
def test_the_sql_ledger_keeps_the_law(law: Law, new_ledger: Callable[[], str]) -> None:
    """On SQLite and on a real PostgreSQL server."""
    store = open_ledger(new_ledger())
    law(store)
    store.engine.dispose()


@pytest.mark.parametrize("law", strategy.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", BUILT_IN)
def test_every_strategy_keeps_the_law(law: Law, name: str) -> None:
    """Whatever it does with a pass, it never moves forward without one."""
    law(resolve(name))


@pytest.mark.parametrize("law", metric.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", metrics.BUILT_IN)
def test_every_metric_keeps_the_law(law: Law, name: str) -> None:
    """On real requests in a real DuckDB: bounded, one number each, unknown where unknown."""
    law(metrics.resolve(name))


@pytest.mark.parametrize("law", metric.LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("kind", [Measure, QuantileMeasure])
def test_a_measure_keeps_the_laws_of_its_metric(law: Law, kind: type[Measure]) -> None:
    """What is gathered for a gate is the metric's own expression, and nothing beside it."""
    brier = metrics.resolve("brier")
    law(kind(brier.name, brier.sql(), brier.type, brier.low, brier.high))


@pytest.mark.parametrize("law", runtime.LAWS, ids=lambda law: law.__name__)
def test_the_fake_runtime_keeps_the_law(law: Law) -> None:
    """The public fake behaves as the real ones do."""
    one, two, broken = (release(name) for name in ("one", "two", "broken"))
    fake = FakeRuntime(broken=[broken.id])
    law(runtime.Trial(lambda: fake, one, two, broken))


@pytest.mark.parametrize("law", ledger_store.LAWS, ids=lambda law: law.__name__)
def test_the_memory_ledger_keeps_the_law(law: Law) -> None:
    """The public fake behaves as the real one does."""
    law(MemoryLedger())
