"""Build a container image from a bundle, where a Docker engine answers."""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway import bundle as bundles
from slipway.engine import base_image, connected
from slipway.errors import RuntimeFailure, UsageError
from slipway.image import archive
from slipway.image.recipe import (
    FOUNDATION,
    LABEL,
    Recipe,
    build_args,
    bundle_is_last,
    certificates,
    dockerfile,
    write_context,
    write_layer,
)
from slipway.release import Bundle, Image
from slipway.spec import Spec
from tasks.push import push

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image as EngineImage

Say = Callable[[str], None]
LAST_LINES = 15
_STEP = re.compile(r"Step \d+/\d+ : (FROM|RUN|COPY)")  # the ones that take time


@task(name="image", cache_policy=NO_CACHE)
def image(
    spec: Spec, bundle: Bundle, commit: str, chain: Mapping[str, str]
) -> tuple[Image | None, str]:
    """Build the image of a bundle.

    Args:
        spec: whether, and from which base and template, the image is built.
        bundle: what the image serves.
        commit: the git commit that the model was made at, or empty.
        chain: the release's other links by now, by name, with their digests: for the labels.

    Returns:
        The image, or None with the reason why none was built. With ``build: auto`` that is where
        no engine answers or it lacks the base image; a build that fails is an error.

    Raises:
        RuntimeFailure: an image was to be built and could not be.
        SpecError: the template cannot be used.
    """
    log, choice = get_run_logger(), spec.image
    template = spec.folder / choice.dockerfile if choice.dockerfile else None
    if choice.build == "never":
        return None, "the spec says 'build: never'"
    if choice.build == "auto" and (reason := unavailable(choice.base)):
        log.warning("no image: %s", reason)
        return None, reason
    built = build(spec.model, bundle, choice.base, template, commit, chain=chain, say=log.info)
    if choice.push:
        built = push(built, choice.push, say=log.info)
    log.info("image %s %s", built.reference, built.content)
    return built, ""


def unavailable(base: str) -> str:
    """Why no image can be built here: no engine, or not the base. Empty if one can."""
    try:
        with connected() as engine:
            base_image(engine, base)
    except RuntimeFailure as error:
        return error.what
    return ""


def build(
    model: str,
    bundle: Bundle,
    base: str,
    template: Path | None = None,
    commit: str = "",
    *,
    chain: Mapping[str, str] = MappingProxyType({}),
    say: Say = print,
    environ: Mapping[str, str] = os.environ,
) -> Image:
    """Build the image of a bundle, unless the engine has it already.

    The image is tagged once it is complete, so a failure leaves no image half made.

    Args:
        chain: more digests for the labels, by the name of what they are of.
        say: is told each step of the build.
        environ: proxies, pip's index and certificates, and ``SOURCE_DATE_EPOCH``.

    Raises:
        RuntimeFailure: the bundle is not what its digests say, no engine answers, it has no such
            base, the name cannot be an image's, a step of the build failed, or a disk is full.
        SpecError: the template cannot be used.
    """
    text = dockerfile(base, template)
    created = _dated(environ)
    began = time.monotonic()
    with connected() as engine, _room():
        foundation = base_image(engine, base)
        place = (base, str(foundation.id))
        recipe = Recipe(model, bundle, *place, text, commit, created, dict(chain))
        content = _existing(engine, recipe)
        if not content:
            _require_whole(bundle)
            content = _exchange(engine, recipe, say) or _make(
                engine, foundation, recipe, say, environ
            )
            say(_told(engine, content, foundation, time.monotonic() - began))
    return Image(bundle=bundle.digest, content=content, reference=recipe.reference)


def _dated(environ: Mapping[str, str]) -> int:
    told = environ.get("SOURCE_DATE_EPOCH") or "0"
    if not told.isdecimal():
        raise UsageError(f"SOURCE_DATE_EPOCH is {told!r}, and no number of seconds since 1970")
    return int(told)


@contextmanager
def _room() -> Iterator[None]:
    """What goes wrong with this machine's own disk, in clear words."""
    from requests import RequestException

    try:
        yield
    except RequestException:  # the engine's, and an OSError by descent
        raise
    except OSError as error:
        raise RuntimeFailure(
            f"the image's files cannot be written: {error.strerror or error}",
            where=str(error.filename or tempfile.gettempdir()),
            do="make room there, or name another place in TMPDIR, then try again",
        ) from error


def _make(
    engine: DockerClient, base: EngineImage, recipe: Recipe, say: Say, environ: Mapping[str, str]
) -> str:
    """Run the Dockerfile, and write what it made again. The image's id."""
    made = _run(engine, recipe, say, environ)
    say("dating all files alike")
    return _settle(engine, made, base.attrs["RootFS"]["Layers"], recipe)


