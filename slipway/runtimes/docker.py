"""The docker runtime: replicas as containers of one engine, on loopback, held to their limits."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway import container as shared
from slipway.container import HOME, PORT, RELEASE, REPLICA
from slipway.daemon import answers
from slipway.engine import connected
from slipway.errors import RuntimeFailure
from slipway.release import Release, short
from slipway.terms import Limits

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

LOOPBACK = "127.0.0.1"
LOG_LINES = 200
_STOP_SECONDS = 10
_TRIES = 5
_IN_USE, _GONE = 403, 404
_TAKEN = ("port is already allocated", "address already in use")
_ENDED = ("exited", "dead")
_KILLED = 137  # by SIGKILL


class DockerRuntime:
    """Start, adopt and stop containers of one Docker engine.

    Each is read-only but for a small ``/tmp``, has no capabilities and gains none, and is alone on
    its network. Its port is published on this machine's loopback unless told otherwise, and stays
    the same when the engine starts it again.

    Args:
        folder: where the mark of this home's containers is kept.
        engine: the engine's address; empty for ``DOCKER_HOST``, or this machine's.
        address: of this machine or the engine's, at which ports are published and reached.
        network: a network of the engine that the gateway is on too: replicas then join it, are
            reached by name, and publish nothing. Empty for ``SLIPWAY_DOCKER_NETWORK``, or one of
            our own.
    """

    name = "docker"

    def __init__(
        self, folder: Path, *, engine: str = "", address: str = LOOPBACK, network: str = ""
    ) -> None:
        self.folder, self.engine, self.address = folder, engine, address
        self.network = network or os.environ.get("SLIPWAY_DOCKER_NETWORK", "")

    def start(self, release: Release, replicas: int, limits: Limits) -> tuple[str, ...]:
        """Start, or adopt, replicas that answer.

        Returns:
            Their ``host:port``, in the order of their numbers.

        Raises:
            RuntimeFailure: no engine answers, it lacks the image or has another one, or a replica
                ended or did not answer in time; those that this call started are removed again.
        """
        made: dict[str, Container] = {}
        with self._engine() as engine:
            _, image = shared.sealed_image(engine, release)  # a tag could be moved meanwhile
            settings = {**self._settings(engine, release), **_held(limits), "image": image}
            try:
                running = [self._ensure(engine, settings, n, made) for n in range(replicas)]
                endpoints = tuple(self._endpoint(each.attrs) for each in running)
                before = {each.id: each.attrs["RestartCount"] for each in running}
                shared.await_answers(lambda: endpoints, replicas, lambda: _ended(running, before))
            except BaseException:
                for each in made.values():
                    each.remove(force=True)
                self._drop_network(engine)
                raise
        return endpoints

    def stop(self, release_id: str) -> None:
        """Stop and remove a release's containers; that there are none is no error."""
        from docker.errors import NotFound

        with self._engine() as engine:
            for each in self._of(engine, release_id):
                try:
                    each.stop(timeout=_STOP_SECONDS)
                    each.remove(force=True)
                except NotFound:  # another process was first
                    continue
            self._drop_network(engine)

    def list(self) -> Mapping[str, tuple[str, ...]]:
        """Release id to the endpoints of its containers that run; none where none does."""
        found: dict[str, list[tuple[int, str]]] = {}
        with self._engine() as engine:
            wanted = {"label": f"{HOME}={self._scope}"}
            for row in engine.api.containers(all=True, filters=wanted):
                told = row["Labels"]
                running = found.setdefault(told[RELEASE], [])
                if row["State"] == "running":
                    running.append((int(told[REPLICA]), self._endpoint_of_row(row)))
        return {release: tuple(e for _, e in sorted(rows)) for release, rows in found.items()}

    def logs(self, release_id: str) -> Iterator[str]:
        """The last lines that a release's containers wrote, oldest first."""
        with self._engine() as engine:
            for each in self._of(engine, release_id):
                yield from each.logs(tail=LOG_LINES).decode(errors="replace").splitlines()

    def probe(self, endpoint: str) -> bool:
        """Whether a replica says that it is ready."""
        return answers(endpoint, shared.HEALTH)

    def _engine(self) -> AbstractContextManager[DockerClient]:
        return connected(self.engine, timeout=shared.ENGINE_SECONDS, instead=shared.INSTEAD)

    @property
    def _scope(self) -> str:
        return shared.scope(self.folder)

    def _of(self, engine: DockerClient, release_id: str) -> Sequence[Container]:
        mine = [f"{HOME}={self._scope}", f"{RELEASE}={release_id}"]
        found = engine.containers.list(all=True, filters={"label": mine})
        return sorted(found, key=lambda each: int(each.labels[REPLICA]))

    def _settings(self, engine: DockerClient, release: Release) -> dict[str, Any]:
        return {
            "name": shared.name(self._scope, release.id),
            "labels": shared.labels(self._scope, release),
            "network": self.network or self._own_network(engine),
        }

    def _own_network(self, engine: DockerClient) -> str:
        """A network of this home's, on which replicas cannot reach each other."""
        from docker.errors import APIError

        own = f"slipway-{self._scope}"
        if not engine.networks.list(names=[f"^{own}$"]):
            try:
                engine.networks.create(
                    own,
                    driver="bridge",
                    check_duplicate=True,
                    labels={HOME: self._scope},
                    options={"com.docker.network.bridge.enable_icc": "false"},
                )
            except APIError as error:
                if error.status_code != 409:  # else another process was first
                    raise
        return own

    def _drop_network(self, engine: DockerClient) -> None:
        """Remove our own network, once nothing is on it."""
        from docker.errors import APIError

        mine = {"label": f"{HOME}={self._scope}"}
        if not engine.api.containers(all=True, filters=mine):
            for network in engine.networks.list(filters=mine):
                try:
                    network.remove()
                except APIError as error:
                    if error.status_code not in (
                        _IN_USE,
                        _GONE,
                    ):  # by a start meanwhile, or already
                        raise

    def _ensure(
        self,
        engine: DockerClient,
        settings: dict[str, Any],
        number: int,
        made: dict[str, Container],
    ) -> Container:
        """The container of one replica: as it runs, or made and started."""
        from docker.errors import APIError, NotFound

        name = f"{settings['name']}-{number}"
        labels = {**settings["labels"], REPLICA: str(number)}
        mine = {"name": name, "labels": labels}
        why = ""
        for _ in range(_TRIES):
            try:
                found = engine.containers.get(name)
            except NotFound:
                try:
                    found = engine.containers.create(**{**settings, **self._published(), **mine})
                except APIError as error:
                    if error.status_code != 409:
                        raise
                    why = "another process makes one of that name and removes it again"
                    continue
                made[name] = found
            _require_replica(found, labels, settings["image"])
            if found.status in _ENDED:
                why = "one of that name has ended each time"
            elif self._started(found):
                return found
            else:
                why = "it finds no free port: see which program takes those of the ephemeral range"
            found.remove(force=True)
            made.pop(name, None)
        raise RuntimeFailure(
            f"container {name} does not start in {_TRIES} tries: {why}",
            where=self.address,
            do="mend that, then run the same again",
        )

    def _started(self, found: Container) -> bool:
        """Start a container where it does not run; False where its port is taken by now."""
        from docker.errors import APIError

        try:
            found.start()  # one that runs is left as it is
        except APIError as error:
            if any(words in str(error.explanation) for words in _TAKEN):
                return False
            raise
        found.reload()
        return True

    def _published(self) -> dict[str, Any]:
        return {} if self.network else {"ports": {f"{PORT}/tcp": (self.address, _free_port())}}

    def _endpoint(self, attrs: Mapping[str, Any]) -> str:
        if self.network:
            return f"{attrs['Name'].lstrip('/')}:{PORT}"
        bound = attrs["HostConfig"]["PortBindings"][f"{PORT}/tcp"][0]
        return f"{bound['HostIp']}:{bound['HostPort']}"

    def _endpoint_of_row(self, row: Mapping[str, Any]) -> str:
        if self.network:
            return f"{row['Names'][0].lstrip('/')}:{PORT}"
        public = [p for p in row["Ports"] if p.get("PublicPort")]
        return f"{public[0]['IP']}:{public[0]['PublicPort']}" if public else ""


