"""The process runtime: replicas as plain processes of this machine, the embedded default."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from slipway.daemon import Daemon, answers
from slipway.release import Release, short
from slipway.sealed import require_released
from slipway.terms import Limits


class ProcessRuntime:
    """Start, adopt and stop bundle servers as processes.

    Args:
        folder: where announcements and logs lie, one folder per release.
    """

    name = "process"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self, release: Release, replicas: int, limits: Limits) -> tuple[str, ...]:
        """Start, or adopt, replicas that answer. A plain process is held to no limits.

        Returns:
            Their ``host:port``, in the order of their numbers.

        Raises:
            RuntimeFailure: the bundle is not the one that was released, or a replica ended or did
                not answer in time; those that this call started are stopped again.
        """
        bundle = Path(release.locators["bundle"])
        require_released(bundle, release)
        home = self.folder / short(release.id)
        home.mkdir(parents=True, exist_ok=True)
        (home / "release").write_text(release.id)
        command = [sys.executable, "-P", str(bundle / "serve.py")]
        command += ["--host", "127.0.0.1", "--port", "0"]
        environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        daemons = [self._daemon(home, number) for number in range(replicas)]
        children = []
        try:
            for daemon in daemons:
                children.append(daemon.spawn(command, environ))
            return tuple(d.wait(c) for d, c in zip(daemons, children, strict=True))
        except BaseException:
            for child in filter(None, children):
                child.kill()
                child.wait()
            raise

    def stop(self, release_id: str) -> None:
        """Stop a release's replicas; that nothing runs is no error."""
        for daemon in self._daemons(self.folder / short(release_id)):
            daemon.stop()

    def list(self) -> Mapping[str, tuple[str, ...]]:
        """Release id to the endpoints of replicas that are alive."""
        found: dict[str, tuple[str, ...]] = {}
        for home in sorted(p for p in self.folder.glob("*") if (p / "release").exists()):
            alive = tuple(d.endpoint for d in self._daemons(home) if d.pid)
            if alive:
                found[(home / "release").read_text()] = alive
        return found

    def logs(self, release_id: str) -> Iterator[str]:
        """The last lines that a release's replicas wrote, oldest first."""
        for log in sorted((self.folder / short(release_id)).glob("*.log")):
            yield from log.read_text(errors="replace").splitlines()[-200:]

    def probe(self, endpoint: str) -> bool:
        """Whether a replica says that it is ready."""
        return answers(endpoint, "/ping")

    def _daemon(self, home: Path, number: int) -> Daemon:
        return Daemon(f"replica {number}", home / f"{number}.json", "/ping")

    def _daemons(self, home: Path) -> Sequence[Daemon]:
        return [self._daemon(home, int(a.stem)) for a in sorted(home.glob("*.json"))]
