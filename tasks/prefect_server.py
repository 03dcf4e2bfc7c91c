"""The Prefect server that a run brings along: nothing to start by hand, nothing left behind.

The first run in a ``SLIPWAY_HOME`` starts a whole Prefect server (API, UI, schedules, event
triggers) in the background; later runs find it there and start at once. It ends by itself when
nobody has used it for a while, or by ``python -m tasks.prefect_server stop``. Where the user has
set ``PREFECT_API_URL``, theirs is used and nothing is started.

Starting costs about 5 s, nearly all of it Python imports in the server's own process, so a caller
connects first, does its own imports, and only then waits::

    server = connect(home)          # returns at once; sets PREFECT_HOME and PREFECT_API_URL
    import mlflow, ...              # meanwhile the server comes up
    server.ready()

Prefect reads its settings when it is imported: connect *before* the first ``import prefect``.

Three files in ``SLIPWAY_HOME/prefect`` keep racing processes apart. Locks are ``flock``: the
kernel frees them when their holder dies, so there is no stale pid to guess about.

- ``start.lock``: held for the moment in which a server is looked for or started.
- ``alive.lock``: inherited by the server and held for its life. Held means running.
- ``users.lock``: held shared by every run; the server does not end while one is held.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, MutableMapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from slipway.errors import RuntimeFailure, UsageError
from tasks import template

HOST = "127.0.0.1"
START_SECONDS = 180.0  # a first start on a slow machine, with every database migration to run
STOP_SECONDS = 15.0
IDLE_SECONDS = 900.0

SETTINGS = {  # unless the user has set them otherwise
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(asctime)s  %(flow_name)s: %(message)s",
    "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(asctime)s    %(task_name)s: %(message)s",
}


@dataclass(frozen=True, slots=True)
class Server:
    """A Prefect API, perhaps still starting.

    Args:
        url: the API's address, ending in ``/api``.
        folder: where an embedded server keeps its state; None for the user's own server.
        started: whether this call started it.
        hold: keeps ``users.lock`` held while this process lives.
    """

    url: str
    folder: Path | None = None
    started: bool = False
    hold: IO[str] | None = field(default=None, repr=False, compare=False)

    def ready(self, timeout: float = START_SECONDS) -> str:
        """Wait until the server answers its health check, and return its URL.

        An embedded server's socket listens before its process starts, so the one request waits in
        the kernel's queue until it is answered, or is reset when the process dies: no polling.

        Raises:
            RuntimeFailure: it died or did not answer within ``timeout`` seconds.
        """
        if self.folder is None:
            return self.url  # the user's own: Prefect's client reports it best
        try:
            status = _health(self.url, timeout)
        except OSError as error:
            raise self._failure(f"the Prefect server did not answer ({error})") from error
        if status != http.client.OK:
            raise self._failure(f"the Prefect server's health check answered {status}")
        return self.url

    def _failure(self, what: str) -> RuntimeFailure:
        assert self.folder is not None
        log = self.folder / "server.log"
        tail = log.read_text(errors="replace").splitlines()[-5:] if log.exists() else []
        return RuntimeFailure(
            "; ".join([what, *tail]),
            where=str(log),
            do="read the log; or set PREFECT_API_URL to a Prefect server of your own",
        )


def connect(home: Path, environ: MutableMapping[str, str] = os.environ) -> Server:
    """Find the user's, adopt the running, or start an embedded server; point Prefect at it.

    Returns at once: call ``ready()`` on the result before the first flow run.

    Args:
        home: ``SLIPWAY_HOME``; the server's state goes to ``home/prefect``.
        environ: the environment to read and to set. Settings that are there are kept.

    Raises:
        RuntimeFailure: the server's process could not be started.
    """
    if url := environ.get("PREFECT_API_URL"):
        return Server(url)
    folder = _folder(home)
    for name, value in SETTINGS.items():
        environ.setdefault(name, value)
    hold = (folder / "users.lock").open("a")
    fcntl.flock(hold, fcntl.LOCK_SH)
    url, started = _find_or_start(folder, environ)
    environ["PREFECT_HOME"] = str(folder)
    environ["PREFECT_API_URL"] = url
    return Server(url, folder, started, hold)


def status(home: Path) -> dict[str, object] | None:
    """``{"url", "pid"}`` of the embedded server of a home, or None where none runs."""
    folder = _folder(home)
    with _locked(folder / "start.lock"):
        return _record(folder) if _alive(folder) else None


def stop(home: Path) -> bool:
    """End the embedded server of a home, and wait until it is gone.

    Returns:
        Whether one was running.
    """
    folder = _folder(home)
    with _locked(folder / "start.lock"):
        if not _alive(folder):
            return False
        Server(str(_record(folder)["url"]), folder).ready()  # from then on its pid is recorded
        pid = int(str(_record(folder)["pid"]))
        for kill in (signal.SIGTERM, signal.SIGKILL):
            os.kill(pid, kill)
            if _gone(folder, STOP_SECONDS):
                return True
    raise RuntimeFailure(f"the Prefect server (pid {pid}) does not end", where=str(folder))


def prepare() -> Path:
    """Make the migrated, empty database that new homes start from; part of the set-up.

    A server is started and ended for it, which also unpacks the UI.

    Returns:
        The template's path.

    Raises:
        RuntimeFailure: the server did not start or end.
    """
    return template.make("prefect", _migrated)


def _migrated(scratch: Path) -> Path:
    server = connect(scratch, {**os.environ, "PREFECT_API_URL": ""})
    try:
        server.ready()
    finally:
        stop(scratch)
    return scratch / "prefect" / "prefect.db"


def _folder(home: Path) -> Path:
    folder = (home / "prefect").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[IO[str]]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _try_lock(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alive(folder: Path) -> bool:
    with (folder / "alive.lock").open("a") as lock:
        return not _try_lock(lock)


def _gone(folder: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while _alive(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _record(folder: Path) -> dict[str, object]:
    record: dict[str, object] = json.loads((folder / "server.json").read_text())
    return record


def write_record(folder: Path, url: str, pid: int | None) -> None:
    """Say where the server answers, whole or not at all; ``pid`` once its process runs."""
    partial = folder / "server.json.partial"
    partial.write_text(json.dumps({"url": url, "pid": pid}))
    partial.replace(folder / "server.json")


def _find_or_start(folder: Path, environ: MutableMapping[str, str]) -> tuple[str, bool]:
    with _locked(folder / "start.lock"), (folder / "alive.lock").open("a") as alive:
        if not _try_lock(alive):
            return str(_record(folder)["url"]), False
        template.copy("prefect", folder / "prefect.db")
        with _listen(_last_port(folder)) as listener:
            url = f"http://{HOST}:{listener.getsockname()[1]}/api"
            write_record(folder, url, None)
            _spawn(folder, listener, alive, environ)
        return url, True


def _last_port(folder: Path) -> int:
    """The port of the last server here, so that a browser's tab stays good; 0 for any."""
    try:
        return urlsplit(str(_record(folder)["url"])).port or 0
    except (FileNotFoundError, ValueError, KeyError):
        return 0


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError:
        if port == 0:
            raise
        return _listen(0)


