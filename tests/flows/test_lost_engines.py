"""An engine, a container, a node lost in the middle of a rollout: users see no error."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from containers import Cargo, load_cargo, require_engine, sealed
from engines import Node, nodes, swarm
from launching import launch, step
from small_project import MODEL
from traffic import Users, send, traffic
from workplace import Workplace, until

from slipway.conformance.runtime import LIMITS
from slipway.container import RELEASE
from slipway.engine import connected
from slipway.lifecycle import Event
from slipway.release import Release
from slipway.running import stop_all
from slipway.terms import Terms
from tasks.record import state_of
from tasks.serve import ensure_gateway, runtime

pytestmark = pytest.mark.real
# The packages are in the base already, so that an engine without a way out can build.
DOCKERFILE = "FROM @{base}\nCOPY bundle/ /bundle/\n"
SLOW: dict[str, Any] = {
    "rollout.lease_seconds": 60,
    "rollout.steps": [
        {"share": 0.2, "min_seconds": 3600, "max_seconds": 7200},
        {"share": 0.5, "min_seconds": 3600, "max_seconds": 7200},
    ],
}


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
def archive(cargo: Cargo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image that serves, as a file."""
    path = tmp_path_factory.mktemp("archive") / "image.tar"
    with connected() as engine, path.open("wb") as file:
        file.writelines(engine.images.get(cargo.image.reference).save(named=True))
    return path


@pytest.fixture
def node(archive: Path) -> Iterator[Node]:
    """An engine of our own, set up as the docs say: its containers outlive it."""
    with nodes(1, "--live-restore", "--userland-proxy=false") as (made,):
        made.load(archive)
        yield made