def _told(engine: DockerClient, content: str, base: EngineImage, seconds: float) -> str:
    """An image's size, what its own layers add to the base, and how long it took."""
    whole, below = engine.images.get(content).attrs["Size"], base.attrs["Size"]
    return (
        f"{whole / 1e6:.0f} MB, of which {(whole - below) / 1e6:.1f} MB are added to the base, "
        f"in {seconds:.1f} s"
    )


def _existing(engine: DockerClient, recipe: Recipe) -> str:
    """The id of the image that an earlier build of the same recipe left, or nothing."""
    from docker.errors import ImageNotFound

    try:
        found = engine.images.get(recipe.reference)
    except ImageNotFound:
        return ""
    # What was built from ours by somebody else carries our labels, too.
    same = found.labels.get(LABEL) == recipe.digest
    whole = same and archive.is_settled(found.attrs, _notes(found), recipe.created)
    return str(found.id) if whole else ""


def _require_whole(bundle: Bundle) -> None:
    faults = bundles.verify(Path(bundle.path), bundle.files)
    if faults:
        raise RuntimeFailure(
            f"the bundle is not what it was released as: {'; '.join(faults[:3])}",
            where=bundle.path,
            do="release the model again",
        )


def _exchange(engine: DockerClient, recipe: Recipe, say: Say) -> str:
    """Put the bundle where an image of the same foundation has its own: no step is run again.

    Returns:
        The image's id; nothing where the engine has no such image, or keeps layers in a way that
        it wants all of them.
    """
    from docker.errors import DockerException

    donor = _donor(engine, recipe) if bundle_is_last(recipe.dockerfile) else None
    if donor is None:
        return ""
    say(f"the bundle alone is new: on the layers of {donor.short_id}")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as layer:
        target = Path(folder) / "image.tar"
        write_layer(layer, recipe)
        wanted = archive.exchange(
            layer,
            target,
            donor=donor.attrs,
            notes=_notes(donor),
            reference=recipe.reference,
            labels=recipe.labels(),
            created=recipe.created,
        )
        try:
            with target.open("rb") as stream:
                engine.images.load(stream)
        except DockerException as error:
            say(f"the engine does not take a layer alone: {error}")
    return wanted if _existing(engine, recipe) == wanted else ""


def _donor(engine: DockerClient, recipe: Recipe) -> EngineImage | None:
    """An image on the foundation of a recipe, just as a build left it."""
    from docker.errors import NotFound

    filters = {"label": f"{FOUNDATION}={recipe.foundation}"}
    for image_id in engine.api.images(quiet=True, filters=filters):
        try:
            found = engine.images.get(image_id)
            if archive.is_settled(found.attrs, _notes(found), recipe.created):
                return found
        except NotFound:  # removed meanwhile
            continue
    return None


def _notes(image: EngineImage) -> list[str]:
    return [str(step["CreatedBy"]) for step in reversed(image.history())]


def _run(engine: DockerClient, recipe: Recipe, say: Say, environ: Mapping[str, str]) -> str:
    """Run the Dockerfile. The id of what it made, without a name yet."""
    with tempfile.TemporaryFile() as context:
        write_context(context, recipe, certificates(environ))
        context.seek(0)
        lines = engine.api.build(
            fileobj=context,
            custom_context=True,
            buildargs=build_args(environ),
            network_mode="host",  # pip reaches what this machine reaches, a proxy on loopback too
            rm=True,
            forcerm=True,
            decode=True,
        )
        return _follow(lines, say)


def _follow(lines: Iterator[dict[str, Any]], say: Say) -> str:
    """Tell the build's steps as they come; the id of the image at its end."""
    last: deque[str] = deque(maxlen=LAST_LINES)
    made = ""
    for line in lines:
        text = line.get("stream", "").strip()
        if _STEP.match(text):
            say(text.splitlines()[0][:160])
        if text:
            last.append(text)
        if "error" in line:
            told = "\n".join(f"    {one}" for one in last)
            raise RuntimeFailure(
                f"the image build failed: {line['error'].strip()}\n{told}",
                where="the Dockerfile's step above",
                do="mend what its last lines say, then try again",
            )
        made = line.get("aux", {}).get("ID", made)
    if not made:
        raise RuntimeFailure("the image build ended without an image", do="see the engine's log")
    return made


def _settle(engine: DockerClient, made: str, base_layers: list[str], recipe: Recipe) -> str:
    """Write what was built again, the same for the same content, and load it under its name."""
    with tempfile.TemporaryDirectory() as folder:
        built, settled = Path(folder) / "built.tar", Path(folder) / "settled.tar"
        with built.open("wb") as stream:
            for chunk in engine.images.get(made).save():
                stream.write(chunk)
        archive.settle(
            built,
            settled,
            reference=recipe.reference,
            labels=recipe.labels(),
            base_layers=base_layers,
            created=recipe.created,
        )
        with settled.open("rb") as stream:
            engine.images.load(stream)
    return str(engine.images.get(recipe.reference).id)
