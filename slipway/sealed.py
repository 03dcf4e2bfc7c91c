"""Whether a bundle is the one that was released: its files as they lie there, by digest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from slipway.errors import RuntimeFailure
from slipway.release import Bundle, Release, digest_file, short


def walk(directory: Path) -> Iterator[Path]:
    """Every file and link below a directory, in order."""
    return (p for p in sorted(directory.rglob("*")) if p.is_symlink() or not p.is_dir())


def contents(directory: Path) -> dict[str, str]:
    """Relative path to digest of every file of a bundle, as it lies there now."""
    return {str(p.relative_to(directory)): digest_file(p) for p in walk(directory)}


def digest_of(directory: Path, candidate: str) -> str:
    """The digest of a candidate's bundle, of its files as they lie there now.

    Raises:
        RuntimeFailure: its ``bundle.json`` cannot be read.
    """
    try:
        engine = str(json.loads((directory / "bundle.json").read_text())["engine"])
        return Bundle(candidate, engine, contents(directory), "").digest
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RuntimeFailure(
            f"the bundle cannot be read: {error}",
            where=str(directory),
            do="restore it, or release again",
        ) from error


def require_released(directory: Path, release: Release) -> None:
    """Run no byte that was not released.

    Raises:
        RuntimeFailure: a file of the bundle was changed, added or lost.
    """
    if digest_of(directory, release.candidate) != release.bundle:
        raise RuntimeFailure(
            f"the bundle of {short(release.id)} is not the one that was released",
            where=str(directory),
            do="restore it, or release again; 'slipway verify' tells more",
        )
