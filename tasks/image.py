"""Build a container image from a bundle, where a Docker engine answers."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway.errors import RuntimeFailure
from slipway.release import Bundle, Image, short
from slipway.spec import ImageChoice

DOCKERFILE = """\
FROM {base}
WORKDIR /bundle
COPY requirements.txt .
RUN pip install --no-cache-dir --no-deps -r requirements.txt
COPY . .
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["python3", "-P", "/bundle/serve.py", "--host", "0.0.0.0", "--port", "8080"]
"""


@task(name="image", cache_policy=NO_CACHE)
def image(model: str, bundle: Bundle, choice: ImageChoice) -> tuple[Image | None, str]:
    """Build the image of a bundle.

    Returns:
        The image, or None with the reason why none was built (only where ``build: auto``).

    Raises:
        RuntimeFailure: ``build: always``, and no image could be built.
    """
    log = get_run_logger()
    if choice.build == "never":
        return None, "the spec says 'build: never'"
    try:
        built = _build(model, bundle, choice.base)
    except RuntimeFailure as error:
        if choice.build == "always":
            raise
        log.warning("no image: %s", error.what)
        return None, error.what
    log.info("image %s", built.reference)
    return built, ""


def dockerfile(base: str) -> str:
    """The text of the Dockerfile."""
    return DOCKERFILE.format(base=base)


def _build(model: str, bundle: Bundle, base: str) -> Image:
    import docker
    from docker.errors import BuildError, DockerException, ImageNotFound

    try:
        engine = docker.from_env(timeout=600)
        engine.ping()
    except DockerException as error:
        raise RuntimeFailure(
            f"no Docker engine answers ({type(error).__name__})",
            do="start one, or set 'image.build: never' in slipway.yaml",
        ) from error
    reference = f"slipway/{model}:{short(bundle.digest)}"
    try:
        engine.images.get(base)
    except ImageNotFound as error:
        raise RuntimeFailure(
            f"the engine does not have the base image '{base}'",
            where="image.base",
            do=f"pull it ('docker pull {base}') or name one that the engine has",
        ) from error
    try:
        made, _ = engine.images.build(
            fileobj=_context(Path(bundle.path), dockerfile(base)),
            custom_context=True,
            tag=reference,
            rm=True,
            labels={"slipway.bundle": bundle.digest, "slipway.model": model},
        )
    except (BuildError, DockerException) as error:
        raise RuntimeFailure(f"the image build failed: {error}", do="see the lines above") from error
    finally:
        engine.close()
    return Image(bundle=bundle.digest, content=str(made.id), reference=reference)


def _context(folder: Path, text: str) -> io.BytesIO:
    """The build context: the bundle's files and the Dockerfile, with fixed times and owners."""
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            info = tar.gettarinfo(path, path.relative_to(folder).as_posix())
            info.mtime, info.uid, info.gid, info.uname, info.gname = 0, 0, 0, "", ""
            with path.open("rb") as stream:
                tar.addfile(info, stream)
        info = tarfile.TarInfo("Dockerfile")
        info.size = len(text.encode())
        tar.addfile(info, io.BytesIO(text.encode()))
    context.seek(0)
    return context
