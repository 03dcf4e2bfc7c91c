"""The entrypoint of the PostgreSQL image in deploy/, on this machine's own PostgreSQL."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from real_prefect import until

pytestmark = pytest.mark.real
ENTRYPOINT = Path(__file__).parents[2] / "deploy" / "postgres" / "entrypoint"
PASSWORD = "a long word"


@dataclass
class Postgres:
    """A folder that stands for the container's file system, owned by the user ``postgres``.

    Args:
        folder: a short path, since the path of a socket must be.
        port: a free one.
    """

    folder: Path
    port: str

    @property
    def volume(self) -> Path:
        """The data volume."""
        return self.folder / "volume"

    @property
    def script(self) -> Path:
        """The script that a new data folder is filled with."""
        return self.folder / "scripts" / "1.sql"

    @contextmanager
    def started(self) -> Iterator[None]:
        """Run the entrypoint; at the end of the block all of it is killed."""
        places = {"VOLUME": "volume", "SCRIPTS": "scripts", "SOCKETS": "."}
        told = {f"POSTGRES_{k}": str(self.folder / v) for k, v in places.items()}
        told |= {"POSTGRES_PASSWORD": PASSWORD, "PGPORT": self.port}
        command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        process = subprocess.Popen(
            [*command, "sh", str(self.folder / "entrypoint")],
            env=os.environ | told,
            cwd=self.folder,
            start_new_session=True,
        )
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            for file in self.volume.glob("*/postmaster.pid"):  # it has a session of its own
                pid = int(file.read_text().split()[0])
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), 30, "its end")

    def ask(self, database: str, sql: str) -> bool:
        """Whether a statement succeeds, over TCP and with the password."""
        command = ["psql", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "-c", sql]
        environ = os.environ | {"PGPASSWORD": PASSWORD}
        done = subprocess.run([*command, database], env=environ, capture_output=True, check=False)
        return done.returncode == 0


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """An empty volume."""
    if os.geteuid() != 0 or not Path("/usr/lib/postgresql/15/bin/initdb").exists():
        reason = "needs root, and PostgreSQL 15 (Debian: postgresql)"
        (pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip)(reason)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    shutil.copy(ENTRYPOINT, folder)
    for name in ("volume", "scripts", "."):
        (folder / name).mkdir(exist_ok=True)
        shutil.chown(folder / name, "postgres", "postgres")
    yield Postgres(folder, port)
    shutil.rmtree(folder)


def test_databases_left_half_made_are_made_again(postgres: Postgres) -> None:
    """Killed while its script ran, it comes up whole at the next start; then what it has stays."""
    postgres.script.write_text("CREATE DATABASE one;\nSELECT pg_sleep(600);\n")
    with postgres.started():
        half = postgres.volume / "unfinished" / "postmaster.pid"
        until(half.exists, 60, "the script's server")
    assert not (postgres.volume / "cluster").exists()
    postgres.script.write_text("CREATE DATABASE one;\n")
    with postgres.started():
        until(lambda: postgres.ask("one", "CREATE TABLE kept ()"), 60, "the database")
    postgres.script.write_text("this is not run again")
    with postgres.started():
        until(lambda: postgres.ask("one", "SELECT FROM kept"), 60, "the table")
    assert [each.name for each in postgres.volume.iterdir()] == ["cluster"]
