"""The swarm runtime: a service per release, replicas spread over the nodes of a Docker swarm."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway import container as shared
from slipway.container import HOME, PORT, RELEASE
from slipway.daemon import answers
from slipway.engine import connected
from slipway.release import Release
from slipway.terms import Limits

if TYPE_CHECKING:
    from docker import DockerClient

LOG_LINES = 200
SCRATCH = "/tmp"  # noqa: S108  the container's own
_SECOND = 1_000_000_000  # in the engine's unit
# The image's own check, more often: the swarm counts a replica as running once it has passed.
# Patiently: a swarm ends what fails it, and a loaded node answers late.
_HEALTH = {
    "Interval": 3 * _SECOND,
    "Timeout": 10 * _SECOND,
    "StartPeriod": 30 * _SECOND,
    "Retries": 6,
}
_BAD = ("failed", "rejected")
Row = Mapping[str, Any]


class SwarmRuntime:
    """Start, adopt and remove services of the swarm that an engine manages.

    Every replica publishes a port of its own on its own node, so that the gateways see each by
    itself, and pass over one whose node is lost until the swarm has started it elsewhere.

    Args:
        folder: where the mark of this home's services is kept.
        engine: the address of a manager's engine; empty for ``DOCKER_HOST``, or this machine's.
        constraints: where replicas may run, as the swarm writes it (``node.labels.gpu==yes``).
    """

    name = "swarm"

    def __init__(self, folder: Path, *, engine: str = "", constraints: Sequence[str] = ()) -> None:
        self.folder, self.engine, self.constraints = folder, engine, list(constraints)

    def start(self, release: Release, replicas: int, limits: Limits) -> tuple[str, ...]:
        """Start, or adopt, a service whose replicas answer.

        Returns:
            Their ``host:port``, in the order of their slots.

        Raises:
            RuntimeFailure: no manager answers, it lacks the image or has another one, or a replica
                ended or did not answer in time; a service that this call made is removed again.
        """
        with self._manager() as engine:
            reference, identity = shared.sealed_image(engine, release)
            # By its id a node takes the image that was loaded into it, and asks no registry.
            image = reference if shared.is_remote(reference) else identity
            made = self._ensure(engine, release, image, replicas, limits)
            name = shared.name(self._scope, release.id)
            before = set() if made else {task["ID"] for task in _bad(engine, name)}
            try:
                shared.await_answers(
                    lambda: self._endpoints(engine, name),
                    replicas,
                    lambda: _failures(engine, name, before),
                )
                return self._endpoints(engine, name)[:replicas]
            except BaseException:
                if made:
                    self._remove(engine, name)
                raise

    def stop(self, release_id: str) -> None:
        """Remove a release's service; that there is none is no error."""
        with self._manager() as engine:
            self._remove(engine, shared.name(self._scope, release_id))

    def list(self) -> Mapping[str, tuple[str, ...]]:
        """Release id to the endpoints of replicas that run, on nodes that are there."""
        with self._manager() as engine:
            mine = _api(engine).services(filters={"label": f"{HOME}={self._scope}"})
            specs = [row["Spec"] for row in mine]
            return {s["Labels"][RELEASE]: self._endpoints(engine, s["Name"]) for s in specs}

    def logs(self, release_id: str) -> Iterator[str]:
        """The last lines that a release's replicas wrote, as the manager gathers them."""
        from docker.errors import NotFound

        name = shared.name(self._scope, release_id)
        with self._manager() as engine:
            try:
                told = _api(engine).service_logs(name, stdout=True, stderr=True, tail=LOG_LINES)
                yield from b"".join(told).decode(errors="replace").splitlines()
            except NotFound:
                return

    def probe(self, endpoint: str) -> bool:
        """Whether a replica says that it is ready."""
        return answers(endpoint, shared.HEALTH)

    def _manager(self) -> AbstractContextManager[DockerClient]:
        return connected(self.engine, timeout=shared.ENGINE_SECONDS, instead=shared.INSTEAD)

    @property
    def _scope(self) -> str:
        return shared.scope(self.folder)

    def _ensure(
        self, engine: DockerClient, release: Release, image: str, replicas: int, limits: Limits
    ) -> bool:
        """Have the service, with at least so many replicas. Whether this call made it."""
        from docker.errors import APIError
        from docker.types import ServiceMode

        name = shared.name(self._scope, release.id)
        spec = self._spec(release, image, replicas, limits)
        try:
            _api(engine).create_service(**spec, name=name)
        except APIError as error:
            if error.status_code != 409:
                raise
        else:
            return True
        found = _api(engine).inspect_service(name)
        if found["Spec"]["Mode"]["Replicated"]["Replicas"] < replicas:
            more = ServiceMode("replicated", replicas=replicas)
            _api(engine).update_service(
                name, found["Version"]["Index"], name=name, mode=more, fetch_current_spec=True
            )
        return False

    def _spec(self, release: Release, image: str, replicas: int, limits: Limits) -> dict[str, Any]:
        """The service as the engine's API takes it."""
        from docker.types import EndpointSpec, ServiceMode

        marks = shared.labels(self._scope, release)
        placement = {"Preferences": [{"Spread": {"SpreadDescriptor": "node.id"}}]}
        published = {"Protocol": "tcp", "TargetPort": PORT, "PublishMode": "host"}
        return {
            "task_template": {
                "ContainerSpec": _container(image, marks),
                "Resources": {"Limits": _held(limits)},
                "RestartPolicy": {"Condition": "any", "Delay": _SECOND},
                "Placement": {**placement, "Constraints": self.constraints},
            },
            "labels": marks,
            "mode": ServiceMode("replicated", replicas=replicas),
            "endpoint_spec": EndpointSpec(mode="dnsrr") | {"Ports": [published]},
        }

    def _endpoints(self, engine: DockerClient, name: str) -> tuple[str, ...]:
        """Where the replicas of a service run, by slot, leaving out lost nodes."""
        nodes = {n["ID"]: n["Status"] for n in _api(engine).nodes()}
        found = {}
        for task in _tasks(engine, name):
            node = nodes.get(task.get("NodeID", ""), {})
            ports = task["Status"].get("PortStatus", {}).get("Ports", [])
            if task["Status"]["State"] == "running" and node.get("State") == "ready" and ports:
                found[task["Slot"]] = f"{node['Addr']}:{ports[0]['PublishedPort']}"
        return tuple(found[slot] for slot in sorted(found))

    def _remove(self, engine: DockerClient, name: str) -> None:
        """Remove a service and wait until its replicas are gone."""
        from docker.errors import NotFound

        try:
            endpoints = self._endpoints(engine, name)
            _api(engine).remove_service(name)
        except NotFound:
            return
        shared.await_silence(endpoints)


