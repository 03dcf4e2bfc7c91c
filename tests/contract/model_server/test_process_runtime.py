"""The process runtime keeps the laws with a real bundle, and replaces what died."""

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slipway.conformance.runtime import LAWS, LIMITS, Trial
from slipway.errors import RuntimeFailure
from slipway.release import Release
from slipway.runtimes.process import ProcessRuntime
from slipway.sealed import digest_of
from slipway.testing import release


@pytest.fixture
def broken(bundles: dict[str, Any], tmp_path: Path) -> Path:
    """A bundle whose server ends before it answers, and says why."""
    folder = tmp_path / "broken"
    shutil.copytree(bundles["onnx"].path, folder)
    (folder / "serve.py").write_text("raise SystemExit('the model file is gone')\n")
    return folder


def serves(name: str, bundle: Path) -> Release:
    """A release whose bundle lies there."""
    plain = release(name)
    digest = digest_of(bundle, plain.candidate)
    return replace(plain, bundle=digest, locators={"bundle": str(bundle)})


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_process_runtime_keeps_the_law(
    law: Callable[[Trial], None], bundles: dict[str, Any], broken: Path, tmp_path: Path
) -> None:
    """With real processes of a real bundle, in a folder with a space in its name."""
    place = tmp_path / "run here"
    one, two = (serves(name, bundles["onnx"].path) for name in ("one", "two"))
    law(Trial(lambda: ProcessRuntime(place), one, two, serves("broken", broken)))


def test_a_replica_that_was_killed_is_started_anew(bundles: dict[str, Any], tmp_path: Path) -> None:
    """It is no longer listed, and the next start gives one that answers; the other one stays."""
    runtime, one = ProcessRuntime(tmp_path), serves("one", bundles["onnx"].path)
    try:
        first, second = runtime.start(one, 2, LIMITS)
        killed = runtime._daemon(next(tmp_path.glob("*/")), 0).pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        os.waitpid(killed, 0)
        assert dict(runtime.list()) == {one.id: (second,)}
        anew = runtime.start(one, 2, LIMITS)
        assert anew[1] == second
        assert all(map(runtime.probe, anew))
        assert not runtime.probe(first) or anew[0] == first
    finally:
        runtime.stop(one.id)


def test_a_bundle_that_does_not_start_tells_its_last_lines(broken: Path, tmp_path: Path) -> None:
    """The error carries what the process said, and where its whole log lies."""
    with pytest.raises(RuntimeFailure, match="the model file is gone") as caught:
        ProcessRuntime(tmp_path / "run").start(serves("broken", broken), 1, LIMITS)
    assert Path(caught.value.where).exists()
    assert caught.value.do


def test_a_bundle_that_was_tampered_with_is_not_run(
    bundles: dict[str, Any], tmp_path: Path
) -> None:
    """One more line in its server, and nothing of it is started, nor started again."""
    copy = tmp_path / "bundle"
    shutil.copytree(bundles["onnx"].path, copy)
    runtime, one = ProcessRuntime(tmp_path / "run"), serves("one", copy)
    with (copy / "serve.py").open("a") as script:
        script.write("# harmless, surely\n")
    with pytest.raises(RuntimeFailure, match="is not the one that was released"):
        runtime.start(one, 1, LIMITS)
    assert dict(runtime.list()) == {}
