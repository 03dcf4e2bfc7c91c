"""An image archive (``docker save``), written again so that the same content is the same image.

A builder dates every file and the image itself by the clock, and notes which container made which
layer. Here each layer that a build added is dated alike, the notes are dropped, and the image's
id, which is the digest of its configuration, follows from what is in it alone. The base's layers
stay as they are, so that images share them.

Format: Docker Image Specification v1.2 (``manifest.json``), which ``docker load`` reads.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from slipway.release import PREFIX, canonical, digest_bytes

_HASH = re.compile(r"\b(file|dir|multi):[0-9a-f]{64}")  # of what a COPY copied, in its note
BASE = "org.opencontainers.image.base.name"
_OURS = re.compile(r"slipway\.|org\.opencontainers\.image\.(title|version|revision|base\.name)$")
_PLATFORM = ("Architecture", "Os", "Variant")
_DATES = ("mtime", "atime", "ctime")
_BUILDERS = ("Hostname", "Image")  # the build's own container and its parent image


def settle(
    source: Path,
    target: Path,
    *,
    reference: str,
    labels: Mapping[str, str],
    base_layers: Sequence[str],
    created: int,
) -> str:
    """Write an archive again with nothing in it but what it is made of.

    Args:
        source: an archive of one image, as ``docker save`` writes it.
        target: where the new archive goes.
        reference: the name and tag that loading it sets.
        labels: what the image shall say of itself, besides what its Dockerfile does.
        base_layers: the base image's layers by digest; those at the start are kept as they are.
        created: seconds since 1970 that the image and the files of its own layers are dated.

    Returns:
        The image's id: the digest of its configuration.

    Raises:
        KeyError, tarfile.TarError, ValueError: the source is not such an archive.
    """
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        manifest = json.load(_open(old, "manifest.json"))[0]
        config = json.load(_open(old, manifest["Config"]))
        kept = _common(config["rootfs"]["diff_ids"], base_layers)
        diff_ids: list[str] = []
        for number, name in enumerate(manifest["Layers"]):
            layer = _open(old, name)
            with layer if number < kept else _settled(layer, created) as stream:
                # An engine may hand out the base's layers compressed: their names are known.
                diff_ids.append(base_layers[number] if number < kept else _digest(stream))
                if diff_ids[-1] not in diff_ids[:-1]:
                    _add(new, _file(diff_ids[-1], "tar"), stream)
        notes = [s.get("created_by", "") for s in config.get("history", []) if _has_layer(s)]
        own = notes[max(0, len(notes) - len(diff_ids) + kept) :]
        notes = [f"FROM {labels.get(BASE, 'the base')}"] * kept + own
        return _finish(new, config, notes, diff_ids, reference, labels, created)


def exchange(
    bundle: IO[bytes],
    target: Path,
    *,
    donor: Mapping[str, Any],
    notes: Sequence[str],
    reference: str,
    labels: Mapping[str, str],
    created: int,
) -> str:
    """Write an archive of a settled image with another bundle for its last layer.

    Only that layer is in it: the engine that has the donor has the others.

    Args:
        bundle: the layer.
        target: where the new archive goes.
        donor: the settled image, as the engine's API tells it (``inspect``).
        notes: what made each of its layers, the first one first.
        reference, labels, created: as for ``settle``.

    Returns:
        The image's id, which is the one that building it from nothing gives.
    """
    with tarfile.open(target, "w") as new:
        layer = _digest(bundle)
        diff_ids = [*donor["RootFS"]["Layers"][:-1], layer]
        _add(new, _file(layer, "tar"), bundle)
        return _finish(new, _as_archived(donor), notes, diff_ids, reference, labels, created)


def is_settled(image: Mapping[str, Any], notes: Sequence[str], created: int) -> bool:
    """Whether an image is as ``settle`` left it, by its id; what was made from one is not.

    An image that somebody built from ours, or committed, has our labels too, and other layers.
    """
    labels = image["Config"].get("Labels") or {}
    ours = {k: v for k, v in labels.items() if _OURS.match(k)}
    layers = image["RootFS"]["Layers"]
    told = _settled_config(_as_archived(image), notes, layers, ours, created)
    return digest_bytes(canonical(told)) == str(image["Id"])


def _as_archived(image: Mapping[str, Any]) -> dict[str, Any]:
    """An image's configuration by the names of an archive, from those of the engine's API."""
    return {name.lower(): image[name] for name in (*_PLATFORM, "Config") if image.get(name)}


def _finish(
    new: tarfile.TarFile,
    config: Mapping[str, Any],
    notes: Sequence[str],
    diff_ids: Sequence[str],
    reference: str,
    labels: Mapping[str, str],
    created: int,
) -> str:
    """Write configuration and manifest; the image's id."""
    text = canonical(_settled_config(config, notes, diff_ids, labels, created))
    image_id = digest_bytes(text)
    name, layers = _file(image_id, "json"), [_file(layer, "tar") for layer in diff_ids]
    manifest = {"Config": name, "RepoTags": [reference], "Layers": layers}
    _add(new, name, io.BytesIO(text))
    _add(new, "manifest.json", io.BytesIO(canonical([manifest])))
    return image_id


def _settled(layer: IO[bytes], created: int) -> IO[bytes]:
    """A layer with every entry dated alike and owned by number only."""
    stream = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    with tarfile.open(fileobj=layer) as old, tarfile.open(fileobj=stream, mode="w") as new:
        for info in old:
            info.mtime, info.uname, info.gname = created, "", ""
            info.pax_headers = {k: v for k, v in info.pax_headers.items() if k not in _DATES}
            new.addfile(info, old.extractfile(info) if info.isreg() else None)
    return stream


def _settled_config(
    config: Mapping[str, Any],
    notes: Sequence[str],
    diff_ids: Sequence[str],
    labels: Mapping[str, str],
    created: int,
) -> dict[str, Any]:
    """A configuration without the builder's notes (OCI image spec 1.1, image configuration).

    Its history tells each layer once. What an engine writes for a setting that is not set differs
    with who asks, so it is left out.
    """
    date = datetime.fromtimestamp(created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    kept = {k.lower(): config[k.lower()] for k in _PLATFORM if config.get(k.lower())}
    runs = {k: v for k, v in config["config"].items() if v and k not in _BUILDERS}
    theirs = {k: v for k, v in runs.get("Labels", {}).items() if not _OURS.match(k)}
    runs["Labels"] = theirs | dict(labels)
    rootfs = {"type": "layers", "diff_ids": list(diff_ids)}
    history = [{"created": date, "created_by": _HASH.sub(r"\1", note)} for note in notes]
    return kept | {"created": date, "config": runs, "rootfs": rootfs, "history": history}


def _has_layer(step: Mapping[str, Any]) -> bool:
    return not step.get("empty_layer")


def _common(layers: Sequence[str], base: Sequence[str]) -> int:
    """How many layers at the start are the base's."""
    pairs = zip(layers, base, strict=False)
    return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))


def _open(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    """A file in an archive; a link, which stands for a layer told twice, is followed."""
    stream = archive.extractfile(name)
    if stream is None:
        raise ValueError(f"'{name}' in the image archive is no file")
    return stream


def _add(archive: tarfile.TarFile, name: str, stream: IO[bytes]) -> None:
    info = tarfile.TarInfo(name)
    info.size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    archive.addfile(info, stream)


def _digest(stream: IO[bytes]) -> str:
    stream.seek(0)
    return PREFIX + hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def _file(identity: str, ending: str) -> str:
    return f"{identity.removeprefix(PREFIX)}.{ending}"
