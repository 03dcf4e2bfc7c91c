"""The probe on real containers: a replica that will not do is refused, and nothing of it stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from containers import Cargo, load_cargo, require_engine
from small_project import MODEL
from workplace import Done, Workplace

from slipway.container import MODEL as OF_MODEL
from slipway.engine import connected

pytestmark = pytest.mark.real
# The packages are in the base already.
DOCKERFILE = "FROM @{base}\nCOPY bundle/ /bundle/\n"


@pytest.fixture(scope="module")
def cargo(tmp_path_factory: pytest.TempPathFactory) -> Cargo:
    """An image with the packages that a bundle needs."""
    require_engine()
    return load_cargo(tmp_path_factory.mktemp("cargo"))


@pytest.fixture
def asked(bench: Workplace, cargo: Cargo, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What runs a release in a container of the shared engine."""
    (bench.project / "Dockerfile").write_text(DOCKERFILE)
    image = {"build": "always", "base": cargo.image.reference, "dockerfile": "Dockerfile"}
    return {"image": image, "runtime": {"kind": "docker"}}


def test_other_answers_than_the_trained_models_are_refused(
    bench: Workplace, asked: dict[str, Any]
) -> None:
    """The container answers, and not what was validated: told once, and the container is gone."""
    told = bench.asked(trainer__params={"c": 0.7}, **asked)
    done = bench.strike("doubt", "before:flows.release.open_for", "release", **told)
    _refused(bench, done, "a replica failed its probe", "differ from the trained model's")


def test_a_model_that_is_larger_than_its_limit_is_refused(
    bench: Workplace, asked: dict[str, Any]
) -> None:
    """The kernel ends what needs more memory than it may have: told with the limit."""
    asked["runtime"]["limits"] = {"memory_mb": 32}
    done = bench.release(**asked)
    _refused(bench, done, "killed, as for lack of memory (it has 32 MB)")


def _refused(place: Workplace, done: Done, *said: str) -> None:
    assert done.code == 1
    for words in said:
        assert words in done.err
    assert place.events(MODEL) == []
    with connected() as engine:
        mine = {"label": f"{OF_MODEL}={MODEL}"}
        assert engine.containers.list(all=True, filters=mine) == []
    folder = Path(os.environ["SLIPWAY_HOME"]) / "run"
    assert not list(folder.rglob("*.part"))
