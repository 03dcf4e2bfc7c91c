"""The Kubernetes runtime: a Deployment and a Service per release, an HTTPRoute per model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from slipway import container as shared
from slipway import manifests
from slipway.container import PORT
from slipway.daemon import answers
from slipway.errors import RuntimeFailure
from slipway.manifests import HOME, RELEASE, ROUTES, Manifest
from slipway.release import Release, short
from slipway.terms import Limits

LOG_LINES = 200
_NOT_STARTED, _NOT_FOUND, _EXISTS = 400, 404, 409
_HOPELESS = ("CrashLoopBackOff", "ErrImagePull", "ImagePullBackOff", "InvalidImageName")


class KubernetesRuntime:
    """Start, adopt and delete what a release needs in one namespace of a cluster.

    Endpoints are the pods' own addresses, so the gateways run inside the cluster too.

    Args:
        folder: where the mark of this home's objects is kept.
        namespace: where they are made; it must exist.
        context: of the kubeconfig; empty for its current one. Inside a cluster the pod's own
            account is used instead.
        parent: the cluster's Gateway (Gateway API) that takes users' requests; empty for no
            HTTPRoute.
        hostnames: of the HTTPRoute.
        gateway: the Service of Slipway's gateways, to which the HTTPRoute leads.
    """

    name = "kubernetes"

    def __init__(
        self,
        folder: Path,
        *,
        namespace: str = "default",
        context: str = "",
        parent: str = "",
        hostnames: Sequence[str] = (),
        gateway: str = "slipway-gateway",
    ) -> None:
        self.folder, self.namespace, self.context = folder, namespace, context
        self.parent, self.hostnames, self.gateway = parent, tuple(hostnames), gateway

    def render(self, release: Release, replicas: int, limits: Limits) -> list[Manifest]:
        """What ``start`` makes, for GitOps.

        Raises:
            RuntimeFailure: the release has no image.
        """
        if not release.locators.get("image"):
            raise shared.no_image(release)
        place = (self._scope, self.namespace)
        made = [
            manifests.deployment(release, *place, replicas, limits),
            manifests.service(release, *place),
        ]
        if self.parent:
            made.append(
                manifests.route(release.model, *place, self.parent, self.hostnames, self.gateway)
            )
        return made

    def start(self, release: Release, replicas: int, limits: Limits) -> tuple[str, ...]:
        """Start, or adopt, a Deployment whose pods are ready.

        Returns:
            The pods' ``host:port``, oldest first.

        Raises:
            RuntimeFailure: the release has no image, the cluster cannot be reached or refuses, or a
                pod ended or is not ready in time; a Deployment that this call made is deleted.
        """
        objects = self.render(release, replicas, limits)
        with self._cluster() as cluster:
            made = cluster.create(objects[0])
            try:
                for manifest in objects[1:]:
                    cluster.create(manifest)
                if not made:
                    cluster.at_least(objects[0]["metadata"]["name"], replicas)
                shared.await_answers(
                    lambda: self._endpoints(cluster, release.id),
                    replicas,
                    lambda: _failures(cluster, self._pods(cluster, release.id)),
                )
                return self._endpoints(cluster, release.id)[:replicas]
            except BaseException:
                if made:
                    self._delete(cluster, release.id)
                raise

    def stop(self, release_id: str) -> None:
        """Delete a release's objects; that there are none is no error."""
        with self._cluster() as cluster:
            self._delete(cluster, release_id)

    def list(self) -> Mapping[str, tuple[str, ...]]:
        """Release id to the endpoints of pods that are ready."""
        with self._cluster() as cluster:
            ids = {pod.metadata.annotations[RELEASE] for pod in self._pods(cluster)}
            return {release: self._endpoints(cluster, release) for release in sorted(ids)}

    def logs(self, release_id: str) -> Iterator[str]:
        """The last lines that a release's pods wrote, pod by pod."""
        with self._cluster() as cluster:
            for pod in self._pods(cluster, release_id):
                yield from cluster.log(pod, LOG_LINES).splitlines()

    def probe(self, endpoint: str) -> bool:
        """Whether a replica says that it is ready."""
        return answers(endpoint, shared.HEALTH)

    @property
    def _scope(self) -> str:
        return shared.scope(self.folder)

    @contextmanager
    def _cluster(self) -> Iterator[Cluster]:
        """The cluster's API.

        Raises:
            RuntimeFailure: none is named, it does not answer, or it refuses.
        """
        from kubernetes import client, config
        from urllib3.exceptions import HTTPError

        told: Exception
        try:
            with client.ApiClient(_settings(self.context)) as api:
                yield Cluster(api, self.namespace)
            return
        except client.ApiException as error:
            told, what = error, f"the cluster refuses: {error.status} {error.reason}"
        except HTTPError as error:
            told, what = error, f"the cluster does not answer: {error}"
        except config.ConfigException as error:
            told, what = error, f"no cluster is named: {error}"
        raise RuntimeFailure(
            what,
            where=f"namespace {self.namespace}",
            do="check kubeconfig, the context, and what this account may do there",
        ) from told

    def _pods(self, cluster: Cluster, release_id: str = "") -> Sequence[Any]:
        """Pods of this home, or of one release, oldest first; those being deleted left out."""
        chosen = f"{HOME}={self._scope}" + (release_id and f",{RELEASE}={short(release_id)}")
        found = cluster.core.list_namespaced_pod(self.namespace, label_selector=chosen).items
        left = [pod for pod in found if pod.metadata.deletion_timestamp is None]
        return sorted(left, key=lambda p: (p.metadata.creation_timestamp, p.metadata.name))

    def _endpoints(self, cluster: Cluster, release_id: str) -> tuple[str, ...]:
        pods = self._pods(cluster, release_id)
        return tuple(f"{pod.status.pod_ip}:{PORT}" for pod in pods if _ready(pod))

    def _delete(self, cluster: Cluster, release_id: str) -> None:
        """Delete a release's objects and wait until its pods are gone."""
        endpoints = self._endpoints(cluster, release_id)
        for kind in ("Deployment", "Service"):
            cluster.delete(kind, shared.name(self._scope, release_id))
        shared.await_silence(endpoints)