def test_users_notice_no_lost_engine_and_no_lost_container(
    bench: Workplace, node: Node, cargo: Cargo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a rollout's first stages, by the buttons; each time the ledger ends in a clear state."""
    monkeypatch.setenv("DOCKER_HOST", node.address)
    (bench.project / "Dockerfile").write_text(DOCKERFILE)
    where = {"engine": node.address, "address": node.ip}
    asked: dict[str, Any] = {
        "image": {"build": "always", "base": cargo.image.reference, "dockerfile": "Dockerfile"},
        "runtime": {"kind": "docker", "replicas": 2, "options": where},
    }
    first = bench.release(**asked)
    assert first.code == 0, first.err
    stable = state_of(bench.home, MODEL).stable

    begin = bench.asked(trainer__params={"c": 0.3}, **asked)
    begin["overrides"] |= SLOW
    for number, stage in enumerate(("opened", "started")):
        assert bench.press("release", **begin, wait=False).code == 0
        with traffic(bench, MODEL):
            if stage == "started":
                assert bench.press("advance", model=MODEL).code == 0
                lose_a_container_of_each(bench, MODEL, node)
            assert bench.events(MODEL)[-1] == stage
            node.end(kill=True)
            ended = bench.press("advance", model=MODEL)
            send(bench, MODEL, 40, seed=number)
            node.start()
            send(bench, MODEL, 40, seed=number)
        assert ended.code == 0, ended.err
        last = bench.entries(MODEL)[-1]
        assert last.event == Event.ROLLED_BACK
        assert "no Docker engine answers" in last.reason
        assert state_of(bench.home, MODEL).stable == stable

    assert bench.press("rollback", model=MODEL, reason="no", actor="t").code == 1
    assert bench.slipway("logs", MODEL).out.count("answers at") == 2
    stop_all(bench.home)
    with connected(node.address) as engine:
        assert engine.containers.list(all=True) == []


def lose_a_container_of_each(place: Workplace, model: str, node: Node) -> None:
    """End one container of each release that is needed; the next tick starts them anew."""
    state = state_of(place.home, model)
    with connected(node.address) as engine:
        for release in state.needed:
            mine = engine.containers.list(filters={"label": f"{RELEASE}={release}"})
            assert len(mine) == 2
            mine[0].kill()
        assert place.press("advance", model=model).code == 0
        assert len(engine.containers.list()) == 2 * len(state.needed)
    assert state_of(place.home, model).state == state.state


def test_users_notice_no_engine_and_no_container_lost_later(
    bench: Workplace, node: Node, cargo: Cargo
) -> None:
    """When the share has grown, while a person is asked, and once everybody has the release."""
    terms = Terms("docker", 2, LIMITS, {"engine": node.address, "address": node.ip})
    stable = _another(cargo, "later")
    launch(bench, stable, terms, Event.PROMOTED)
    ensure_gateway(bench.home)
    for stage in (Event.ADVANCED, Event.HELD, Event.PROMOTED):
        candidate = _another(cargo, "later")
        launch(bench, candidate, terms, Event.STARTED)
        with Users(bench, candidate.model, cargo.small.body) as users:
            step(bench, candidate.model, stage, {Event.PROMOTED: 1.0}.get(stage, 0.5))
            lose_a_container_of_each(bench, candidate.model, node)
            users.have_met(set(state_of(bench.home, candidate.model).needed))
            node.end(kill=True)
            ended = bench.press("advance", model=candidate.model)
            users.have_met({state_of(bench.home, candidate.model).stable}, anew=True)
            node.start()
            users.have_met({state_of(bench.home, candidate.model).stable}, anew=True)
        assert users.faults == []
        assert ended.code == 0, ended.err
        state = state_of(bench.home, candidate.model)
        if stage == Event.PROMOTED:
            stable = candidate
        else:
            assert bench.events(candidate.model)[-1] == Event.ROLLED_BACK
        assert (state.rollout, state.stable) == (None, stable.id)
    runs = runtime(bench.home, terms)
    for release in list(runs.list()):
        runs.stop(release)
    with connected(node.address) as engine:
        assert engine.containers.list(all=True) == []


def test_users_notice_no_lost_node(bench: Workplace, cargo: Cargo, archive: Path) -> None:
    """Stable and a candidate on two nodes of a swarm, a replica of each on each; one is lost."""
    with nodes(2) as (manager, worker):
        swarm(manager, worker)
        for node in (manager, worker):
            node.load(archive)
        terms = Terms("swarm", 2, LIMITS, {"engine": manager.address})
        both = [_another(cargo, "spread") for _ in range(2)]
        launch(bench, both[0], terms, Event.PROMOTED)
        launch(bench, both[1], terms, Event.STARTED)
        ensure_gateway(bench.home)
        assert bench.press("advance", model=both[0].model).code == 0  # grants the lease
        assert _nodes_of(bench, both) == {manager.ip, worker.ip}
        with Users(bench, both[0].model, cargo.small.body) as users:
            users.have_met({each.id for each in both})
            worker.lose()
            until(lambda: _moved(bench, both, manager), 90, "every replica on the node left")
            users.have_met({each.id for each in both}, anew=True)
        assert users.faults == []
        assert bench.events(both[0].model)[-2:] == [Event.OPENED, Event.STARTED]
        for release in both:
            runtime(bench.home, terms).stop(release.id)
        with connected(manager.address) as engine:
            assert engine.services.list() == []


_NUMBERS = itertools.count()


def _another(cargo: Cargo, model: str) -> Release:
    """A release of its own, of the image that serves."""
    made = sealed(f"release {next(_NUMBERS)}", cargo.small.bundle.digest, cargo.image)
    return replace(made, model=model)


def _nodes_of(place: Workplace, releases: list[Release]) -> set[str]:
    """The nodes on which each release has a replica, by what the gateways are told."""
    placed = [{e.partition(":")[0] for e in place.ledger.placed(r.id)} for r in releases]
    return set.intersection(*placed)


def _moved(place: Workplace, releases: list[Release], node: Node) -> bool:
    """Tick, and say whether every replica is on that node."""
    place.press("advance", model=releases[0].model)
    return _nodes_of(place, releases) == {node.ip} and all(
        len(place.ledger.placed(r.id)) == 2 for r in releases
    )
