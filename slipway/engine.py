"""The Docker engine: reached, or a clear word on why not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from slipway.errors import RuntimeFailure

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image

TIMEOUT = 600
"""Seconds that the engine may be silent: pip can be, while it downloads."""
_NO_IMAGE = "set 'image.build: never' in slipway.yaml"


@contextmanager
def connected(
    address: str = "", *, timeout: float = TIMEOUT, instead: str = _NO_IMAGE
) -> Iterator[DockerClient]:
    """The engine at an address, else the one that ``DOCKER_HOST`` names, or this machine's.

    Args:
        address: such as ``unix:///run/docker.sock``; empty for the environment's.
        timeout: seconds that it may be silent.
        instead: what else a reader can do where none answers.

    Raises:
        RuntimeFailure: none answers, this user may not use it, or it ends while in use.
    """
    import docker
    from docker.errors import DockerException
    from requests import RequestException

    environ = {**os.environ, **({"DOCKER_HOST": address} if address else {})}
    where = environ.get("DOCKER_HOST", "the engine of this machine")
    try:
        engine = docker.from_env(timeout=int(timeout), environment=environ)
    except DockerException as error:
        raise _unreachable(error, where, instead) from error
    try:
        yield engine
    except (DockerException, RequestException) as error:
        raise RuntimeFailure(
            f"the Docker engine failed: {_words(error)}",
            where=where,
            do="see the engine's log",
        ) from error
    finally:
        engine.close()


def base_image(engine: DockerClient, name: str) -> Image:
    """The base image, which the engine must have.

    Raises:
        RuntimeFailure: it has none of that name.
    """
    from docker.errors import APIError

    try:
        return engine.images.get(name)
    except APIError as error:
        raise RuntimeFailure(
            f"the engine does not have the base image '{name}': {_words(error)}",
            where="image.base",
            do=f"pull it ('docker pull {name}'), or make one ('scripts/base-image {name}')",
        ) from error


def _unreachable(error: Exception, where: str, instead: str) -> RuntimeFailure:
    cause = _cause(error)
    if isinstance(cause, PermissionError):
        return RuntimeFailure(
            "this user may not use the Docker engine",
            where=where,
            do="have the user added to the engine's group ('docker'), or name another engine in "
            f"DOCKER_HOST, or {instead}",
        )
    return RuntimeFailure(
        f"no Docker engine answers: {(cause and cause.strerror) or _words(error)}",
        where=where,
        do=f"start one, or name it in DOCKER_HOST, or {instead}",
    )


def _cause(error: BaseException | None) -> OSError | None:
    """The system's own word at the root: libraries hand it on as cause, context or argument."""
    while error is not None:
        found = [e for e in (error, *error.args) if isinstance(e, OSError) and e.strerror]
        if found:
            return found[0]
        error = error.__cause__ or error.__context__
    return None


def _words(error: Exception) -> str:
    return " ".join(str(getattr(error, "explanation", None) or error).split())[:300]
