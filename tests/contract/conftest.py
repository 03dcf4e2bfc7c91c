"""Real ledgers to hold the contract against: SQLite files, and a PostgreSQL server of our own."""

import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

NUMBERS = itertools.count(1)


def postgres_programs() -> Path:
    """The folder of initdb and pg_ctl: on the PATH, or where Debian keeps its newest ones."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    if not folders:
        reason = "no PostgreSQL is installed (Debian: postgresql), which these tests start"
        (pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip)(reason)
    return folders[-1]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server of our own, as a URL: a new cluster, on loopback, ended afterwards."""
    programs, port = postgres_programs(), free_port()
    # PostgreSQL refuses to run as root, so there it runs as its own user.
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    folder = Path(tempfile.mkdtemp(prefix="slipway-postgres-"))
    shutil.chown(folder, user)

    def run(program: str, *arguments: str) -> None:
        switch = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}
        subprocess.run(
            [str(programs / program), "-D", str(folder / "data"), *arguments],
            check=True,
            cwd=folder,
            stdout=subprocess.DEVNULL,
            **(switch if os.geteuid() == 0 else {}),
        )

    options = f"-k {folder} -p {port} -c listen_addresses=127.0.0.1 -c fsync=off"
    try:
        run("initdb", "--username=slipway", "--auth=trust", "--encoding=UTF8", "--no-sync")
        run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://slipway@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-w", "-m", "fast", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def new_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Gives the URL of a new, empty ledger at each call, on each database."""
    if request.param == "sqlite":
        return lambda: f"sqlite:///{tmp_path / f'ledger {next(NUMBERS)}.db'}"
    server = request.getfixturevalue("postgres")

    def schema() -> str:
        import sqlalchemy as sa

        name = f"ledger_{next(NUMBERS)}"
        engine = sa.create_engine(server)
        with engine.begin() as db:
            db.execute(sa.text(f"CREATE SCHEMA {name}"))
        engine.dispose()
        return f"{server}?options=-csearch_path%3D{name}"

    return schema
