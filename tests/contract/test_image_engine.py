"""An engine that cannot be used: one clear error each, against real sockets."""

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.engine import connected
from slipway.errors import RuntimeFailure


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket that DOCKER_HOST names."""
    with socket.socket(socket.AF_UNIX) as server:
        path = tmp_path / "docker.sock"
        server.bind(str(path))
        server.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
        yield server


def test_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where nothing listens, the error names the address and what to do."""
    address = f"unix://{tmp_path}/none.sock"
    monkeypatch.setenv("DOCKER_HOST", address)
    with (
        pytest.raises(RuntimeFailure, match="no Docker engine answers: No such file") as told,
        connected(),
    ):
        pass
    assert told.value.where == address
    assert "DOCKER_HOST" in told.value.do


def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A DOCKER_HOST that cannot be read is told as such."""
    monkeypatch.setenv("DOCKER_HOST", "nonsense://here")
    with pytest.raises(RuntimeFailure, match="no Docker engine answers"), connected():
        pass


def test_an_engine_that_hangs_up(listening: socket.socket) -> None:
    """Something that listens and closes is no engine."""

    def hang_up() -> None:
        while True:
            try:
                listening.accept()[0].close()
            except OSError:
                return

    thread = threading.Thread(target=hang_up)
    thread.start()
    try:
        with pytest.raises(RuntimeFailure, match="no Docker engine answers"), connected():
            pass
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def test_a_socket_without_permission(listening: socket.socket, tmp_path: Path) -> None:
    """A user who may not open the socket is told so, and of the group that helps."""
    import docker

    docker.from_env  # noqa: B018 - loaded here: the user below may not read the packages
    (tmp_path / "docker.sock").chmod(0)
    told = _as_nobody(lambda: connected().__enter__())
    assert told.startswith("this user may not use the Docker engine")
    assert "group ('docker')" in told


def _as_nobody(act) -> str:
    """The error of an act in a child process that is not root."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            act()
        except BaseException as error:
            os.write(writing, str(error).encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as stream:
        return stream.read()
