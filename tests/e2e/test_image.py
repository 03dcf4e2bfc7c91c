"""The image of a real bundle, built and run by a real engine."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from real_prefect import until
from small_bundle import Small, make

from slipway import papers, signing
from slipway.container import sealed_image
from slipway.engine import connected
from slipway.errors import RuntimeFailure
from slipway.image.recipe import LABEL
from slipway.release import Image
from slipway.testing import release
from tasks.image import build, unavailable

pytestmark = pytest.mark.real
BASE = os.environ.get("SLIPWAY_BASE", "slipway-base:bookworm")
SECOND = 1_000_000_000  # in the engine's unit


@pytest.fixture(scope="module")
def engine() -> Iterator[Any]:
    """The engine; without one the tests are skipped, or fail where SLIPWAY_REAL asks for them."""
    if reason := unavailable(BASE):
        (pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip)(reason)
    with connected() as engine:
        yield engine


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """The bundle that most tests use."""
    return make(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def image(engine: Any, small: Small) -> Image:
    """Its image."""
    return build("flights", small.bundle, BASE, commit="c0ffee")


@pytest.fixture(scope="module")
def container(engine: Any, image: Image) -> Iterator[Any]:
    """A container of it that may write nowhere and gain nothing, once its health check passes."""
    running = engine.containers.run(
        image.content,
        detach=True,
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        ports={"8080/tcp": ("127.0.0.1", None)},
        healthcheck={"interval": SECOND},
    )
    try:
        until(lambda: _health(running) == "healthy" or _ended(running), 60, "its health")
        assert running.status == "running", running.logs().decode()
        yield running
    finally:
        running.remove(force=True)


def test_it_answers_as_the_bundle_in_a_process(
    container: Any, small: Small, tmp_path: Path
) -> None:
    """The container's answer is the process's, to the last digit, and the pipeline's."""
    port = container.ports["8080/tcp"][0]["HostPort"]
    answer = _invoke(int(port), small.body)
    assert answer == _by_process(small, tmp_path)
    assert answer["predictions"] == pytest.approx(small.answers, abs=1e-5)


def test_it_is_nobody_and_writes_nowhere(container: Any) -> None:
    """The server runs as the user 65532, and even its own folder refuses a file."""
    assert container.attrs["Config"]["User"] == "65532:65532"
    owner = "import os; print(os.stat('/proc/1').st_uid)"
    assert container.exec_run(["python3", "-c", owner]).output.strip() == b"65532"
    write = container.exec_run(["python3", "-c", "open('/bundle/new', 'w')"], user="0")
    assert write.exit_code != 0
    assert b"Read-only file system" in write.output


def test_it_names_its_chain(engine: Any, image: Image, small: Small) -> None:
    """Its labels lead to the bundle, the candidate, the commit and the base."""
    labels = engine.images.get(image.content).labels
    assert labels["slipway.bundle"] == small.bundle.digest == image.bundle
    assert labels["slipway.candidate"] == small.bundle.candidate
    assert labels["slipway.base"] == engine.images.get(BASE).id
    assert labels["org.opencontainers.image.revision"] == "c0ffee"


def test_what_serving_adds_is_small(engine: Any, image: Image) -> None:
    """The packages and the bundle add less than 150 MB to the base."""
    size = {name: engine.images.get(name).attrs["Size"] for name in (BASE, image.content)}
    assert size[image.content] - size[BASE] < 150e6


def test_an_unchanged_bundle_is_not_built_again(image: Image, small: Small) -> None:
    """The engine is asked for the recipe's image, and has it: no step is run."""
    steps: list[str] = []
    assert build("flights", small.bundle, BASE, commit="c0ffee", say=steps.append) == image
    assert steps == []


def test_another_model_changes_one_layer(engine: Any, tmp_path: Path) -> None:
    """No step is run for it, and yet it is the image that building from nothing gives."""
    small, environ = make(tmp_path, seed=1), {**os.environ, "SOURCE_DATE_EPOCH": "981173106"}
    told: list[str] = []
    first, other = (
        build("flights", each.bundle, BASE, say=told.append, environ=environ)
        for each in (make(tmp_path / "0"), small)
    )
    assert sum("COPY bundle/" in line for line in told) == 1  # for the first
    assert re.fullmatch(r"\d+ MB, of which \d+\.\d MB are added to the base, in .* s", told[-1])
    layers = [engine.images.get(i.content).attrs["RootFS"]["Layers"] for i in (first, other)]
    assert layers[0][:-1] == layers[1][:-1]
    assert layers[0][-1] != layers[1][-1]
    # Now without the first to stand on, and by another way to the index: pip runs anew.
    engine.images.remove(first.reference)
    engine.images.remove(other.reference)
    environ["PIP_DEFAULT_TIMEOUT"], told[:] = "123", []
    again = build("flights", small.bundle, BASE, say=told.append, environ=environ)
    assert any("pip install" in step for step in told)
    assert again == other
    engine.images.remove(again.reference)


