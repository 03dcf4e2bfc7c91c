"""Get the files of a commit, beside whatever anyone is working on."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway.errors import Refused
from slipway.home import Home


def checkout(home: Home, repository: str, commit: str, spec: Path) -> tuple[Path, str]:
    """Where the spec lies, as named or inside a commit; and that commit, by its whole name."""
    if not repository:
        return spec, commit
    place = extract(home, repository, commit)
    return place / spec, place.name


@task(name="checkout", cache_policy=NO_CACHE)
def extract(home: Home, repository: str, commit: str) -> Path:
    """Extract a commit's files into a folder named by it, once.

    Raises:
        Refused: the repository does not have that commit.
    """
    full = _git(repository, "rev-parse", "--verify", "--end-of-options", f"{commit}^{{commit}}")
    name = full.decode().strip()
    place = home.folder("checkouts") / name
    if not place.exists():
        part = place.with_suffix(".part")
        with tarfile.open(fileobj=io.BytesIO(_git(repository, "archive", name))) as tar:
            tar.extractall(part, filter="data")
        part.replace(place)
    get_run_logger().info("commit %s of %s", name[:12], repository)
    return place


def _git(repository: str, *arguments: str) -> bytes:
    told = subprocess.run(["git", "-C", repository, *arguments], capture_output=True, check=False)
    if told.returncode != 0:
        raise Refused(
            f"git says: {told.stderr.decode(errors='replace').strip()}",
            where=repository,
            do="give a repository on this machine and a commit that it has",
        )
    return told.stdout
