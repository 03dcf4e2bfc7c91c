"""Install the git hook that starts a release when a branch is pushed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from slipway import post_receive
from slipway.errors import Refused, UsageError

_OURS = "slipway hook install"


def install(
    repo: Path, api_url: str, resource: str = "", spec: str = "slipway.yaml", branch: str = ""
) -> Path:
    """Write a ``post-receive`` hook that emits a ``git.push`` event to Prefect.

    A hook that is there already is kept: it runs first, on the same input. Installing again
    updates the settings and changes nothing else. The event names the repository by its path, so
    the worker must see it there; ``git config slipway.repository`` names another place.

    Args:
        repo: a bare repository.
        api_url: Prefect's API as the git server reaches it, ending in ``/api``.
        resource: the event's resource id; by default ``slipway.git.<repository's name>``.
        spec: the path of ``slipway.yaml`` inside the repository.
        branch: the branch whose pushes count; by default the repository's own default branch.

    Returns:
        The hook's path.

    Raises:
        UsageError: not a bare repository, or not an HTTP address.
        Refused: git is missing, or an earlier hook is in the way twice over.
    """
    if not api_url.startswith(("http://", "https://")):
        raise UsageError(
            f"{api_url!r} is not the address of a Prefect API",
            do="give one such as http://127.0.0.1:4200/api, or set PREFECT_API_URL",
        )
    if not repo.is_dir() or _git(repo, "rev-parse", "--is-bare-repository") != "true":
        raise UsageError(
            "the hook goes into a bare repository", where=str(repo), do="git init --bare"
        )
    name = repo.resolve().name.removesuffix(".git")
    settings = {
        "apiUrl": api_url.rstrip("/"),
        "resource": resource or f"slipway.git.{name}",
        "repository": str(repo.resolve()),
        "spec": spec,
        "branch": branch or _git(repo, "symbolic-ref", "--short", "HEAD"),
    }
    hook = _place(repo / _git(repo, "rev-parse", "--git-path", "hooks"))
    for key, value in settings.items():
        _git(repo, "config", f"slipway.{key}", value)
    return hook


def _place(hooks: Path) -> Path:
    hooks.mkdir(parents=True, exist_ok=True)
    hook, earlier = hooks / "post-receive", hooks / post_receive.EARLIER
    if hook.exists() and _OURS not in hook.read_text(errors="replace"):
        if earlier.exists():
            raise Refused(
                "two earlier hooks stand in the way of ours",
                where=f"{hook} and {earlier}",
                do="join them into one, or remove the one that is no longer wanted",
            )
        hook.rename(earlier)
    shutil.copyfile(post_receive.__file__, hook)
    hook.chmod(0o755)
    return hook


def _git(repo: Path, *arguments: str) -> str:
    git = shutil.which("git")
    if git is None:
        raise Refused("git is not installed", do="install git")
    done = subprocess.run(
        [git, "-C", str(repo), *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UsageError(
            f"git {arguments[0]} failed: {done.stderr.strip()}",
            where=str(repo),
            do="give the path of a bare git repository",
        )
    return done.stdout.strip()