def test_a_failing_step_tells_its_last_lines_and_leaves_no_image(
    engine: Any, small: Small, tmp_path: Path
) -> None:
    """The reason is in the error, and the engine has no image of that recipe."""
    (tmp_path / "Dockerfile").write_text("FROM @{base}\nRUN echo No matching thing; exit 3\n")
    before = _left(engine)
    with pytest.raises(RuntimeFailure, match="No matching thing") as told:
        build("flights", small.bundle, BASE, tmp_path / "Dockerfile")
    assert "returned a non-zero code: 3" in told.value.what
    assert _left(engine) == before


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 10 MB."""
    if os.geteuid() != 0:
        (pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip)("only root can mount")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=10m", "none", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_a_full_disk_is_told_with_its_place(
    engine: Any, image: Image, small: Small, tiny: Path
) -> None:
    """Where the archive does not fit, the error says where to make room; nothing is left there."""
    before = _left(engine)
    source = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from slipway.release import Bundle; from tasks.image import build\n"
        "build('flights', Bundle(**json.loads(sys.argv[2])), sys.argv[3])"
    )
    arguments = [str(Path(__file__).parents[2]), json.dumps(small.bundle.record()), BASE]
    # A date of its own: no image that it could stand on.
    environ = {**os.environ, "TMPDIR": str(tiny), "SOURCE_DATE_EPOCH": "1"}
    command = [sys.executable, "-c", source, *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert "the image's files cannot be written: No space left on device" in done.stderr
    assert str(tiny) in done.stderr
    assert "TMPDIR" in done.stderr
    assert list(tiny.iterdir()) == []
    assert _left(engine) == before


def test_a_missing_base_is_named(engine: Any, small: Small) -> None:
    """A base that the engine does not have is an error that says how to get it."""
    with pytest.raises(RuntimeFailure, match="does not have the base image 'no/such:base'") as told:
        build("flights", small.bundle, "no/such:base")
    assert "docker pull no/such:base" in told.value.do


def test_a_name_with_capitals_is_refused(engine: Any, small: Small) -> None:
    """A name that no image can have is an error before anything is built."""
    with pytest.raises(RuntimeFailure, match="'Flights' cannot name an image"):
        build("Flights", small.bundle, BASE)


def test_a_changed_bundle_is_refused(engine: Any, small: Small) -> None:
    """A file that is not what the bundle's digests say is named, and nothing is built."""
    files = {**small.bundle.files, "model.onnx": "sha256:" + "0" * 64}
    with pytest.raises(RuntimeFailure, match=r"model\.onnx is changed"):
        build("flights", replace(small.bundle, files=files), BASE)


def test_the_recipe_is_on_the_label(engine: Any, image: Image) -> None:
    """The tag ends in the first digits of the recipe that the label tells whole."""
    recipe = engine.images.get(image.reference).labels[LABEL]
    assert recipe.removeprefix("sha256:").startswith(image.reference.rpartition("-")[2])


def test_an_image_exchanged_after_signing_is_found(
    engine: Any, image: Image, small: Small, tmp_path: Path
) -> None:
    """The tag was moved to another image: ``verify`` and every runtime say so; then moved back."""
    signing.new_key(tmp_path / "key")
    keys = {signing.SIGNING_KEY: str(tmp_path / "key")}
    bundle, locators = small.bundle, {"bundle": small.bundle.path, "image": image.reference}
    made = replace(release(), bundle=bundle.digest, candidate=bundle.candidate, image=image.digest)
    made = replace(made, locators=locators)
    papers.write(tmp_path / "papers", made, keys)
    assert {c.outcome for c in papers.verify(tmp_path / "papers", made, keys)} == {"pass"}
    engine.images.get(BASE).tag(image.reference)
    try:
        told = {c.what: c for c in papers.verify(tmp_path / "papers", made, keys)}
        with pytest.raises(RuntimeFailure, match="is not the one that was released"):
            sealed_image(engine, made)
    finally:
        engine.images.get(image.content).tag(image.reference)
    assert [name for name, check in told.items() if check.outcome != "pass"] == ["image"]
    assert told["image"].outcome == "fail"
    assert "is another image" in told["image"].reason


def test_what_was_built_from_an_image_is_not_taken_for_it(
    engine: Any, image: Image, small: Small
) -> None:
    """It has the labels, and may have the name: the next build makes the image again."""
    text = f"FROM {image.reference}\nENV CHANGED=1\n".encode()
    other, _ = engine.images.build(fileobj=io.BytesIO(text), rm=True)
    other.tag(image.reference)
    try:
        assert build("flights", small.bundle, BASE, commit="c0ffee") == image
        assert engine.images.get(image.reference).id == image.content
    finally:
        engine.images.get(image.content).tag(image.reference)
        engine.images.remove(other.id)


def _left(engine: Any) -> tuple[set[str], set[str]]:
    """What a build could leave: names of images, and containers."""
    tags = {tag for one in engine.images.list("slipway/flights") for tag in one.tags}
    return tags, {one.id for one in engine.containers.list(all=True)}


def _health(container: Any) -> str:
    container.reload()
    return str(container.attrs["State"]["Health"]["Status"])


def _ended(container: Any) -> bool:
    return bool(container.status == "exited")


def _invoke(port: int, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as answer:
        return json.load(answer)


def _by_process(small: Small, folder: Path) -> Any:
    """The answer of the same bundle, served by a process of this machine."""
    announce = folder / "here.json"
    serve = Path(small.bundle.path) / "serve.py"
    process = subprocess.Popen([sys.executable, serve, "--port", "0", "--announce", announce])
    try:
        until(lambda: announce.exists() or process.poll() is not None, 60, "the bundle's process")
        return _invoke(json.loads(announce.read_text())["port"], small.body)
    finally:
        process.terminate()
        process.wait(30)
