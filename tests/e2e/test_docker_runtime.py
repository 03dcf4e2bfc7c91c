"""The docker runtime on a real engine: the laws, the limits, and what goes wrong."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from containers import BASE, Cargo, load_cargo, require_engine
from real_prefect import until

from slipway import container as shared
from slipway.conformance.runtime import LAWS, LIMITS, Trial
from slipway.engine import connected
from slipway.errors import RuntimeFailure
from slipway.runtimes import docker
from slipway.runtimes.docker import DockerRuntime

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def cargo(tmp_path_factory: pytest.TempPathFactory) -> Cargo:
    """What is launched."""
    require_engine()
    return load_cargo(tmp_path_factory.mktemp("cargo"))


@pytest.fixture
def runtime(cargo: Cargo, tmp_path: Path) -> Iterator[DockerRuntime]:
    """A runtime of a home of its own, emptied afterwards."""
    made = DockerRuntime(tmp_path / "docker")
    yield made
    for release in made.list():
        made.stop(release)
    made.stop(cargo.one.id)
    assert _left(made) == []
    with connected() as engine:
        assert engine.networks.list(filters={"label": f"slipway.home={made._scope}"}) == []


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_docker_runtime_keeps_the_law(
    law: Callable[[Trial], None], runtime: DockerRuntime, cargo: Cargo
) -> None:
    """With real containers of a real image."""
    law(Trial(lambda: DockerRuntime(runtime.folder), cargo.one, cargo.two, cargo.broken))


def test_a_container_is_held_to_its_limits(runtime: DockerRuntime, cargo: Cargo) -> None:
    """The kernel's own figures: memory without swap, processors, processes; no way to more."""
    runtime.start(cargo.one, 1, LIMITS)
    with connected() as engine:
        (found,) = runtime._of(engine, cargo.one.id)
        host, status = found.attrs["HostConfig"], found.exec_run(["cat", "/proc/1/status"]).output
        write = found.exec_run(["python3", "-c", "open('/bundle/new', 'w')"], user="0")
        spare = found.exec_run(["python3", "-c", "open('/tmp/new', 'w')"])
    assert (host["Memory"], host["MemorySwap"]) == (512 << 20, 512 << 20)
    assert (host["NanoCpus"], host["PidsLimit"]) == (10**9, 128)
    assert b"CapBnd:\t0000000000000000" in status
    assert b"NoNewPrivs:\t1" in status
    assert b"Read-only file system" in write.output
    assert spare.exit_code == 0
    (port,) = found.attrs["NetworkSettings"]["Ports"]["8080/tcp"]
    assert port["HostIp"] == "127.0.0.1"


def test_a_crashed_container_comes_back_where_it_was(runtime: DockerRuntime, cargo: Cargo) -> None:
    """The engine starts it again, at the same address; nobody needs to tell the gateways."""
    (endpoint,) = runtime.start(cargo.one, 1, LIMITS)
    with connected() as engine:
        (found,) = runtime._of(engine, cargo.one.id)
        os.kill(found.attrs["State"]["Pid"], signal.SIGKILL)

        def again() -> bool:
            found.reload()
            return bool(found.attrs["RestartCount"]) and runtime.probe(endpoint)

        until(again, 30, "the container again")
    assert dict(runtime.list()) == {cargo.one.id: (endpoint,)}


def test_a_stopped_container_is_started_anew(runtime: DockerRuntime, cargo: Cargo) -> None:
    """What somebody ended is no longer listed, and the next start brings it; the other stays."""
    _, second = runtime.start(cargo.one, 2, LIMITS)
    with connected() as engine:
        runtime._of(engine, cargo.one.id)[0].kill()
    until(lambda: dict(runtime.list()) == {cargo.one.id: (second,)}, 10, "one left")
    anew = runtime.start(cargo.one, 2, LIMITS)
    assert anew[1] == second
    assert all(map(runtime.probe, anew))


def test_what_has_ended_is_told_until_it_is_stopped(runtime: DockerRuntime, cargo: Cargo) -> None:
    """A release of which nothing runs any more is told without endpoints, so somebody stops it."""
    runtime.start(cargo.one, 1, LIMITS)
    with connected() as engine:
        runtime._of(engine, cargo.one.id)[0].kill()
    until(lambda: dict(runtime.list()) == {cargo.one.id: ()}, 10, "none left")
    runtime.stop(cargo.one.id)
    assert _left(runtime) == []
    assert dict(runtime.list()) == {}


