"""Releases whose images a real engine has: two that serve and one that ends at once."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from small_bundle import Small, make

from slipway.engine import connected
from slipway.release import Image, Release
from slipway.testing import release
from tasks.image import build, unavailable

BASE = os.environ.get("SLIPWAY_BASE", "slipway-base:bookworm")
REAL = bool(os.environ.get("SLIPWAY_REAL"))


@dataclass(frozen=True)
class Cargo:
    """What the container tier launches.

    Args:
        small: the bundle that serves, with rows to ask.
        image: its image.
        one, two, broken: releases; the third's container ends as it starts.
    """

    small: Small
    image: Image
    one: Release
    two: Release
    broken: Release


def require_engine() -> None:
    """Skip where no engine can be used, with the reason; fail where SLIPWAY_REAL asks for one."""
    if reason := unavailable(BASE):
        (pytest.fail if REAL else pytest.skip)(reason)


def load_cargo(folder: Path) -> Cargo:
    """Build what is to be launched."""
    small = make(folder)
    image = build("flights", small.bundle, BASE, commit="c0ffee")
    one, two = (sealed(name, small.bundle.digest, image) for name in ("one", "two"))
    return Cargo(small, image, one, two, sealed("broken", "sha256:0", _broken(image)))


def sealed(name: str, bundle: str, image: Image) -> Release:
    """A release that such an image belongs to."""
    image = replace(image, bundle=bundle)
    locators = {"image": image.reference, "bundle": "/nowhere"}
    return replace(release(name), bundle=bundle, image=image.digest, locators=locators)


def _broken(image: Image) -> Image:
    """The same image, told to serve a folder that is not there."""
    with connected() as engine:
        made = engine.containers.create(image.content)
        change = 'ENTRYPOINT ["python3", "/gone/serve.py"]'
        made.commit("slipway/broken", "1", changes=change)
        made.remove()
        found: Any = engine.images.get("slipway/broken:1")
        return replace(image, content=str(found.id), reference="slipway/broken:1")
