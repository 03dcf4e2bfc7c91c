"""One gateway that many tests share, each with a model of its own; and arms in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from arm import Farm
from rig import Gateway, Place


@pytest.fixture(scope="session")
def farm() -> Iterator[Farm]:
    """Where arms live."""
    farm = Farm()
    yield farm
    farm.close()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of one worker."""
    with Place(tmp_path_factory.mktemp("gateway")).gateway() as gateway:
        yield gateway


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A ledger and a log for a test that ends its gateways itself."""
    return Place(tmp_path)
