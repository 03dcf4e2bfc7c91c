"""An engine whose disk is full while an image is made: one clear error, nothing half-tagged."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Cargo, load_cargo, require_engine
from engines import Node, nodes

from slipway.engine import connected
from slipway.errors import RuntimeFailure
from tasks.image import build

pytestmark = pytest.mark.real
MEGABYTES = 600
# The packages are in the base already: this engine has no way out.
DOCKERFILE = "FROM @{base}\nCOPY bundle/ /bundle/\n"
WRITER = "USER 0\nRUN python3 -c \"open('/big', 'wb').write(bytes(500 << 20))\"\n"


@pytest.fixture(scope="module")
def cargo(tmp_path_factory: pytest.TempPathFactory) -> Cargo:
    """A bundle, and an image that has its packages."""
    require_engine()
    if os.geteuid() != 0:
        reason = "only root can make network namespaces and mount"
        (pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip)(reason)
    return load_cargo(tmp_path_factory.mktemp("cargo"))


@pytest.fixture
def small_engine(cargo: Cargo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """An engine with little room, and the image in it."""
    archive = tmp_path / "image.tar"
    with connected() as engine, archive.open("wb") as file:
        file.writelines(engine.images.get(cargo.image.reference).save(named=True))
    with nodes(1) as (node,):
        node.end(kill=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "none"]
        subprocess.run([*mount, node.folder / "data"], check=True)
        node.start()
        node.load(archive)
        monkeypatch.setenv("DOCKER_HOST", node.address)
        yield node


def test_a_full_engine_is_told_and_leaves_no_image(
    small_engine: Node, cargo: Cargo, tmp_path: Path
) -> None:
    """In a step, while the image is handed out, and on the layers it has; with room it builds."""
    bundle, base = cargo.small.bundle, cargo.image.reference
    steps, plain = tmp_path / "steps", tmp_path / "plain"
    steps.write_text(f"FROM @{{base}}\n{WRITER}")
    plain.write_text(DOCKERFILE)
    with pytest.raises(RuntimeFailure, match="No space left on device"):
        build("full", bundle, base, steps)
    _require_untouched(cargo)
    filler = small_engine.folder / "data" / "filler"
    _fill(filler, leave=100)
    with pytest.raises(RuntimeFailure, match="no space left on device") as told:
        build("full", bundle, base, plain)
    assert told.value.where == small_engine.address
    assert told.value.do
    _require_untouched(cargo)
    filler.unlink()
    assert build("full", bundle, base, plain).content
    # Now there is one to stand on; for its copy there is no room.
    _fill(filler, leave=0)
    with pytest.raises(RuntimeFailure, match="no space left on device"):
        build("other", bundle, base, plain)
    with connected() as engine:
        assert engine.images.list("slipway/other") == []


def _fill(file: Path, leave: int) -> None:
    """Take up all room of a file system but for so many megabytes."""
    room = os.statvfs(file.parent)
    with file.open("wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, room.f_bavail * room.f_frsize - (leave << 20))


def _require_untouched(cargo: Cargo) -> None:
    with connected() as engine:
        assert {t for i in engine.images.list() for t in i.tags} == {cargo.image.reference}
        assert engine.containers.list(all=True) == []
