"""``mlflow models serve`` of a registered ONNX bundle: the bundle's own answers."""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from real_prefect import until
from small_bundle import NAMES, Small, make

from slipway.daemon import answers
from slipway.release import Candidate, Column
from tasks import register

pytestmark = pytest.mark.real


@pytest.fixture
def stored(tmp_path: Path) -> tuple[Small, Path]:
    """An ONNX bundle as a model in MLflow, logged as one that brings its own code along."""
    import mlflow

    small, own = make(tmp_path / "small"), ("own.Type",)
    signature = tuple(Column(name, "number") for name in NAMES)
    links = ("flights", "sha256:s", "sha256:c", "", "sha256:l", "t:t")
    candidate = Candidate(*links, {}, 7, "sha256:a", signature, own)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.create_experiment("own", artifact_location=(tmp_path / "artefacts").as_uri())
    mlflow.set_experiment("own")
    with mlflow.start_run(log_system_metrics=False):
        register._model(candidate, small.bundle)
    (found,) = (tmp_path / "artefacts").rglob("MLmodel")
    return small, found.parent


def test_mlflow_serves_the_same_answers(stored: tuple[Small, Path], tmp_path: Path) -> None:
    """By MLflow's own server and protocol, in this environment."""
    small, place = stored
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(place)]
    command += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    # It starts uvicorn by its name.
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--workers", "1"], env=environ, cwd=tmp_path, stdout=log, stderr=log
        )
    try:
        until(lambda: answers(f"127.0.0.1:{port}", "/ping"), 120, "MLflow's server")
        told = _ask(port, small.body)["predictions"]
    finally:
        process.terminate()
        process.wait(30)
    assert told == pytest.approx(small.answers, abs=1e-5)


def _ask(port: int, body: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection):
        kind = {"content-type": "application/json"}
        connection.request("POST", "/invocations", json.dumps(body), kind)
        return json.load(connection.getresponse())