def _spawn(
    folder: Path, listener: socket.socket, alive: IO[str], environ: MutableMapping[str, str]
) -> None:
    """Start the server's process, which inherits the listening socket and the alive lock."""
    port = listener.getsockname()[1]
    settings = {
        "PREFECT_HOME": str(folder),
        "PREFECT_SERVER_API_HOST": HOST,
        "PREFECT_SERVER_API_PORT": str(port),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    with (folder / "server.log").open("w") as log:
        subprocess.Popen(
            [sys.executable, "-m", "tasks.prefect_process", str(folder), str(listener.fileno())],
            env={**environ, **settings},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(listener.fileno(), alive.fileno()),
            start_new_session=True,  # Ctrl-C in the terminal is not for the server
        )


def _health(url: str, timeout: float) -> int:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=timeout)
    with closing(connection):
        connection.request("GET", f"{parts.path}/health")
        return connection.getresponse().status


def main(arguments: list[str]) -> int:
    """``python -m tasks.prefect_server start|stop|status``, for SLIPWAY_HOME."""
    home = Path(os.environ.get("SLIPWAY_HOME", ".slipway"))
    match arguments:
        case ["start"]:
            print(connect(home).ready())  # noqa: T201
        case ["stop"]:
            told = "ended" if stop(home) else "none of this home was running"
            print(f"Prefect server: {told}")  # noqa: T201
        case ["status"]:
            print(json.dumps(status(home)))  # noqa: T201
        case _:
            raise UsageError(f"unknown arguments {arguments}", do="start, stop or status")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