def _api(engine: DockerClient) -> Any:
    """The engine's own calls, whose types nobody has written down."""
    return engine.api


def _container(image: str, marks: Mapping[str, str]) -> dict[str, Any]:
    scratch = {"Type": "tmpfs", "Target": SCRATCH, "TmpfsOptions": {"SizeBytes": 64 << 20}}
    return {
        "Image": image,
        "Labels": dict(marks),
        "ReadOnly": True,
        "CapabilityDrop": ["ALL"],
        "Mounts": [scratch],
        "Healthcheck": _HEALTH,
        # Its defaults, spelt out: where they are not, a change of the replicas restarts them all.
        "DNSConfig": {},
        "StopGracePeriod": 10 * _SECOND,
    }


def _held(limits: Limits) -> dict[str, int]:
    return {
        "MemoryBytes": limits.memory_mb << 20,
        "NanoCPUs": round(limits.cpus * 1e9),
        "Pids": limits.pids,
    }


def _tasks(engine: DockerClient, name: str) -> Sequence[Row]:
    """The tasks that the swarm wants to run, of one service."""
    wanted = {"service": name, "desired-state": "running"}
    found: Sequence[Row] = _api(engine).tasks(filters=wanted)
    return found


def _bad(engine: DockerClient, name: str) -> Sequence[Row]:
    """The tasks of a service that failed; a swarm remembers some of the past."""
    tasks = _api(engine).tasks(filters={"service": name})
    return [task for task in tasks if task["Status"]["State"] in _BAD]


def _failures(engine: DockerClient, name: str, before: Container[str]) -> dict[str, str]:
    """Replicas that failed but for those before, with the swarm's word on why and last lines."""
    bad = [task["Status"] for task in _bad(engine, name) if task["ID"] not in before]
    if not bad:
        return {}
    log = b"".join(_api(engine).service_logs(name, stdout=True, stderr=True, tail=5))
    return {f"service {name}": f"{bad[0].get('Err', bad[0]['State'])} | {shared.last_lines(log)}"}
