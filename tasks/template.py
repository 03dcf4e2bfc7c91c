"""Migrated, empty databases that new homes start from, made once per virtual environment.

Prefect's migrations take several seconds of a core and MLflow's two, on an empty database too, and
the result depends on the library's version only. So the set-up (``python -m
tasks.prepare``) keeps each result beside the installed packages, and a first run copies it.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path


def template(package: str) -> Path:
    """Where the template of a package's database lies, made or not."""
    version = importlib.metadata.version(package)
    return Path(sys.prefix) / "share" / "slipway" / f"{package}-{version}.db"


def make(package: str, migrate: Callable[[Path], Path]) -> Path:
    """Make a package's template, unless it is there.

    Args:
        package: the distribution whose version names the template.
        migrate: makes a migrated database in an empty folder and returns its path.

    Returns:
        The template's path.
    """
    path = template(package)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            made = migrate(Path(scratch))
            with closing(sqlite3.connect(made)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            made.replace(path)
    return path


def copy(package: str, database: Path) -> None:
    """Start a database from its template; where either is missing or it is there, do nothing."""
    path = template(package)
    if path.exists() and not database.exists():
        with tempfile.NamedTemporaryFile(dir=database.parent, delete=False) as partial:
            shutil.copyfile(path, partial.name)
        # Two runs may get here at once: a hard link is made once, and never over a used database.
        try:
            Path(database).hardlink_to(partial.name)
        except FileExistsError:
            pass
        finally:
            Path(partial.name).unlink()
