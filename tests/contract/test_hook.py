"""The hook in real bare repositories, with real pushes, against a real HTTP listener."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from slipway.errors import Refused, UsageError
from slipway.hook import install


class _Api(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.told.append((self.path, self.headers["Authorization"], json.loads(body)))  # type: ignore[attr-defined]
        self.send_response(self.server.answer)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def api() -> Iterator[HTTPServer]:
    """A listener on a free port that keeps what it is told."""
    server = HTTPServer(("127.0.0.1", 0), _Api)
    server.told, server.answer = [], 204  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _url(api: HTTPServer) -> str:
    return f"http://127.0.0.1:{api.server_port}/api"


def _git(where: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org"]
    done = subprocess.run(
        ["git", "-C", str(where), *identity, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PREFECT_API_AUTH_STRING": "admin:pass"},
    )
    return done.stdout.strip() + done.stderr.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A bare repository and a clone of it, in a path with a space."""
    folder = tmp_path / "with space"
    folder.mkdir()
    _git(tmp_path, "init", "-q", "--bare", "-b", "main", str(folder / "flights.git"))
    _git(folder, "clone", "-q", "flights.git", "work")
    return folder / "flights.git"


def _push(repo: Path, branch: str = "main") -> tuple[str, str]:
    work = repo.parent / "work"
    _git(work, "checkout", "-q", "-B", branch)
    _git(work, "commit", "-q", "--allow-empty", "-m", "A change")
    commit = _git(work, "rev-parse", "HEAD")
    return commit, _git(work, "push", "origin", branch)


def test_a_push_is_told_with_its_commit(repo: Path, api: HTTPServer) -> None:
    """One push of the branch is one authorised event that names the commit."""
    install(repo, _url(api), spec="models/slipway.yaml")
    commit, said = _push(repo)
    [(path, auth, [event])] = api.told  # type: ignore[attr-defined]
    assert path == "/api/events"
    assert base64.b64decode(auth.split()[1]) == b"admin:pass"
    assert event["payload"]["commit"] == commit
    assert event["payload"]["repository"] == str(repo)
    assert event["payload"]["spec"] == "models/slipway.yaml"
    assert event["resource"]["prefect.resource.id"] == "slipway.git.flights"
    assert f"slipway: told Prefect of {commit[:12]} on main" in said


def test_another_branch_is_silent(repo: Path, api: HTTPServer) -> None:
    """A push of work in progress starts nothing and says nothing."""
    install(repo, _url(api))
    assert "slipway" not in _push(repo, "wip")[1]
    assert api.told == []  # type: ignore[attr-defined]


def test_a_refused_event_is_said_and_the_push_stands(repo: Path, api: HTTPServer) -> None:
    """Where Prefect refuses, the person who pushed reads why, and the commit is stored."""
    api.answer = 401  # type: ignore[attr-defined]
    install(repo, _url(api))
    commit, said = _push(repo)
    assert "was NOT told of it (HTTP Error 401" in said
    assert _git(repo, "rev-parse", "main") == commit


def test_no_server_is_said_and_the_push_stands(repo: Path) -> None:
    """Where nobody listens, the push stands and one line says so."""
    install(repo, "http://127.0.0.1:9/api")
    commit, said = _push(repo)
    assert "was NOT told of it" in said
    assert "Traceback" not in said
    assert _git(repo, "rev-parse", "main") == commit


def test_an_earlier_hook_still_runs(repo: Path, api: HTTPServer) -> None:
    """The hook that was there runs first, on the same lines; installing twice keeps it so."""
    earlier = repo / "hooks" / "post-receive"
    earlier.parent.mkdir(exist_ok=True)
    earlier.write_text('#!/bin/sh\nread old new ref; echo "earlier saw $ref"\n')
    earlier.chmod(0o755)
    assert install(repo, _url(api)) == install(repo, _url(api), branch="main") == earlier
    assert "earlier saw refs/heads/main" in _push(repo)[1]
    assert len(api.told) == 1  # type: ignore[attr-defined]


def test_a_third_hook_is_refused(repo: Path, api: HTTPServer) -> None:
    """Nobody's hook is ever overwritten: with two foreign ones in place the install refuses."""
    install(repo, _url(api))
    for name in ("post-receive", "post-receive.before-slipway"):
        (repo / "hooks" / name).write_text("#!/bin/sh\n")
    with pytest.raises(Refused, match="two earlier hooks"):
        install(repo, _url(api))


@pytest.mark.parametrize("url", ["", "localhost:4200/api", "file:///etc/passwd"])
def test_an_address_that_is_none_is_refused(repo: Path, url: str) -> None:
    """Only an HTTP address can be an API."""
    with pytest.raises(UsageError, match="not the address"):
        install(repo, url)


def test_only_a_bare_repository_takes_the_hook(repo: Path, tmp_path: Path) -> None:
    """A working clone, a plain folder and a missing path are all wrong usage."""
    for wrong in (repo.parent / "work", tmp_path, tmp_path / "missing"):
        with pytest.raises(UsageError):
            install(wrong, "http://127.0.0.1:4200/api")


def test_lost_settings_are_said(repo: Path, api: HTTPServer) -> None:
    """A hook whose settings were removed says so instead of failing with a traceback."""
    install(repo, _url(api))
    _git(repo, "config", "--unset", "slipway.branch")
    assert "no git config slipway.branch; install again" in _push(repo)[1]
