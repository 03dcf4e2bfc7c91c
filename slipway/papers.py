"""The papers of a release: its manifest, its bill of materials, and a signature over both.

    releases/<id>/manifest.json     the manifest's canonical JSON: its SHA-256 is the release's id
                 /sbom.json         CycloneDX
                 /signature.json    the statement that was signed, by whom, and the signature

The statement names the release's id and the digest of the bill, so neither can be exchanged.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway import signing
from slipway.errors import RuntimeFailure
from slipway.release import Image, Release, canonical, digest_bytes, short
from slipway.sbom import bill
from slipway.sealed import digest_of

MANIFEST, SBOM, SIGNATURE = "manifest.json", "sbom.json", "signature.json"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was verified.

    Args:
        outcome: ``pass``, ``fail``, or ``not_measured`` where it could not be looked at.
    """

    what: str
    outcome: str
    reason: str


def folder_of(releases: Path, release: Release) -> Path:
    """Where a release's papers lie."""
    return releases / short(release.id)


def write(releases: Path, release: Release, environ: Mapping[str, str] = os.environ) -> Path:
    """Write a release's papers, anew where they were changed. Signed where a key is named.

    Raises:
        Refused: the key that is named cannot be used.
        RuntimeFailure: the bundle's requirements cannot be read, or the papers not be written.
    """
    folder = folder_of(releases, release)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        needs = (Path(release.locators["bundle"]) / "requirements.txt").read_text()
        sbom = bill(release, needs)
        _keep(folder / MANIFEST, canonical(release.identity()))
        _keep(folder / SBOM, sbom)
        if key := signing.signing_key(environ):
            statement = {"release": release.id, "sbom": digest_bytes(sbom)}
            signed = {
                "statement": statement,
                "key": signing.fingerprint(key.public_key()),
                "signature": base64.b64encode(key.sign(canonical(statement))).decode(),
            }
            _keep(folder / SIGNATURE, json.dumps(signed, indent=1).encode() + b"\n")
    except OSError as error:
        raise RuntimeFailure(
            f"the papers of {short(release.id)} cannot be written: {error.strerror or error}",
            where=str(error.filename or folder),
            do="make room on the disk, then run the same again",
        ) from error
    return folder


def _keep(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        partial = path.with_suffix(".part")
        partial.write_bytes(content)
        partial.replace(path)


def verify(
    releases: Path, release: Release, environ: Mapping[str, str] = os.environ
) -> list[Check]:
    """Hold a release's papers, bundle and image against its manifest.

    Raises:
        Refused: the key to verify with is named and cannot be used.
    """
    folder = folder_of(releases, release)
    return [
        _manifest(folder, release),
        *_signature(folder, release, environ),
        _bundle(release),
        _image(release),
    ]


def _manifest(folder: Path, release: Release) -> Check:
    path = folder / MANIFEST
    if not path.exists():
        return Check("manifest", "fail", f"{path} is missing")
    same = digest_bytes(path.read_bytes()) == release.id
    told = "its digest is the release's id" if same else f"{path} was changed"
    return Check("manifest", "pass" if same else "fail", told)


def _signature(folder: Path, release: Release, environ: Mapping[str, str]) -> list[Check]:
    path, sbom = folder / SIGNATURE, folder / SBOM
    key = signing.verify_key(environ)
    if not path.exists():
        return [Check("signature", "not_measured", "the release is unsigned")]
    if key is None:
        reason = f"no key to believe: name one in {signing.VERIFY_KEY}"
        return [Check("signature", "not_measured", reason)]
    try:
        signed: Any = json.loads(path.read_bytes())
        statement, signature = signed["statement"], base64.b64decode(signed["signature"])
        good = signing.holds(key, canonical(statement), signature)
        names = statement["release"] == release.id
    except (ValueError, KeyError, TypeError):
        return [Check("signature", "fail", f"{path} is no signature")]
    mine = signing.fingerprint(key)
    if not good:
        by = f"it was made by key {signed.get('key')}, or the statement was changed"
        return [Check("signature", "fail", f"it is not that of key {mine}: {by}")]
    if not names:
        return [Check("signature", "fail", "it is of another release")]
    whole = sbom.exists() and digest_bytes(sbom.read_bytes()) == statement["sbom"]
    return [
        Check("signature", "pass", f"by key {mine}"),
        Check("sbom", "pass" if whole else "fail", "as signed" if whole else f"{sbom} was changed"),
    ]


def _bundle(release: Release) -> Check:
    place = Path(release.locators["bundle"])
    if not place.is_dir():
        return Check("bundle", "not_measured", f"{place} is not on this machine")
    try:
        same = digest_of(place, release.candidate) == release.bundle
    except RuntimeFailure as error:
        return Check("bundle", "fail", error.what)
    told = "every file is as released" if same else f"files in {place} were changed, added or lost"
    return Check("bundle", "pass" if same else "fail", told)


def _image(release: Release) -> Check:
    """Whether the engine has the very image that the manifest names."""
    from docker.errors import ImageNotFound

    from slipway.engine import connected

    if not release.image:
        return Check("image", "pass", "the release has none")
    reference = release.locators["image"]
    try:
        with connected() as engine:
            try:
                found = engine.images.get(reference)
            except ImageNotFound:
                return Check("image", "not_measured", f"the engine does not have {reference}")
    except RuntimeFailure as error:
        return Check("image", "not_measured", error.what)
    same = Image(release.bundle, str(found.id)).digest == release.image
    told = f"{reference} is the one released" if same else f"{reference} is another image"
    return Check("image", "pass" if same else "fail", told)
