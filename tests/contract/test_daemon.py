"""A process that outlives the one that started it: started once, adopted, ended when it hangs."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slipway.daemon import Daemon, ended
from slipway.errors import RuntimeFailure

# Answers 200 until it is told to hang (SIGUSR1); notes each start in a file beside itself.
SERVER = """
import argparse, http.server, json, os, signal, sys, time
from pathlib import Path

options = argparse.ArgumentParser()
options.add_argument("--announce", type=Path)
options.add_argument("--start-seconds", type=float, default=0.0)
options.add_argument("--die", action="store_true")
given = options.parse_args()
with given.announce.with_name("starts").open("a") as starts:
    starts.write(f"{os.getpid()}\\n")
time.sleep(given.start_seconds)
if given.die:
    sys.exit("out of luck")


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
signal.signal(signal.SIGUSR1, lambda *_: signal.sigwait({signal.SIGUSR2}))
said = {"pid": os.getpid(), "host": "127.0.0.1", "port": server.server_port}
given.announce.with_suffix(".part").write_text(json.dumps(said))
given.announce.with_suffix(".part").replace(given.announce)
server.serve_forever(poll_interval=0.02)
"""


def command(tmp_path: Path, *more: str) -> list[str]:
    """The server's command line."""
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    return [sys.executable, str(script), *more]


def starts(tmp_path: Path) -> int:
    """How often a server was started in a folder."""
    return len((tmp_path / "starts").read_text().split())


def test_two_controllers_at_once_start_one_process(tmp_path: Path) -> None:
    """Whoever comes second while the first start is under way waits for that one."""
    asked = command(tmp_path, "--start-seconds", "0.5")

    def start(_: int) -> str:
        daemon = Daemon("a server", tmp_path / "server.json", "/")
        return daemon.wait(daemon.spawn(asked, os.environ))

    try:
        with ThreadPoolExecutor(4) as together:
            endpoints = set(together.map(start, range(4)))
        assert len(endpoints) == 1
        assert starts(tmp_path) == 1
    finally:
        Daemon("a server", tmp_path / "server.json", "/").stop()


def test_one_that_was_killed_is_started_anew(tmp_path: Path) -> None:
    """The lock of a start dies with the process that was started, however it went."""
    daemon = Daemon("a server", tmp_path / "server.json", "/")
    child = daemon.spawn(command(tmp_path), os.environ)
    try:
        daemon.wait(child)
        assert child is not None
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        assert not daemon.answers()
        again = daemon.spawn(command(tmp_path), os.environ)
        assert again is not None
        daemon.wait(again)
        assert starts(tmp_path) == 2
    finally:
        daemon.stop()


def test_one_that_another_started_and_that_dies_is_told_at_once(tmp_path: Path) -> None:
    """A waiting controller does not wait out the whole limit for a process that has ended."""
    daemon = Daemon("a server", tmp_path / "server.json", "/", start_seconds=60.0)
    child = daemon.spawn(command(tmp_path, "--start-seconds", "0.5", "--die"), os.environ)
    assert child is not None
    assert daemon.spawn(command(tmp_path), os.environ) is None
    with ThreadPoolExecutor(1) as beside:
        other = beside.submit(daemon.wait, None)
        child.wait()
        with pytest.raises(RuntimeFailure, match=r"a server ended.*out of luck"):
            other.result(timeout=30)


def test_one_that_hangs_is_ended_so_that_the_next_start_can_work(tmp_path: Path) -> None:
    """What runs and does not answer within its time is ended, and the next call starts it anew."""
    patient = Daemon("a server", tmp_path / "server.json", "/")
    child = patient.spawn(command(tmp_path), os.environ)
    patient.wait(child)
    assert child is not None
    os.kill(child.pid, signal.SIGUSR1)
    hasty = Daemon("a server", tmp_path / "server.json", "/", start_seconds=0.1)
    try:
        assert hasty.spawn(command(tmp_path), os.environ) is None
        with pytest.raises(RuntimeFailure, match=r"did not answer within 0\.1 s and was ended"):
            hasty.wait(None)
        assert ended(child.pid)
        again = patient.spawn(command(tmp_path), os.environ)
        assert again is not None
        patient.wait(again)
        assert starts(tmp_path) == 2
    finally:
        patient.stop()


def test_one_that_never_gets_ready_can_be_stopped(tmp_path: Path) -> None:
    """A process whose starter is gone before it announced itself is found by its lock."""
    daemon = Daemon("a server", tmp_path / "server.json", "/")
    child = daemon.spawn(command(tmp_path, "--start-seconds", "600"), os.environ)
    assert child is not None
    assert daemon.pid is None
    while not Path(f"/proc/{child.pid}/cmdline").read_bytes():
        pass  # it has been started, and has no command yet for a moment
    daemon.stop()
    assert ended(child.pid)