def test_another_homes_containers_are_left_alone(
    runtime: DockerRuntime, cargo: Cargo, tmp_path: Path
) -> None:
    """A runtime of another folder neither sees nor stops them."""
    (endpoint,) = runtime.start(cargo.one, 1, LIMITS)
    other = DockerRuntime(tmp_path / "another home")
    assert dict(other.list()) == {}
    other.stop(cargo.one.id)
    assert runtime.probe(endpoint)


def test_a_port_that_was_taken_meanwhile_is_exchanged(
    runtime: DockerRuntime, cargo: Cargo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program was first at the port chosen: the next free one is published."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        ports = iter([number, docker._free_port()])
        monkeypatch.setattr(docker, "_free_port", lambda: next(ports))
        (endpoint,) = runtime.start(cargo.one, 1, LIMITS)
    assert not endpoint.endswith(f":{number}")


def test_no_free_port_is_told_and_nothing_is_left(
    runtime: DockerRuntime, cargo: Cargo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where every port is taken there is one error, and no container."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(docker, "_free_port", lambda: taken.getsockname()[1])
        with pytest.raises(RuntimeFailure, match="finds no free port: see which program"):
            runtime.start(cargo.one, 1, LIMITS)
    assert _left(runtime) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"locators": {"image": ""}}, "has no image"),
        ({"locators": {"image": "slipway/no:such"}}, "does not have the image slipway/no:such"),
        ({"image": "sha256:0"}, "is not the one that was released"),
    ],
)
def test_a_missing_or_changed_image_is_refused(
    runtime: DockerRuntime, cargo: Cargo, changes: dict[str, Any], told: str
) -> None:
    """One clear error, before any container is made."""
    with pytest.raises(RuntimeFailure, match=told) as caught:
        runtime.start(replace(cargo.one, **changes), 1, LIMITS)
    assert caught.value.do
    assert _left(runtime) == []


@pytest.mark.parametrize("ours", [False, True])
def test_a_container_that_only_has_the_name_is_not_adopted(
    ours: bool, runtime: DockerRuntime, cargo: Cargo
) -> None:
    """Neither a stranger's, nor one of ours that runs another image than the one released."""
    name = f"{shared.name(runtime._scope, cargo.one.id)}-0"
    with connected() as engine:
        labels = {**shared.labels(runtime._scope, cargo.one), shared.REPLICA: "0"} if ours else {}
        other = engine.containers.create(image=BASE, name=name, labels=labels)
        try:
            with pytest.raises(RuntimeFailure, match="is not a replica of release") as refused:
                runtime.start(cargo.one, 1, LIMITS)
            assert f"docker rm {name}" in refused.value.do
            other.reload()
            assert other.status == "created"
        finally:
            other.remove(force=True)


def test_no_engine_is_told_with_its_address(tmp_path: Path) -> None:
    """Every call that needs the engine says so, and what to do."""
    runtime = DockerRuntime(tmp_path, engine=f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(RuntimeFailure, match="no Docker engine answers") as caught:
        runtime.list()
    assert "nobody.sock" in caught.value.where
    assert "runtime.kind: process" in caught.value.do


def test_a_name_that_is_always_taken_is_told_as_such(
    runtime: DockerRuntime, cargo: Cargo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container of another's that has the name and cannot be found is no lack of ports."""
    name = f"{shared.name(runtime._scope, cargo.one.id)}-0"
    with connected() as engine:
        taken = engine.containers.create(cargo.image.content, name=name)
        monkeypatch.setattr("docker.models.containers.ContainerCollection.get", _not_there)
        try:
            with pytest.raises(RuntimeFailure, match="another process makes one of that name"):
                runtime.start(cargo.one, 1, LIMITS)
        finally:
            taken.remove()


def _not_there(*_: Any) -> Any:
    """Looked for, it is gone."""
    from docker.errors import NotFound

    raise NotFound("it is gone")


def _left(runtime: DockerRuntime) -> list[str]:
    """The names of this home's containers, running or not."""
    with connected() as engine:
        mine = {"label": f"slipway.home={runtime._scope}"}
        return [str(c.name) for c in engine.containers.list(all=True, filters=mine)]
