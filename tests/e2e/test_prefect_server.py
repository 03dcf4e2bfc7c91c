"""The embedded Prefect server: one per home, whoever asks, and gone when told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from real_prefect import ROOT, until

from slipway.errors import RuntimeFailure
from tasks.prefect_server import Server, connect, status, stop

RACER = """
import sys
from pathlib import Path
from tasks.prefect_server import connect
server = connect(Path(sys.argv[1]))
print(server.ready(), server.started)
"""


def _environ(**more: str) -> dict[str, str]:
    path = os.pathsep.join(p for p in [str(ROOT), *sys.path] if p)
    return {**os.environ, "PREFECT_API_URL": "", "PYTHONPATH": path, **more}


def test_racing_runs_share_one_server(tmp_path: Path) -> None:
    """Of three runs at once one starts the server and all use it; ``stop`` ends it for good."""
    home = tmp_path / "a home"
    command = [sys.executable, "-c", RACER, str(home)]
    racers = [
        subprocess.Popen(command, env=_environ(), stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = [racer.communicate(timeout=120)[0].split() for racer in racers]
    try:
        assert len({url for url, _ in told}) == 1
        assert sorted(started for _, started in told) == ["False", "False", "True"]
    finally:
        assert stop(home)
    assert status(home) is None
    assert not stop(home)


def test_an_unused_server_ends_by_itself(tmp_path: Path) -> None:
    """With nobody there for the idle time, the server goes; the next run starts another."""
    environ = _environ(SLIPWAY_PREFECT_IDLE="1")
    server = connect(tmp_path, environ)
    server.ready()
    assert server.hold is not None
    assert status(tmp_path) is not None
    server.hold.close()
    until(lambda: status(tmp_path) is None, 30, "the server's end")


def test_a_server_that_dies_is_told_with_its_log(tmp_path: Path) -> None:
    """A server that can't start (its database is no database) is one clear error, at once."""
    folder = tmp_path / "prefect"
    folder.mkdir()
    (folder / "prefect.db").write_text("this is not a database, however long one reads it\n" * 99)
    server = connect(tmp_path, _environ())
    with pytest.raises(RuntimeFailure, match="did not answer") as failure:
        server.ready()
    assert failure.value.where.endswith("server.log")


def test_the_users_own_server_is_used(tmp_path: Path) -> None:
    """Where PREFECT_API_URL is set, nothing is started and no setting is touched."""
    environ = {"PREFECT_API_URL": "http://prefect.example.org/api"}
    assert connect(tmp_path, environ) == Server("http://prefect.example.org/api")
    assert environ == {"PREFECT_API_URL": "http://prefect.example.org/api"}
    assert list(tmp_path.iterdir()) == []
