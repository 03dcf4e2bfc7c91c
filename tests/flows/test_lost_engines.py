"""An engine and a container lost in the middle of a rollout: users see no error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import Cargo, load_cargo, require_engine
from engines import Node, nodes
from small_project import MODEL
from traffic import send, traffic
from workplace import Workplace

from slipway.container import RELEASE
from slipway.engine import connected
from slipway.lifecycle import Event
from slipway.running import stop_all
from tasks.record import state_of

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
    """In every stage of a rollout; each time the ledger ends in a clear state."""
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
                lose_a_container_of_each(bench, node)
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


def lose_a_container_of_each(place: Workplace, node: Node) -> None:
    """End one container of stable's and one of the candidate's; the next tick starts them anew."""
    state = state_of(place.home, MODEL)
    with connected(node.address) as engine:
        for release in state.needed:
            mine = engine.containers.list(filters={"label": f"{RELEASE}={release}"})
            assert len(mine) == 2
            mine[0].kill()
        assert place.press("advance", model=MODEL).code == 0
        assert len(engine.containers.list()) == 4
    assert state_of(place.home, MODEL).state == state.state
