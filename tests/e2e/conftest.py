"""A real Prefect server and a real worker, on loopback, on free ports, ended by their pids."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from real_prefect import POOL, ROOT, Prefect, until

from tasks.prefect_server import connect


@pytest.fixture(scope="session")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """A server of its own for the session, with the project's deployments in it."""
    home = tmp_path_factory.mktemp("slipway home")
    away = ("MLFLOW_TRACKING_URI", "SLIPWAY_LEDGER")
    environ = {k: v for k, v in os.environ.items() if k not in away}
    environ |= {"PREFECT_API_URL": "", "SLIPWAY_HOME": str(home), "SLIPWAY_GATEWAY_PORT": "0"}
    environ["PYTHONPATH"] = os.pathsep.join(p for p in [str(ROOT), *sys.path] if p)
    server = connect(home, environ)
    try:
        prefect = Prefect(server.ready(), environ, home)
        prefect.run("work-pool", "create", POOL, "--type", "process")
        prefect.run("deploy", "--all", "--prefect-file", "deployments.yaml")
        yield prefect
    finally:
        # What a release left serving, and the server itself.
        command = [sys.executable, "-m", "slipway.cli", "stop"]
        subprocess.run(command, cwd=ROOT, env=environ, check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def worker(prefect: Prefect) -> Iterator[Prefect]:
    """A worker that polls the pool, once the server has heard from it."""
    environ = {**prefect.environ, "PREFECT_WORKER_QUERY_SECONDS": "1"}
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL]
    with (prefect.folder / "worker.log").open("w") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=log, stderr=log)
    online = {"workers": {"status": {"any_": ["ONLINE"]}}}
    try:
        until(lambda: prefect.ask(f"/work_pools/{POOL}/workers/filter", online), 60, "the worker")
        yield prefect
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:  # seen once: Prefect's worker deaf to SIGTERM
            process.kill()
            process.wait()
