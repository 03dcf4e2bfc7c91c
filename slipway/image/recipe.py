"""What an image is made of: Dockerfile, build context, labels, tag. No engine needed.

The recipe's digest names everything that decides the image, so an image whose label carries that
digest need not be built again.
"""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from slipway.errors import RuntimeFailure, SpecError
from slipway.release import Bundle, digest, short

TEMPLATE = Path(__file__).parents[1] / "templates" / "Dockerfile"
PLACEHOLDER = re.compile(r"@\{(\w*)\}")  # a Dockerfile is full of $ and of braces
NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*")
NAMING = (
    "use lower-case letters and digits, with single dots, dashes or underscores between them, or "
    "set 'image.build: never'"
)
LABEL, FOUNDATION = "slipway.recipe", "slipway.foundation"

# Docker itself passes these to RUN and keeps them out of the image and of the cache's keys.
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY")
_PIP = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT")
_CERTIFICATES = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
_CERTIFICATE_FILE = "certificates.crt"

_LAST = ["COPY", "bundle/", "/bundle/"]
_NO_FILES = ("CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "STOPSIGNAL", "USER")


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides an image.

    Args:
        model: the model's name.
        bundle: the bundle that it serves.
        base: the base image as the spec names it; ``base_id`` is the engine's id of it.
        dockerfile: the rendered text.
        commit: the git commit that the model was made at, or empty.
        created: seconds since 1970 that every file and the image itself are dated.
        chain: what else of the release is known by then: a link's name to its digest.
    """

    model: str
    bundle: Bundle
    base: str
    base_id: str
    dockerfile: str
    commit: str = ""
    created: int = 0
    chain: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """The digest of all of it; where the bundle lies does not count."""
        facts = {name: getattr(self, name) for name in self.__slots__}
        return digest(facts | {"bundle": self.bundle.digest})

    @property
    def foundation(self) -> str:
        """The digest of what decides everything below the bundle's own layer."""
        packages = self.bundle.files["requirements.txt"]
        return digest([self.base_id, self.dockerfile, packages, self.created])

    @property
    def reference(self) -> str:
        """The image's name and tag: of this recipe alone, so a tag never moves.

        Raises:
            RuntimeFailure: the model's name cannot be part of an image's.
        """
        if not NAME.fullmatch(self.model):
            raise RuntimeFailure(
                f"the model's name '{self.model}' cannot name an image",
                where="model",
                do=NAMING,
            )
        return f"slipway/{self.model}:{short(self.bundle.digest)}-{short(self.digest)}"

    def labels(self) -> dict[str, str]:
        """What the image says of itself (OCI image spec 1.1, annotations; and ours)."""
        oci = {
            "title": self.model,
            "version": short(self.bundle.digest),
            "revision": self.commit,
            "base.name": self.base,
        }
        ours = {
            "slipway.model": self.model,
            "slipway.candidate": self.bundle.candidate,
            "slipway.bundle": self.bundle.digest,
            "slipway.engine": self.bundle.engine,
            "slipway.base": self.base_id,
            FOUNDATION: self.foundation,
            LABEL: self.digest,
            **{f"slipway.{link}": value for link, value in self.chain.items()},
        }
        return {f"org.opencontainers.image.{k}": v for k, v in oci.items() if v} | ours


def dockerfile(base: str, template: Path | None = None) -> str:
    """The Dockerfile's text.

    Args:
        base: the base image.
        template: the user's own file; None for the project's.

    Raises:
        SpecError: the template cannot be read, or has a placeholder that there is not.
    """
    path = template or TEMPLATE
    try:
        text = path.read_text()
    except OSError as error:
        raise SpecError(
            f"the Dockerfile template cannot be read: {error.strerror}",
            where=f"image.dockerfile: {path}",
            do="name a file that lies in the model's folder",
        ) from error
    unknown = sorted(set(PLACEHOLDER.findall(text)) - {"base"})
    if unknown:
        raise SpecError(
            f"the Dockerfile template has unknown placeholders: {', '.join(unknown)}",
            where=f"image.dockerfile: {path}",
            do="use @{base} only",
        )
    return PLACEHOLDER.sub(lambda _: base, text)


def bundle_is_last(text: str) -> bool:
    """Whether a Dockerfile's last files are the bundle's, and no step before can see the bundle.

    Then two images of one foundation differ in their last layer only. Where it cannot be told from
    the text, the answer is no.
    """
    lines = (line.strip() for line in text.splitlines())
    plain = "\n".join(line for line in lines if line and not line.startswith("#"))
    steps = [line.split() for line in plain.replace("\\\n", " ").splitlines()]
    if steps.count(_LAST) != 1:
        return False
    place = steps.index(_LAST)
    after = all(step[0] in _NO_FILES for step in steps[place + 1 :])
    return after and not any(map(_may_see_bundle, steps[:place]))


def _may_see_bundle(step: list[str]) -> bool:
    what, *words = step
    if what in ("COPY", "ADD"):
        if words[0].startswith("--from="):
            return False
        return not all(w.startswith("environment/") and ".." not in w for w in words[:-1])
    if what == "RUN" and "bundle" in " ".join(words):  # its folder would be in the layers below
        return True
    return what not in (*_NO_FILES, "FROM", "ARG", "RUN", "WORKDIR") or "--mount" in " ".join(words)


def build_args(environ: Mapping[str, str]) -> dict[str, str]:
    """What a build is told of this machine's way to the package index.

    Proxies, pip's index and, where a certificate bundle is named, where the build finds its copy.
    An index that is a folder of this machine is left out: a build cannot see it.
    """
    names = [*_PROXIES, *(p.lower() for p in _PROXIES), *_PIP]
    told = {n: environ[n] for n in names if environ.get(n) and "file:" not in environ[n]}
    if certificates(environ):
        told["PIP_CERT"] = f"/build/{_CERTIFICATE_FILE}"
    return told


def certificates(environ: Mapping[str, str]) -> Path | None:
    """The certificate bundle that this machine's environment names for pip, if it is there."""
    named = (Path(environ[n]) for n in _CERTIFICATES if environ.get(n))
    return next((path for path in named if path.is_file()), None)


def write_context(stream: IO[bytes], recipe: Recipe, certificate: Path | None) -> None:
    """The build context as a tar: the same bytes for the same recipe and certificates."""
    folder = Path(recipe.bundle.path)
    members = {f"bundle/{name}": folder / name for name in sorted(recipe.bundle.files)}
    members["environment/requirements.txt"] = folder / "requirements.txt"
    if certificate:
        members[f"environment/{_CERTIFICATE_FILE}"] = certificate
    with tarfile.open(fileobj=stream, mode="w") as tar:
        _add(tar, "Dockerfile", io.BytesIO(recipe.dockerfile.encode()), recipe.created)
        for name, path in members.items():
            with path.open("rb") as content:
                _add(tar, name, content, recipe.created)


def write_layer(stream: IO[bytes], recipe: Recipe) -> None:
    """The bundle's layer, as a builder's copy of the bundle into ``/bundle`` is once settled."""
    folder = Path(recipe.bundle.path)
    files = sorted(Path("bundle", name) for name in recipe.bundle.files)
    folders = {parent for file in files for parent in file.parents} - {Path()}
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path in sorted([*files, *folders]):
            if path in folders:
                info = tarfile.TarInfo(str(path))
                info.type, info.mtime, info.mode = tarfile.DIRTYPE, recipe.created, 0o755
                tar.addfile(info)
            else:
                with (folder / path.relative_to("bundle")).open("rb") as content:
                    _add(tar, str(path), content, recipe.created)


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], created: int) -> None:
    info = tarfile.TarInfo(name)
    info.size = content.seek(0, os.SEEK_END)
    info.mtime, info.mode = created, 0o644
    content.seek(0)
    tar.addfile(info, content)
