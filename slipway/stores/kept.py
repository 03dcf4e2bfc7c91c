"""The files in which looks at open rollouts keep their sums, so that each reads only what is new.

They lie in the log's folder, by model: ``sums/MODEL/ROLLOUT-ROUTE.duckdb``. All of it follows from
the log, and may be deleted at any time. What no look has gone on with for a day is forgotten
whenever the log is compacted.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from slipway.policy import Policy
from slipway.routing import RouteTable

log = logging.getLogger(__name__)

FOLDER = "sums"
LOCK = "lock"
FORGET_SECONDS = 86_400.0


def file_of(folder: str | os.PathLike[str], model: str, rollout: str, route: int) -> Path:
    """Where the looks at one route of a rollout keep their sums.

    Args:
        folder: the log's directory.
        route: its number; of a league, the first of those that are compared.
    """
    return Path(folder) / FOLDER / model / f"{rollout}-{route}.duckdb"


def longest(table: RouteTable) -> float | None:
    """How many seconds a request may take, and so be missing from the log; None for any time.

    A request's arm may be asked again until its budget is over, each of the chain after it has a
    budget too, and a try that begins at a budget's end has one of its own; then comes the shadow.
    What is relayed as it is may be a stream without an end.
    """
    policy = Policy.from_record(table.policy)
    if policy.protocol == "http":
        return None
    budget = max(policy.budget_seconds(arm.name) for arm in table.arms)
    others = sum(policy.budget_seconds(name) for name in policy.fallbacks)
    return 2.0 * (budget + others) + budget


@contextmanager
def held(file: Path) -> Iterator[bool]:
    """Hold a model's sums for a look; whether nobody else does, which is not waited for.

    DuckDB's own lock is none between two connections of one process.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(file.parent / LOCK, os.O_RDWR | os.O_CREAT, 0o640)
    except OSError as error:  # a look needs no more than to read the log
        log.warning("no sums are kept, and all of the route is read: %s", error)
        yield False
        return
    try:
        yield _locked(lock)
    finally:
        os.close(lock)


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody has it, or files cannot be locked there
        return False
    return True


def discard(file: Path) -> None:
    """Remove a file of sums, and what DuckDB has beside it."""
    for path in (file, file.with_name(f"{file.name}.wal")):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:  # the next look finds it as useless as this one
            log.warning("%s cannot be removed: %s", path, error)


def forget(folder: Path, now: float) -> int:
    """Remove the sums that no look has gone on with for a day; how many files that were.

    Args:
        folder: the log's directory.
        now: seconds since 1970 UTC.
    """
    forgotten = 0
    for file in sorted((folder / FOLDER).glob("*/*.duckdb")):
        with held(file) as mine:
            if mine and file.exists() and now - file.stat().st_mtime > FORGET_SECONDS:
                discard(file)
                forgotten += 1
    return forgotten
