"""What deploy/ holds, as far as a test brings it up: the gateway's image and the compose file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from containers import BASE, require_engine
from real_prefect import until

from slipway.daemon import answers
from slipway.engine import connected

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A container of the gateway's own image, with a ledger that nobody has written to."""
    require_engine()
    told = [f"--build-arg={n}={os.environ[n]}" for n in ("PIP_CERT",) if os.environ.get(n)]
    command = ["docker", "build", "--network=host", f"--build-arg=BASE={BASE}", *told]
    command += ["-f", "deploy/gateway.Dockerfile", "-t", "slipway-gateway:test", "."]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-2000:]
    with connected() as engine:
        running = engine.containers.run(
            "slipway-gateway:test",
            environment={"SLIPWAY_LEDGER": "sqlite:////var/lib/slipway/ledger.db"},
            detach=True,
            read_only=True,
            tmpfs={"/tmp": "", "/var/lib/slipway": "uid=65532,gid=65532"},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            ports={"8700/tcp": ("127.0.0.1", None)},
        )
        try:
            yield running
        finally:
            running.remove(force=True)


def test_the_gateway_serves_from_its_own_image(gateway: Any) -> None:
    """Read-only, as nobody, without Prefect or MLflow in it, it says that it is there."""
    gateway.reload()
    port = gateway.ports["8700/tcp"][0]["HostPort"]
    until(lambda: answers(f"127.0.0.1:{port}", "/healthz"), 30, "the gateway's answer")
    looked = gateway.exec_run(["python3", "-c", "import prefect"])
    assert b"No module named 'prefect'" in looked.output


def test_no_password_is_an_argument() -> None:
    """Whoever lists a host's processes sees none: passwords are in environments alone."""
    composed = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]
    commands = {name: json.dumps(each.get("command", [])) for name, each in composed.items()}
    assert [name for name, told in commands.items() if "PASSWORD" in told] == []


def test_the_compose_file_holds_together() -> None:
    """Compose itself reads it: every anchor, variable, dependency and volume."""
    if shutil.which("docker-compose") is None:
        reason = "docker-compose is not installed (Debian: docker-compose)"
        (pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip)(reason)
    command = ["docker-compose", "-f", "deploy/compose.yaml", "config"]
    environ = {**os.environ, "POSTGRES_PASSWORD": "a test"}
    read = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert read.returncode == 0, read.stderr
    for name in ("postgres", "prefect", "mlflow", "worker", "gateway", "prometheus"):
        assert f"\n  {name}:\n" in read.stdout, name
    del environ["POSTGRES_PASSWORD"]
    bare = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )
    assert bare.returncode != 0
    assert "say a password" in bare.stderr
