"""The swarm runtime on two real engines, each as on a machine of its own; then one is lost."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from containers import Cargo, load_cargo, require_engine
from engines import Node, nodes, swarm
from real_prefect import until

from slipway import container as shared
from slipway.conformance.runtime import LAWS, LIMITS, Trial
from slipway.engine import connected
from slipway.errors import RuntimeFailure
from slipway.runtimes import swarm as swarm_runtime
from slipway.runtimes.swarm import SwarmRuntime

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class Fleet:
    """A swarm of two nodes that both have the images; the first one manages."""

    manager: Node
    worker: Node


@pytest.fixture(scope="module")
def cargo(tmp_path_factory: pytest.TempPathFactory) -> Cargo:
    """What is launched."""
    require_engine()
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip)(
            "only root can make network namespaces"
        )
    return load_cargo(tmp_path_factory.mktemp("cargo"))


@pytest.fixture(scope="module")
def fleet(cargo: Cargo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two engines in one swarm, with the images on both."""
    folder = tmp_path_factory.mktemp("archives")
    with connected() as engine:
        for name in (cargo.image.reference, "slipway/broken:1"):
            with (folder / name.replace("/", "-")).open("wb") as file:
                file.writelines(engine.images.get(name).save(named=True))
    with nodes(2) as (manager, worker):
        swarm(manager, worker)
        for node in (manager, worker):
            for archive in sorted(folder.iterdir()):
                node.load(archive)
        yield Fleet(manager, worker)


@pytest.fixture
def runtime(fleet: Fleet, tmp_path: Path) -> Iterator[SwarmRuntime]:
    """A runtime of a home of its own, emptied afterwards."""
    made = SwarmRuntime(tmp_path / "swarm", engine=fleet.manager.address)
    yield made
    for release in made.list():
        made.stop(release)
    with connected(fleet.manager.address) as engine:
        assert engine.services.list() == []


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_swarm_runtime_keeps_the_law(
    law: Callable[[Trial], None], runtime: SwarmRuntime, cargo: Cargo
) -> None:
    """With real services on two nodes."""
    law(
        Trial(
            lambda: SwarmRuntime(runtime.folder, engine=runtime.engine),
            cargo.one,
            cargo.two,
            cargo.broken,
        )
    )


def test_an_engine_in_no_swarm_is_told(cargo: Cargo, tmp_path: Path) -> None:
    """An engine that manages no swarm is one clear error."""
    with pytest.raises(RuntimeFailure, match="not a swarm manager"):
        SwarmRuntime(tmp_path).start(cargo.one, 1, LIMITS)


def test_a_failure_of_the_past_is_none_of_a_start(
    runtime: SwarmRuntime, fleet: Fleet, cargo: Cargo
) -> None:
    """A replica that ended and that the swarm starts anew: adopted once it answers again."""
    runtime.start(cargo.one, 1, LIMITS)
    for node in (fleet.manager, fleet.worker):
        with connected(node.address) as engine:
            for each in engine.containers.list():
                each.kill()
    with connected(fleet.manager.address) as engine:
        name = shared.name(runtime._scope, cargo.one.id)
        until(lambda: swarm_runtime._bad(engine, name), 30, "the swarm's word on the failure")
        (endpoint,) = runtime.start(cargo.one, 1, LIMITS)
        assert swarm_runtime._bad(engine, name)  # it still remembers
    assert runtime.probe(endpoint)


def test_replicas_are_spread_and_a_lost_node_is_made_up_for(
    runtime: SwarmRuntime, fleet: Fleet, cargo: Cargo
) -> None:
    """One replica on each node; when one node is lost, its replica runs on the other."""
    endpoints = runtime.start(cargo.one, 2, LIMITS)
    assert {e.partition(":")[0] for e in endpoints} == {fleet.manager.ip, fleet.worker.ip}
    fleet.worker.lose()
    until(lambda: _all_on(runtime, cargo, fleet.manager), 90, "both on the node that is left")
    (left,) = runtime.list().values()
    assert all(map(runtime.probe, left))
    assert runtime.start(cargo.one, 2, LIMITS) == left


def _all_on(runtime: SwarmRuntime, cargo: Cargo, node: Node) -> bool:
    found = runtime.list().get(cargo.one.id, ())
    return len(found) == 2 and all(e.startswith(f"{node.ip}:") for e in found)