class Cluster:
    """One namespace through the official client.

    Args:
        api: a client with its settings.
    """

    def __init__(self, api: Any, namespace: str) -> None:
        from kubernetes import client

        self.namespace, self.refused = namespace, client.ApiException
        self.core, self.apps = client.CoreV1Api(api), client.AppsV1Api(api)
        custom = client.CustomObjectsApi(api)
        group, version, plural = ROUTES
        route = {"group": group, "version": version, "plural": plural}
        self._create = {
            "Deployment": self.apps.create_namespaced_deployment,
            "Service": self.core.create_namespaced_service,
            "HTTPRoute": partial(custom.create_namespaced_custom_object, **route),
        }
        self._delete = {
            "Deployment": self.apps.delete_namespaced_deployment,
            "Service": self.core.delete_namespaced_service,
        }

    def create(self, manifest: Manifest) -> bool:
        """Create an object; False where it is there already."""
        try:
            self._create[manifest["kind"]](namespace=self.namespace, body=manifest)
        except self.refused as error:
            if error.status != _EXISTS:
                raise
            return False
        return True

    def delete(self, kind: str, name: str) -> None:
        """Delete an object and what it owns; that it is not there is no error."""
        try:
            self._delete[kind](name=name, namespace=self.namespace, propagation_policy="Foreground")
        except self.refused as error:
            if error.status != _NOT_FOUND:
                raise

    def at_least(self, name: str, replicas: int) -> None:
        """Have a Deployment run at least so many pods."""
        found = self.apps.read_namespaced_deployment(name, self.namespace)
        if found.spec.replicas < replicas:
            more = {"spec": {"replicas": replicas}}
            self.apps.patch_namespaced_deployment(name, self.namespace, more)

    def log(self, pod: Any, lines: int) -> str:
        """The end of a pod's log; nothing where it has not started."""
        try:
            told: str = self.core.read_namespaced_pod_log(
                pod.metadata.name, self.namespace, tail_lines=lines
            )
        except self.refused as error:
            if error.status not in (_NOT_FOUND, _NOT_STARTED):
                raise
            return ""
        return told


def _settings(context: str) -> Any:
    """Of the pod's own account inside a cluster, else of the kubeconfig."""
    from kubernetes import client, config

    settings = client.Configuration()
    settings.retries = False
    if os.environ.get("KUBERNETES_SERVICE_HOST") and not context:
        config.load_incluster_config(client_configuration=settings)
    else:
        file = os.environ.get("KUBECONFIG", "~/.kube/config")  # the client asked at its import
        config.load_kube_config(file, context or None, settings)
    return settings


def _ready(pod: Any) -> bool:
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ())


def _failures(cluster: Cluster, pods: Sequence[Any]) -> dict[str, str]:
    """Pods that ended or cannot start, with the cluster's word on why, and their last lines."""
    found = {}
    for pod in pods:
        for status in pod.status.container_statuses or ():
            waiting, ended = status.state.waiting, status.state.terminated
            why = waiting.reason if waiting and waiting.reason in _HOPELESS else ""
            if why or ended or (status.restart_count and not status.ready):
                log = shared.last_lines(cluster.log(pod, 5).encode())
                found[f"pod {pod.metadata.name}"] = f"{why or 'ended'} | {log}"
    return found
