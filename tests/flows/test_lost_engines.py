"""An engine, a container, a node lost in the middle of a rollout: users see no error."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import Cargo, load_cargo, require_engine
from engines import Node, nodes, swarm
from small_project import MODEL
from traffic import send, traffic
from workplace import Workplace, until

from slipway.conformance.runtime import LIMITS
from slipway.container import RELEASE
from slipway.engine import connected
from slipway.ledger import Draft, head
from slipway.lifecycle import Event
from slipway.rollout import Step, open_rollout, take
from slipway.running import stop_all
from slipway.runtimes.swarm import SwarmRuntime
from slipway.terms import Terms
from slipway.testing import plan
from tasks.record import state_of
from tasks.serve import ensure_gateway, stand_by

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


GATES: dict[str, Any] = {
    "policy": {"alpha": 0.1},
    "gate": [
        {
            "metric": "error",
            "kind": "guardrail",
            "type": "rate",
            "direction": "lower",
            "budget": 0.3,
            "min_units": 100_000,  # never enough: the rollout stays where it is
        }
    ],
}


def test_users_notice_no_lost_node(bench: Workplace, cargo: Cargo, archive: Path) -> None:
    """Stable and a candidate on two nodes of a swarm, a replica of each on each; one is lost."""
    with nodes(2) as (manager, worker):
        swarm(manager, worker)
        for node in (manager, worker):
            node.load(archive)
        launched(bench, cargo, manager)
        ensure_gateway(bench.home)
        assert bench.press("advance", model="flights").code == 0
        assert spread(bench, cargo) == {manager.ip, worker.ip}
        users = Users(bench, cargo)
        with users:
            until(lambda: {cargo.one.id, cargo.two.id} <= users.served, 30, "answers of both")
            worker.lose()
            until(lambda: moved(bench, cargo, manager), 90, "every replica on the node left")
            seen = users.answers
            until(lambda: users.answers > seen + 100, 30, "answers after the move")
        assert users.faults == []
        assert bench.events("flights") == ["opened", "promoted", "opened", "started"]
        runs = SwarmRuntime(bench.home.run / "swarm", engine=manager.address)
        for release in runs.list():
            runs.stop(release)


def launched(place: Workplace, cargo: Cargo, manager: Node) -> None:
    """Write down that one is stable and two has half of the users, both on the swarm."""
    terms = Terms("swarm", 2, LIMITS, {"engine": manager.address})
    store = place.ledger
    for release in (cargo.one, cargo.two):
        store.put_manifest(release)
        chosen = plan(
            (0.5,),
            min_seconds=3600,
            max_seconds=7200,
            gates=GATES,
            serving={"hedge_ms": 150},
            lease_seconds=120.0,
            runtime=terms.record(),
        )
        told = {"now": time.time(), "actor": "tester", "reason": "a test"}
        note(place, open_rollout(state_of(place.home, "flights"), release.id, chosen, **told))
        stable = release is cargo.one
        step = Step(Event.PROMOTED if stable else Event.STARTED, "a test", 1.0 if stable else 0.5)
        state = state_of(place.home, "flights")
        note(place, take(state, step, now=time.time(), actor="tester"))
        if stable:
            stand_by(place.home, release.id, terms)


def note(place: Workplace, draft: Draft) -> None:
    """Append an entry."""
    place.ledger.append(draft, expect=head(place.entries(draft.model)))


def spread(place: Workplace, cargo: Cargo) -> set[str]:
    """The nodes on which each of the two releases has a replica, by the gateways' own word."""
    placed = [place.ledger.placed(r.id) for r in (cargo.one, cargo.two)]
    assert [len(p) for p in placed] == [2, 2]
    one, two = ({e.partition(":")[0] for e in p} for p in placed)
    return one & two


def moved(place: Workplace, cargo: Cargo, node: Node) -> bool:
    """Tick, and say whether every replica is on that node."""
    place.press("advance", model="flights")
    placed = [e for r in (cargo.one, cargo.two) for e in place.ledger.placed(r.id)]
    return all(e.startswith(f"{node.ip}:") for e in placed)


class Users:
    """Users who ask without end for the length of a block.

    Attributes:
        served: the releases that answered.
        answers: how many.
        faults: every answer that was none.
    """

    def __init__(self, place: Workplace, cargo: Cargo) -> None:
        self.place, self.body = place, cargo.small.body
        self.served: set[str] = set()
        self.answers, self.faults = 0, list[Any]()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(4)]

    def _ask(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                unit = f"u{number}-{self.answers % 50}"
                answer = self.place.post("/flights/invocations", self.body, unit=unit)
            except Exception as error:
                self.faults.append(error)
                continue
            self.answers += 1
            self.served.add(answer.headers["x-slipway-served-by"])
            if answer.status != 200:
                self.faults.append(answer)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
