#!/usr/bin/env python3
"""A git `post-receive` hook: tells Prefect of a push, as one `git.push` event.

Installed by `slipway hook install REPO`, which copies this very file into the repository; it needs
nothing but Python's standard library. What it is to say is in the repository's own configuration:
`git config --get-regexp '^slipway\\.'`. A server with `PREFECT_SERVER_API_AUTH_STRING` is greeted
with the `PREFECT_API_AUTH_STRING` of the environment that git runs in.

The push has already been accepted when git runs this, and nothing here can undo it: whatever goes
wrong is told to the person who pushed, in one line and within five seconds.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

NEEDED = {"apiurl", "branch", "repository", "resource"}
LIMIT_SECONDS = 5
EARLIER = "post-receive.before-slipway"


def pushed(lines: Iterable[str], branch: str) -> tuple[str, str] | None:
    """The (old, new) commits of a branch, from git's `old new ref` lines.

    Returns:
        None where the branch was not pushed, or was deleted.

    >>> pushed(["aaa bbb refs/heads/main", "ccc ddd refs/tags/v1"], "main")
    ('aaa', 'bbb')
    """
    for line in lines:
        old, new, ref = line.split(maxsplit=2)
        if ref.strip() == f"refs/heads/{branch}" and not set(new) <= {"0"}:
            return old, new
    return None


def event(
    config: Mapping[str, str], old: str, new: str, identity: str, occurred: str
) -> dict[str, Any]:
    """The `git.push` event of one branch, as Prefect's `POST /events` takes it.

    Args:
        config: `resource`, `repository`, `branch`, and `spec` where one is configured.
        old, new: the branch's commit before and after.
        identity: the event's UUID.
        occurred: ISO 8601, with its offset.
    """
    payload = {
        "commit": new,
        "before": old,
        "branch": config["branch"],
        "ref": f"refs/heads/{config['branch']}",
        "repository": config["repository"],
        "spec": config.get("spec", ""),
    }
    resource = {
        "prefect.resource.id": config["resource"],
        "prefect.resource.name": Path(config["repository"]).name,
    }
    return {
        "id": identity,
        "occurred": occurred,
        "event": "git.push",
        "resource": resource,
        "payload": payload,
    }


def send(api_url: str, told: dict[str, Any], auth: str) -> None:
    """Post one event; any failure, or an answer other than 2xx, raises `OSError`."""
    from urllib.request import ProxyHandler, Request, build_opener  # slow: only where it is sent

    headers = {"Content-Type": "application/json"}
    if auth:
        headers["Authorization"] = "Basic " + base64.b64encode(auth.encode()).decode()
    request = Request(f"{api_url}/events", json.dumps([told]).encode(), headers)  # noqa: S310
    # Prefect's API is a neighbour: a proxy that the environment names is not asked.
    build_opener(ProxyHandler({})).open(request, timeout=LIMIT_SECONDS).close()


def configuration() -> dict[str, str]:
    """The repository's `slipway.*` settings, without the prefix."""
    command = ["git", "config", "--get-regexp", r"^slipway\."]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    pairs = (line.split(" ", 1) for line in told.stdout.splitlines())
    return {key.removeprefix("slipway."): value for key, value in pairs}


def _too_late(signum: int, frame: object) -> None:
    raise TimeoutError(f"no answer within {LIMIT_SECONDS} s")


def tell(lines: list[str]) -> str:
    """Send the event of a push; one line to say to the person who pushed, or nothing."""
    config = configuration()
    if missing := NEEDED - config.keys():
        return f"slipway: Prefect was NOT told: no git config slipway.{min(missing)}; install again"
    commits = pushed(lines, config["branch"])
    if commits is None:
        return ""
    now = datetime.now(timezone.utc).isoformat()  # noqa: UP017  (the git server's python3 may be old)
    told = event(config, *commits, str(uuid.uuid4()), now)
    signal.signal(signal.SIGALRM, _too_late)  # a name that does not resolve has no other limit
    signal.alarm(LIMIT_SECONDS)
    try:
        send(config["apiurl"], told, os.environ.get("PREFECT_API_AUTH_STRING", ""))
    except OSError as error:
        return (
            f"slipway: the push is stored, but {config['apiurl']} was NOT told of it ({error}); "
            "no release was started"
        )
    finally:
        signal.alarm(0)
    return f"slipway: told Prefect of {commits[1][:12]} on {config['branch']}"


def main() -> int:
    """Run an earlier hook, if there was one, on the same input; then tell Prefect."""
    lines = sys.stdin.read().splitlines()
    earlier = Path(__file__).with_name(EARLIER)
    code = 0
    if earlier.exists():
        given = "".join(f"{line}\n" for line in lines)
        code = subprocess.run([str(earlier)], input=given, text=True, check=False).returncode
    if said := tell(lines):
        sys.stderr.write(said + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
