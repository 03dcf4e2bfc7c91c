"""The Kubernetes runtime through the official client, against a stand-in for a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_cluster import small_cluster

from slipway.conformance.runtime import LAWS, LIMITS, Trial
from slipway.errors import RuntimeFailure
from slipway.release import Release
from slipway.runtimes.kubernetes import KubernetesRuntime
from slipway.testing import release


def in_image(name: str, image: str) -> Release:
    """A release that runs as an image."""
    return replace(release(name), locators={"image": image})


@pytest.fixture
def cluster(
    bundles: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A stand-in whose images are a bundle that serves, and one that does not."""
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "serve.py").write_text("raise SystemExit('the model file is gone')\n")
    with small_cluster({"good": bundles["onnx"].path, "bad": broken}, tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        yield tmp_path


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_kubernetes_runtime_keeps_the_law(law: Callable[[Trial], None], cluster: Path) -> None:
    """Every call goes through the official client and over HTTP; the pods are real processes."""
    one, two, broken = in_image("1", "good"), in_image("2", "good"), in_image("3", "bad")
    law(Trial(lambda: KubernetesRuntime(cluster / "home", parent="public"), one, two, broken))


def test_a_pod_that_ends_tells_its_last_lines(cluster: Path) -> None:
    """The error carries what the pod said."""
    with pytest.raises(RuntimeFailure, match="the model file is gone"):
        KubernetesRuntime(cluster / "home").start(in_image("3", "bad"), 1, LIMITS)


def test_no_cluster_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no kubeconfig names one, and where the one named does not answer."""
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(RuntimeFailure, match="no cluster is named"):
        KubernetesRuntime(tmp_path).list()
    with small_cluster({}, tmp_path) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        assert dict(KubernetesRuntime(tmp_path).list()) == {}
    with pytest.raises(RuntimeFailure, match="the cluster does not answer") as caught:
        KubernetesRuntime(tmp_path).list()
    assert caught.value.do


def test_without_an_image_nothing_is_made(cluster: Path) -> None:
    """A release that has none is refused before the cluster is asked."""
    with pytest.raises(RuntimeFailure, match="has no image"):
        KubernetesRuntime(cluster / "home").start(in_image("1", ""), 1, LIMITS)


@pytest.mark.parametrize("kind", ["services", "httproutes"])
def test_what_an_account_may_not_make_leaves_nothing(
    kind: str, bundles: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused half-way, the start is told and the Deployment that it made is deleted again."""
    with small_cluster({"good": bundles["onnx"].path}, tmp_path, kind) as kubeconfig:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
        runtime = KubernetesRuntime(tmp_path / "home", parent="public")
        with pytest.raises(RuntimeFailure, match="the cluster refuses: 403"):
            runtime.start(in_image("1", "good"), 1, LIMITS)
        with runtime._cluster() as cluster:
            assert runtime._pods(cluster) == []
