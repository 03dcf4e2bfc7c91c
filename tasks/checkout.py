"""Get the files of a commit, beside whatever anyone is working on."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
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
    inside = (place / spec).resolve()
    if not inside.is_relative_to(place):
        raise Refused(
            f"the spec '{spec}' leads out of the repository",
            where=repository,
            do="give its path inside the repository, such as models/flights/slipway.yaml",
        )
    return inside, place.name


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
        part = Path(tempfile.mkdtemp(prefix=".part-", dir=place.parent))
        archive = _git(repository, "archive", name)
        subprocess.run(["tar", "--extract", "--directory", str(part)], input=archive, check=True)
        try:
            part.rename(place)
        except OSError:  # another worker was first; the same commit is the same files
            shutil.rmtree(part)
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
