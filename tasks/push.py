"""Push an image to a registry, from which it is deployed by the registry's digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from slipway.engine import connected
from slipway.errors import RuntimeFailure
from slipway.release import Image

if TYPE_CHECKING:
    from docker import DockerClient


def push(image: Image, repository: str, *, say: Callable[[str], None] = print) -> Image:
    """Push an image; its layers that are there already are not sent again.

    A registry lists an image only once it is whole, so a push that fails leaves nothing to deploy.
    Credentials are those of ``docker login``.

    Args:
        repository: with its host, such as ``registry.example:5000/team/flights``.
        say: is told where it was pushed.

    Returns:
        The image, with its reference by the registry's digest: a tag can be moved, that cannot.

    Raises:
        RuntimeFailure: the registry does not answer, refuses the credentials, or ended meanwhile.
    """
    tag = image.reference.rpartition(":")[2]
    with connected() as engine, _named(engine, image.content, repository, tag):
        digest = _follow(engine.api.push(repository, tag, stream=True, decode=True), repository)
    say(f"pushed {repository}@{digest}")
    return replace(image, reference=f"{repository}@{digest}")


@contextmanager
def _named(engine: DockerClient, image: str, repository: str, tag: str) -> Iterator[None]:
    """A name for an image for the length of a block; what had that name has it afterwards."""
    from docker.errors import ImageNotFound

    name = f"{repository}:{tag}"
    try:
        before = engine.images.get(name)
    except ImageNotFound:
        before = None
    engine.images.get(image).tag(repository, tag)
    try:
        yield
    finally:
        if before is None:
            engine.images.remove(name, noprune=True)  # the name, not the image
        else:
            before.tag(repository, tag)


def _follow(lines: Iterator[dict[str, Any]], repository: str) -> str:
    """The digest that the registry knows the image by, at the end of a push."""
    digest = ""
    for line in lines:
        if "error" in line:
            raise RuntimeFailure(
                f"the image cannot be pushed: {line['error'].strip()}",
                where=f"image.push: {repository}",
                do="see that the registry runs, and log in ('docker login HOST'); then run the "
                "same again: what it has already is not sent twice",
            )
        digest = line.get("aux", {}).get("Digest", digest)
    if not digest:
        raise RuntimeFailure(
            "the push ended without a digest", where=f"image.push: {repository}", do="push again"
        )
    return digest