def _require_replica(found: Container, labels: Mapping[str, str], image: str) -> None:
    """Refuse a container that only has the name of a replica.

    Raises:
        RuntimeFailure: it is not labelled as that replica, or runs another image.
    """
    if found.attrs["Image"] != image or not labels.items() <= found.labels.items():
        raise RuntimeFailure(
            f"the container {found.name} is not a replica of release {short(labels[RELEASE])}",
            where=f"image {found.attrs['Image']}",
            do=f"find out whose it is; 'docker rm {found.name}', then run the same again",
        )


def _held(limits: Limits) -> dict[str, Any]:
    """How the engine is told what a container may use and do."""
    memory = f"{limits.memory_mb}m"
    return {
        "mem_limit": memory,
        "memswap_limit": memory,  # of memory and swap together: so no swap
        "nano_cpus": round(limits.cpus * 1e9),
        "pids_limit": limits.pids,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "tmpfs": {"/tmp": "size=64m,mode=1777,noexec,nosuid,nodev"},  # noqa: S108  the container's
        "restart_policy": {"Name": "unless-stopped"},
        "log_config": {"type": "json-file", "config": {"max-size": "10m", "max-file": "3"}},
    }


def _ended(containers: Sequence[Container], before: Mapping[str | None, int]) -> dict[str, str]:
    """Which of them have ended, or were started again since, with their last lines."""
    found = {}
    for each in containers:
        each.reload()
        if each.status in _ENDED or each.attrs["RestartCount"] > before[each.id]:
            state, limit = each.attrs["State"], each.attrs["HostConfig"]["Memory"]
            killed = state["OOMKilled"] or state["ExitCode"] == _KILLED
            why = f"killed, as for lack of memory (it has {limit >> 20} MB) | " if killed else ""
            found[f"container {each.name}"] = why + shared.last_lines(each.logs(tail=LOG_LINES))
    return found


def _free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
