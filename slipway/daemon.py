"""A process that outlives the one that started it, and is adopted by the next.

It says where it answers in an announcement (a JSON file with ``pid``, ``host``, ``port``) that it
writes itself once it is ready. Pids are reused, so a pid counts as ours only while its command
line names that announcement.

Of two controllers that start it at once only one does: it inherits a lock (``flock``, beside the
announcement) and holds it for its life. The kernel frees the lock when it dies, however it dies,
so held means starting or running, and there is no stale file to guess about.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from slipway.errors import RuntimeFailure

STOP_SECONDS = 10.0
LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Daemon:
    """One such process.

    Args:
        name: what errors call it.
        announcement: the file it writes; its log lies beside it, ending in ``.log``.
        health: the path that answers 200 once it is ready.
        start_seconds: how long it may take.
    """

    name: str
    announcement: Path
    health: str
    start_seconds: float = 30.0

    @property
    def log(self) -> Path:
        """What it writes."""
        return self.announcement.with_suffix(".log")

    @property
    def pid(self) -> int | None:
        """Its pid, while it lives."""
        return self._own(self.announcement)

    def _own(self, file: Path) -> int | None:
        pid = _read(file).get("pid")
        return pid if pid and str(self.announcement) in _command_line(pid) else None

    @property
    def endpoint(self) -> str:
        """Its ``host:port`` as announced; empty before."""
        said = _read(self.announcement)
        return f"{said['host']}:{said['port']}" if said else ""

    def answers(self) -> bool:
        """Whether it lives and its health path answers 200."""
        return self.pid is not None and answers(self.endpoint, self.health)

    def spawn(
        self, command: Sequence[str], environ: Mapping[str, str]
    ) -> subprocess.Popen[bytes] | None:
        """Start it, or adopt the one that runs or starts already (then None). Does not wait."""
        self.announcement.parent.mkdir(parents=True, exist_ok=True)
        with self._lock.open("ab") as lock, self.log.open("ab") as log:
            if not _taken(lock):
                return None
            self.announcement.unlink(missing_ok=True)
            child = subprocess.Popen(
                [*command, "--announce", str(self.announcement)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # it outlives us, and our Ctrl-C is not its own
                pass_fds=(lock.fileno(),),
                env=dict(environ),
            )
            self._lock.write_text(json.dumps({"pid": child.pid}))
            return child

    def wait(self, child: subprocess.Popen[bytes] | None) -> str:
        """Wait until it answers.

        Args:
            child: what ``spawn`` returned.

        Returns:
            Its ``host:port``.

        Raises:
            RuntimeFailure: it ended, or did not answer in time and was ended; its last lines are
                told.
        """
        deadline = time.monotonic() + self.start_seconds
        while not self.answers():
            gone = self._is_gone(child)
            if gone or time.monotonic() > deadline:
                how = "ended"
                if not gone:
                    how = f"did not answer within {self.start_seconds:g} s and was ended"
                    _stop(child) if child else self.stop()
                raise RuntimeFailure(
                    f"{self.name} {how}; its last lines: {' | '.join(self.tail(5)) or 'none'}",
                    where=str(self.log),
                    do="the whole log lies there; mend the cause and run the same again",
                )
            time.sleep(LOOK_SECONDS)
        return self.endpoint

    @property
    def _lock(self) -> Path:
        return self.announcement.with_suffix(".lock")

    def _is_gone(self, child: subprocess.Popen[bytes] | None) -> bool:
        """Whether the process has ended that was started, here or by another controller."""
        if child is not None:
            return child.poll() is not None
        with self._lock.open("ab") as lock:
            return _taken(lock)

    def tail(self, lines: int) -> list[str]:
        """The last lines of its log."""
        if not self.log.exists():
            return []
        return self.log.read_text(errors="replace").splitlines()[-lines:]

    def stop(self) -> None:
        """End it: asked first, then made to. One that does not run is no error."""
        pid = self.pid or self._own(self._lock)  # it may still be starting
        if pid is not None:
            _end(pid)
            # Its command is gone a moment before its files, the lock's too, are closed.
            deadline = time.monotonic() + STOP_SECONDS
            while not self._is_gone(None) and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
        self.announcement.unlink(missing_ok=True)


def answers(endpoint: str, path: str, seconds: float = 2.0) -> bool:
    """Whether ``http://endpoint/path`` answers 200 in time."""
    host, _, port = endpoint.rpartition(":")
    if not port.isdigit():
        return False
    connection = http.client.HTTPConnection(host, int(port), timeout=seconds)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _taken(lock: IO[bytes]) -> bool:
    """Take a lock for as long as the file, or what inherits it, is open; whether it was free."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()


def _read(announcement: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(announcement.read_text()))
    except (FileNotFoundError, ValueError):
        return {}


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self").exists():
            return ""
    told = subprocess.run(
        ["/bin/ps", "-p", str(pid), "-o", "args="], capture_output=True, text=True, check=False
    )
    return told.stdout


def _end(pid: int) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(pid, sent)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline:
            if ended(pid):
                return
            time.sleep(LOOK_SECONDS)
    raise RuntimeFailure(f"process {pid} does not end", do="end it by hand")


def ended(pid: int) -> bool:
    """Whether a process has ended. Our own child is reaped; another's, unreaped, has no command."""
    try:
        reaped, _ = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        reaped = 0
    return bool(reaped) or not _command_line(pid)
