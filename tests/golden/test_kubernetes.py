"""The Kubernetes manifests as whole text, held against the published schemas."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from slipway import manifests
from slipway.release import Release
from slipway.runtimes.kubernetes import KubernetesRuntime
from slipway.terms import Limits
from slipway.testing import release

GOLDEN = Path(__file__).with_name("kubernetes.golden.yaml")
PACKAGE = "@kubernetes-models/gateway-api@0.5.1"  # made from the CRDs of Gateway API 1.0
CHECK = """
const { HTTPRoute } = require("@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1");
const given = JSON.parse(require("fs").readFileSync(0));
try { new HTTPRoute(given).validate(); } catch (e) { console.log(e.message); process.exit(1); }
"""


def in_registry() -> Release:
    """A release whose image a cluster can get."""
    image = "registry.example:5000/slipway/flights@sha256:" + "0" * 64
    return replace(release("golden"), locators={"image": image})


@pytest.fixture
def rendered(tmp_path: Path) -> list[dict[str, Any]]:
    """All that a release with an HTTPRoute needs."""
    (tmp_path / "scope").write_text("0123abcd")
    runtime = KubernetesRuntime(
        tmp_path, namespace="models", parent="public", hostnames=["models.example"]
    )
    return runtime.render(in_registry(), 2, Limits(memory_mb=512, cpus=0.5))


def test_the_manifests_are_these(rendered: list[dict[str, Any]]) -> None:
    """Every byte, so that a change of what runs in a cluster is seen in review."""
    assert manifests.text(rendered) == GOLDEN.read_text()


def test_deployment_and_service_keep_the_published_schemas(
    rendered: list[dict[str, Any]],
) -> None:
    """Strictly: a field that Kubernetes does not know fails too."""
    for manifest in rendered[:2]:
        kubernetes_validate.validate(manifest, "1.37", strict=True)
    wrong = manifests.service(in_registry(), "0123abcd", "models")
    wrong["spec"]["selektor"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


@pytest.fixture(scope="session")
def gateway_api(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published schema of HTTPRoute, from npm."""
    missing = "npm is not installed (Debian: npm), from which the schema of HTTPRoute comes"
    if shutil.which("npm") is None:
        (pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip)(missing)
    folder = tmp_path_factory.mktemp("gateway-api")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.mark.real
def test_the_route_keeps_the_published_schema(
    rendered: list[dict[str, Any]], gateway_api: Path
) -> None:
    """Gateway API's own schema takes it, and refuses one with a wrong kind of match."""
    assert _check(gateway_api, rendered[2]) == ""
    wrong = json.loads(json.dumps(rendered[2]))
    wrong["spec"]["rules"][0]["matches"][0]["path"]["type"] = "Prefix"
    assert "type" in _check(gateway_api, wrong)


def _check(folder: Path, manifest: dict[str, Any]) -> str:
    """What the schema says against a manifest; nothing if it is right."""
    done = subprocess.run(
        ["node", "-e", CHECK],
        cwd=folder,
        input=json.dumps(manifest),
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout.strip()
