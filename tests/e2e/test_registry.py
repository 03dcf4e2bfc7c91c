"""Pushing to a real registry: with credentials, without, and where it dies meanwhile."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from real_prefect import until
from small_bundle import make

from slipway.container import sealed_image
from slipway.engine import connected
from slipway.errors import RuntimeFailure
from slipway.release import Image
from slipway.testing import release
from tasks.image import build, unavailable
from tasks.push import push

pytestmark = pytest.mark.real
BASE = os.environ.get("SLIPWAY_BASE", "slipway-base:bookworm")
USER, PASSWORD = "ada", "a long word"


@dataclass
class Registry:
    """A registry's process and where it answers."""

    host: str
    process: subprocess.Popen[bytes]

    def tags(self, repository: str) -> list[str]:
        """The tags that it lists; none of a repository that it does not know."""
        request = urllib.request.Request(f"http://{self.host}/v2/{repository}/tags/list")
        mine = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        request.add_header("authorization", f"Basic {mine}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return list(json.load(answer)["tags"] or [])
        except urllib.error.HTTPError as error:
            assert error.code == 404
            return []


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """One that asks for a password."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        host = f"127.0.0.1:{free.getsockname()[1]}"
    hashed = subprocess.run(
        ["htpasswd", "-nbB", USER, PASSWORD], capture_output=True, text=True, check=True
    ).stdout.strip()
    (tmp_path / "users").write_text(hashed + "\n")
    auth = {"htpasswd": {"realm": "here", "path": str(tmp_path / "users")}}
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "blobs")}}
    told = {"version": 0.1, "http": {"addr": host}, "storage": storage, "auth": auth}
    (tmp_path / "registry.yml").write_text(json.dumps(told))
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(tmp_path / "registry.yml")], stdout=log, stderr=log
        )
    try:
        until(lambda: _listens(host), 20, "the registry")
        yield Registry(host, process)
    finally:
        process.kill()
        process.wait()


def _listens(host: str) -> bool:
    name, _, port = host.partition(":")
    try:
        socket.create_connection((name, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """An image of a real bundle."""
    if reason := unavailable(BASE):
        (pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip)(reason)
    return build("flights", make(tmp_path_factory.mktemp("small")).bundle, BASE)


def _log_in(folder: Path, host: str, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``docker login`` leaves behind."""
    secret = base64.b64encode(f"{USER}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": secret}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))


def test_an_image_is_deployed_by_the_registry_s_digest(
    registry: Registry, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes back by digest as the very image that was released, whoever moves the tag."""
    _log_in(tmp_path, registry.host, PASSWORD, monkeypatch)
    pushed = push(image, f"{registry.host}/team/flights")
    assert pushed.reference.startswith(f"{registry.host}/team/flights@sha256:")
    assert pushed.digest == image.digest  # where it is found is no part of what it is
    assert len(registry.tags("team/flights")) == 1
    assert push(image, f"{registry.host}/team/flights").reference == pushed.reference
    made = _release(pushed)
    with connected() as engine:
        assert sealed_image(engine, made) == (pushed.reference, image.content)
        engine.images.remove(pushed.reference, noprune=True)


def test_a_name_that_was_there_before_is_given_back(
    registry: Registry, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's own image under the name that a push needs for a moment has it afterwards."""
    _log_in(tmp_path, registry.host, PASSWORD, monkeypatch)
    name = f"{registry.host}/team/flights:{image.reference.rpartition(':')[2]}"
    with connected() as engine:
        theirs = engine.images.get(BASE)
        theirs.tag(name)
        pushed = push(image, f"{registry.host}/team/flights")
        assert engine.images.get(name).id == theirs.id
        for each in (name, pushed.reference):
            engine.images.remove(each, noprune=True)


def _release(image: Image) -> Any:
    from dataclasses import replace

    plain = release()
    locators = {**plain.locators, "image": image.reference}
    return replace(plain, bundle=image.bundle, image=image.digest, locators=locators)


def test_a_wrong_password_is_told_and_nothing_is_pushed(
    registry: Registry, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry's refusal, the key of the spec, and what to do; no tag is left here or there."""
    _log_in(tmp_path, registry.host, "a wrong word", monkeypatch)
    with pytest.raises(RuntimeFailure, match="cannot be pushed") as refused:
        push(image, f"{registry.host}/team/flights")
    assert "docker login" in refused.value.do
    _nothing_left(registry)


def test_a_registry_that_dies_in_mid_push_leaves_nothing_half_made(
    registry: Registry, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while layers are on their way: one clear error, and no name for what is not whole."""
    _log_in(tmp_path, registry.host, PASSWORD, monkeypatch)
    uploads = tmp_path / "blobs" / "docker" / "registry" / "v2" / "repositories"

    def strike() -> None:
        until(lambda: any(uploads.rglob("_uploads/*/data")), 60, "an upload under way")
        os.kill(registry.process.pid, signal.SIGKILL)

    striking = threading.Thread(target=strike)
    striking.start()
    try:
        with pytest.raises(RuntimeFailure, match="cannot be pushed"):
            push(image, f"{registry.host}/team/flights")
    finally:
        striking.join()
    assert not list(uploads.rglob("_manifests/tags/*"))
    with connected() as engine:
        assert not [t for i in engine.images.list() for t in i.tags if registry.host in t]


def _nothing_left(registry: Registry) -> None:
    assert registry.tags("team/flights") == []
    with connected() as engine:
        assert not [t for i in engine.images.list() for t in i.tags if registry.host in t]
