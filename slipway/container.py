"""What all runtimes of containers share: whose one is, its name, its image, its answer."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.daemon import answers
from slipway.errors import RuntimeFailure
from slipway.release import Image, Release, short

if TYPE_CHECKING:
    from docker import DockerClient

HOME, RELEASE, REPLICA, MODEL = (
    f"slipway.{name}" for name in ("home", "release", "replica", "model")
)
PORT = 8080
"""Where the image serves, inside."""
HEALTH = "/ping"
START_SECONDS = 60.0
ENGINE_SECONDS = 60.0
LOOK_SECONDS = 0.05
INSTEAD = "set 'runtime.kind: process' in slipway.yaml"


def scope(folder: Path) -> str:
    """What marks a home's containers: drawn once, and kept in the runtime's folder."""
    file = folder / "scope"
    folder.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        drawn = folder / f"scope.{secrets.token_hex(4)}"
        drawn.write_text(secrets.token_hex(4))
        with contextlib.suppress(FileExistsError):  # another process was first
            file.hardlink_to(drawn)  # so that it is never there without its content
        drawn.unlink()
    return file.read_text()


def name(scope: str, release_id: str) -> str:
    """The name of a release's containers or service: of this home alone, and a DNS label."""
    return f"slipway-{scope}-{short(release_id)}"


def labels(scope: str, release: Release) -> dict[str, str]:
    """What is told of each container; only what carries our scope is ever touched."""
    return {HOME: scope, RELEASE: release.id, MODEL: release.model}


def no_image(release: Release) -> RuntimeFailure:
    """What is told where containers are asked for and no image was built."""
    return RuntimeFailure(
        f"release {short(release.id)} has no image",
        where="image.build",
        do=f"release again where a Docker engine answers, or {INSTEAD}",
    )


def is_remote(reference: str) -> bool:
    """Whether an image's reference names a registry, from which every node can get it."""
    host, slash, _ = reference.partition("/")
    return bool(slash) and (host == "localhost" or any(mark in host for mark in ".:"))


def sealed_image(engine: DockerClient, release: Release) -> tuple[str, str]:
    """The reference and the id of a release's image, once the engine has just that image.

    Raises:
        RuntimeFailure: none was built, the engine has none, or it is another one.
    """
    from docker.errors import APIError, ImageNotFound

    reference = release.locators.get("image", "")
    if not reference:
        raise no_image(release)
    try:
        try:
            found = engine.images.get(reference)
        except ImageNotFound:  # only then is the registry needed: it may be out when we are not
            if not is_remote(reference):
                raise
            engine.images.pull(reference)
            found = engine.images.get(reference)
    except APIError as error:
        raise RuntimeFailure(
            f"the engine does not have the image {reference}: {error.explanation}",
            where=f"release {short(release.id)}",
            do="load or pull it there ('docker load', 'docker pull'), or release again",
        ) from error
    if Image(release.bundle, str(found.id)).digest != release.image:
        raise RuntimeFailure(
            f"the engine's image {reference} is not the one that was released",
            where=f"release {short(release.id)}",
            do="remove it there and release again; find out who changed it",
        )
    return reference, str(found.id)


def await_answers(
    endpoints: Callable[[], Sequence[str]], count: int, ended: Callable[[], Mapping[str, str]]
) -> None:
    """Wait until so many endpoints are ready.

    Args:
        endpoints: gives where replicas run by now.
        ended: gives what has ended meanwhile, by name, with its last lines.

    Raises:
        RuntimeFailure: one has ended, or does not answer in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while sum(answers(each, HEALTH) for each in endpoints()) < count:
        for who, lines in ended().items():
            raise RuntimeFailure(
                f"{who} ended; its last lines: {lines or 'none'}",
                do="mend the cause and run the same again",
            )
        if time.monotonic() > deadline:
            raise RuntimeFailure(
                f"{count} replicas are wanted and do not all answer within {START_SECONDS:g} s",
                where=", ".join(endpoints()) or "none runs yet",
                do="see 'slipway logs' and that there is room for them, then run the same again",
            )
        time.sleep(LOOK_SECONDS)


def await_silence(endpoints: Sequence[str]) -> None:
    """Wait until nobody answers at these endpoints any more.

    Raises:
        RuntimeFailure: one still answers after a while.
    """
    deadline = time.monotonic() + START_SECONDS
    while left := [each for each in endpoints if answers(each, HEALTH)]:
        if time.monotonic() > deadline:
            raise RuntimeFailure(f"{', '.join(left)} still answers", do="stop it by hand")
        time.sleep(LOOK_SECONDS)


def last_lines(log: bytes, count: int = 5) -> str:
    """The end of a log, in one line."""
    return " | ".join(log.decode(errors="replace").strip().splitlines()[-count:])
