"""The process runtime: replicas as plain processes of this machine, the embedded default.

A replica outlives the process that started it and is adopted by the next one: its announcement
(pid and port) lies in the runtime's folder, and a pid counts as ours only while its command line
names that announcement.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from slipway.errors import RuntimeFailure
from slipway.release import short

START_SECONDS = 30.0
STOP_SECONDS = 10.0
LOOK_SECONDS = 0.02


class ProcessRuntime:
    """Start, adopt and stop bundle servers as processes.

    Args:
        folder: where announcements and logs lie, one folder per release.
    """

    name = "process"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, release_id: str, bundle: str, replicas: int) -> tuple[str, ...]:
        """Start, or adopt, replicas that answer.

        Returns:
            Their ``host:port``, in the order of their numbers.

        Raises:
            RuntimeFailure: a replica ended or did not answer in time; what it said is told, and
                the replicas this call started are stopped.
        """
        home = self.folder / short(release_id)
        home.mkdir(parents=True, exist_ok=True)
        (home / "release").write_text(release_id)
        started: list[subprocess.Popen[bytes]] = []
        waiting: dict[int, subprocess.Popen[bytes]] = {}
        try:
            for number in range(replicas):
                if not self._answers(home / f"{number}.json"):
                    waiting[number] = self._spawn(home, bundle, number)
            started = list(waiting.values())
            return tuple(self._await(home, n, waiting.get(n)) for n in range(replicas))
        except BaseException:
            for child in started:
                child.kill()
                child.wait()
            raise

    def stop(self, release_id: str) -> None:
        """Stop a release's replicas: asked first, then made to."""
        home = self.folder / short(release_id)
        for announcement in sorted(home.glob("*.json")):
            pid = _ours(announcement)
            if pid:
                _end(pid)
            announcement.unlink(missing_ok=True)

    def list(self) -> Mapping[str, tuple[str, ...]]:
        """Release id to the endpoints of replicas that are alive."""
        found: dict[str, tuple[str, ...]] = {}
        for home in sorted(self.folder.glob("*")):
            alive = [_endpoint(a) for a in sorted(home.glob("*.json")) if _ours(a)]
            if alive:
                found[(home / "release").read_text()] = tuple(alive)
        return found

    def logs(self, release_id: str) -> Iterator[str]:
        """The last lines that a release's replicas wrote, oldest first."""
        for log in sorted((self.folder / short(release_id)).glob("*.log")):
            yield from log.read_text(errors="replace").splitlines()[-200:]

    def probe(self, endpoint: str) -> bool:
        """Whether a replica says that it is ready."""
        host, port = endpoint.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=2.0)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def _answers(self, announcement: Path) -> bool:
        return _ours(announcement) is not None and self.probe(_endpoint(announcement))

    def _spawn(self, home: Path, bundle: str, number: int) -> subprocess.Popen[bytes]:
        announcement = home / f"{number}.json"
        announcement.unlink(missing_ok=True)
        command = [sys.executable, "-P", str(Path(bundle) / "serve.py"), "--host", "127.0.0.1"]
        command += ["--port", "0", "--announce", str(announcement)]
        with (home / f"{number}.log").open("ab") as log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # it must outlive us, and our Ctrl-C is not its own
                env={k: v for k, v in os.environ.items() if not k.startswith("PYTHON")},
            )

    def _await(self, home: Path, number: int, child: subprocess.Popen[bytes] | None) -> str:
        announcement = home / f"{number}.json"
        deadline = time.monotonic() + START_SECONDS
        while not self._answers(announcement):
            ended = child is not None and child.poll() is not None
            if ended or time.monotonic() > deadline:
                said = (home / f"{number}.log").read_text(errors="replace").splitlines()[-5:]
                how = "ended" if ended else f"did not answer within {START_SECONDS:g} s"
                raise RuntimeFailure(
                    f"replica {number} {how}; its last lines: {' | '.join(said) or 'none'}",
                    where=str(home),
                    do="see its whole log there; nothing of this start was left running",
                )
            time.sleep(LOOK_SECONDS)
        return _endpoint(announcement)


def _read(announcement: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(announcement.read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _endpoint(announcement: Path) -> str:
    said = _read(announcement)
    return f"{said['host']}:{said['port']}" if said else ""


def _ours(announcement: Path) -> int | None:
    """The pid of a living replica: pids are reused, so its command line must name the file."""
    pid = _read(announcement).get("pid")
    return pid if pid and str(announcement) in _command_line(pid) else None


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return ""
    told = subprocess.run(
        ["/bin/ps", "-p", str(pid), "-o", "args="], capture_output=True, text=True, check=False
    )
    return told.stdout


def _end(pid: int) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        os.kill(pid, sent)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if _gone(pid):
                return
            time.sleep(LOOK_SECONDS)
    raise RuntimeFailure(f"process {pid} does not end", do="end it by hand")


def _gone(pid: int) -> bool:
    try:
        if os.waitpid(pid, os.WNOHANG) != (0, 0):  # our own child: reap it
            return True
    except ChildProcessError:
        pass  # not our child; asked below
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
