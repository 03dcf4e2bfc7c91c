"""A release as Kubernetes manifests: plain values, the same for the same release."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from slipway import container as shared
from slipway.container import PORT
from slipway.release import Release, short
from slipway.terms import Limits

HOME, RELEASE, MODEL = (f"slipway/{name}" for name in ("home", "release", "model"))
ROUTES = ("gateway.networking.k8s.io", "v1", "httproutes")
GATEWAY_PORT = 8700
_NOBODY = 65532  # as the image runs
_SCRATCH = {"name": "scratch", "mountPath": "/tmp"}  # noqa: S108  the container's own
Manifest = dict[str, Any]


def deployment(
    release: Release, scope: str, namespace: str, replicas: int, limits: Limits
) -> Manifest:
    """The Deployment of a release: pods that may write nowhere and become nobody else.

    Source: Kubernetes API reference v1.37, apps/v1 Deployment; the pod keeps the *restricted* Pod
    Security Standard.
    """
    chosen = _labels(release, scope)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(release, scope, namespace),
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": chosen},
            "template": {
                "metadata": {"labels": chosen, "annotations": {RELEASE: release.id}},
                "spec": _pod(release, chosen, limits),
            },
        },
    }


def service(release: Release, scope: str, namespace: str) -> Manifest:
    """The Service of a release, for whoever asks one release by name."""
    ports = [{"name": "http", "port": PORT, "targetPort": "http", "appProtocol": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(release, scope, namespace),
        "spec": {"selector": _labels(release, scope), "ports": ports},
    }


def route(
    model: str, scope: str, namespace: str, parent: str, hostnames: Sequence[str], gateway: str
) -> Manifest:
    """The HTTPRoute of a model: from the cluster's Gateway to Slipway's, which knows the shares.

    Source: Gateway API v1, HTTPRoute. Shares are not written as its weights: those are drawn anew
    for each request, and a user would change arms.

    Args:
        parent: the name of the cluster's Gateway.
        gateway: the name of the Service of Slipway's gateways.
    """
    own = (f"/{model}", f"/v2/models/{model}")
    paths = [{"path": {"type": "PathPrefix", "value": value}} for value in own]
    spec: Manifest = {
        "parentRefs": [{"name": parent}],
        "rules": [{"matches": paths, "backendRefs": [{"name": gateway, "port": GATEWAY_PORT}]}],
    }
    if hostnames:
        spec["hostnames"] = list(hostnames)
    return {
        "apiVersion": "/".join(ROUTES[:2]),
        "kind": "HTTPRoute",
        "metadata": {
            "name": f"slipway-{scope}-{model.replace('_', '-')}",
            "namespace": namespace,
            "labels": {HOME: scope, MODEL: model},
        },
        "spec": spec,
    }


def _labels(release: Release, scope: str) -> dict[str, str]:
    return {HOME: scope, RELEASE: short(release.id), MODEL: release.model}


def _metadata(release: Release, scope: str, namespace: str) -> Manifest:
    return {
        "name": shared.name(scope, release.id),
        "namespace": namespace,
        "labels": _labels(release, scope),
        "annotations": {RELEASE: release.id},  # a label cannot hold the whole id
    }


def _pod(release: Release, chosen: Mapping[str, str], limits: Limits) -> Manifest:
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": dict(chosen)},
    }
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 30,
        "topologySpreadConstraints": [spread],
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _NOBODY,
            "runAsGroup": _NOBODY,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(release, limits)],
        "volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}],
    }


def _container(release: Release, limits: Limits) -> Manifest:
    held = {"memory": f"{limits.memory_mb}Mi", "cpu": f"{round(limits.cpus * 1000)}m"}
    ping = {"httpGet": {"path": shared.HEALTH, "port": "http"}}
    return {
        "name": "model",
        "image": release.locators["image"],
        "imagePullPolicy": "IfNotPresent",
        "ports": [{"name": "http", "containerPort": PORT}],
        "resources": {"requests": held, "limits": held},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": {**ping, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {**ping, "periodSeconds": 2, "timeoutSeconds": 2},
        "livenessProbe": {**ping, "periodSeconds": 10, "timeoutSeconds": 3},
        "volumeMounts": [_SCRATCH],
    }


def text(objects: Iterable[Manifest]) -> str:
    """Manifests as the YAML that people review: each written out whole, without references."""
    import yaml

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    return yaml.dump_all(objects, Dumper=Plain, sort_keys=False)
