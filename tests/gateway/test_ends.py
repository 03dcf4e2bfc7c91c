"""How gateways and disks end: what is lost is told, and no request is among it."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from arm import Farm
from rig import Load, Place, ask, load, until


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ids(running: Load) -> dict[str, float]:
    """Of every answer that a client got: its request's id and when it was there."""
    return {a.headers["x-slipway-request-id"]: a.at for _, a in running.answers}


def test_a_killed_gateway_loses_a_second_of_its_log_at_most(place: Place, farm: Farm) -> None:
    """After kill -9 under load the log holds all but a second, and the next start says so."""
    with place.gateway("first") as first:
        first.serve("m", {"stable": (1.0, [farm.arm().port])})
        with load(first.port, "m") as running:
            running.more(300)
            began = time.time()
            until(lambda: time.time() - began > 1.5 or running.faults, "a second and a half")
            assert running.faults == []
            killed = time.time()
            first.kill()
    answered, logged = ids(running), {row["request_id"] for row in place.rows("m")}
    lost = {i: at for i, at in answered.items() if i not in logged}
    assert len(logged) >= 300
    assert all(at > killed - 1.0 for at in lost.values())
    with place.gateway("second") as second:
        assert "was left by a killed gateway: its last second may be missing" in second.said
        second.await_route("m", 1)
        assert second.predict("m").status == 200
    assert logged < {row["request_id"] for row in place.rows("m")}


def test_a_killed_worker_is_replaced_and_its_log_noted(place: Place, farm: Farm) -> None:
    """A worker's death costs what it held: another takes its place, and the gap is told."""
    with place.gateway(workers=2) as gateway:
        gateway.serve("m", {"stable": (1.0, [farm.arm().port])})
        with load(gateway.port, "m", clients=8) as running:
            running.more()
            victim = children(gateway.process.pid)[0]
            os.kill(victim, signal.SIGKILL)
            until(lambda: len(children(gateway.process.pid)) == 2, "another worker")
            running.more()
        assert len(running.faults) <= 2 * 8  # a client of the dead worker sees its connections end
        assert running.failed == []
        gap = f"(pid {victim}) ended with -9: its last second of the inference log may be missing"
        until(lambda: gap in gateway.said, "the note of a gap in the log")
        assert gateway.metric("slipway_requests_total", model="m") >= len(running.answers) - 1


def test_a_gateway_is_replaced_under_load_without_losing_a_request(
    place: Place, farm: Farm
) -> None:
    """SIGTERM while clients keep their connections: all they asked is answered, by one or other."""
    with place.gateway("first") as first:
        first.serve("m", {"stable": (1.0, [farm.arm().port])})
        with (
            load(first.port, "m", clients=8) as running,
            place.gateway("second", "--share-port", "--port", str(first.port)) as second,
        ):
            second.await_route("m", 1)
            running.more()
            assert first.end() == 0
            running.more()
            running.stop()
    assert running.faults == []
    assert running.failed == []
    assert {row["request_id"] for row in place.rows("m")} >= set(ids(running))


def test_a_drain_answers_what_is_under_way(place: Place, farm: Farm) -> None:
    """A request that an arm takes its time for is still answered after SIGTERM, then all ends."""
    arm = farm.arm()
    with place.gateway() as gateway:
        gateway.serve("words", {"stable": (1.0, [arm.port])}, {"protocol": "http"})
        answers: list[bytes] = []
        connection = gateway.connect()

        def stream() -> None:
            answers.append(ask(connection, "POST", "/words/v1", {"stream": True}).body)

        client = threading.Thread(target=stream)
        client.start()
        until(lambda: arm.asked, "the request at the arm")
        gateway.process.terminate()
        until(lambda: not _listens(gateway.port), "the end of listening")
        farm.let_go(arm)
        client.join(20)
        assert gateway.process.wait(10) == 0
    assert answers[0].endswith(b"data: [DONE]\n\n")


def _listens(port: int) -> bool:
    """Whether anybody listens on a port (the kernel's own table, so as not to connect)."""
    sockets = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any(s.split()[1].endswith(f":{port:04X}") and s.split()[3] == "0A" for s in sockets)


@contextmanager
def mounted(where: Path, *arguments: str) -> Iterator[None]:
    """A file system for the length of a block; skips where this user may not mount."""
    where.mkdir()
    made = subprocess.run(
        ["mount", *arguments, str(where)], check=False, capture_output=True, text=True
    )
    if made.returncode:
        leave_out = pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip
        leave_out(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


def test_a_full_disk_costs_rows_and_no_request(place: Place, farm: Farm) -> None:
    """Without room for the log every request is answered, and the rows lost are counted."""
    with mounted(place.log, "-t", "tmpfs", "-o", "size=64k", "tmpfs"), place.gateway() as gateway:
        gateway.serve("m", {"stable": (1.0, [farm.arm().port])})
        with load(gateway.port, "m") as running:
            running.more(600)
            until(lambda: gateway.metric("slipway_log_rows_dropped_total") > 0, "dropped rows")
            running.more(200)
        assert running.faults == []
        assert running.failed == []
        assert "rows of the inference log are lost: " in gateway.said
        count = len(running.answers)

        def kept() -> set[str]:  # the last rows may still find room
            return {row["request_id"] for row in place.rows("m")}

        def counted() -> bool:
            return gateway.metric("slipway_log_rows_dropped_total") + len(kept()) == count

        until(counted, f"{count} rows kept or counted as dropped")
        assert kept() < set(ids(running))


def test_a_disk_that_hangs_holds_up_no_request(place: Place, farm: Farm, tmp_path: Path) -> None:
    """While the disk takes nothing every request is answered; then no row is missing."""
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    with mounted(place.log, "-o", "loop", str(image)), place.gateway() as gateway:
        gateway.serve("m", {"stable": (1.0, [farm.arm().port])})
        with load(gateway.port, "m") as running:
            running.more(100)
            frozen = ["fsfreeze", "--freeze", str(place.log)]
            subprocess.run(frozen, check=True)
            try:
                running.more(400)
            finally:
                subprocess.run(["fsfreeze", "--unfreeze", str(place.log)], check=True)
        assert running.faults == []
        assert running.failed == []
        assert gateway.end() == 0
        assert {row["request_id"] for row in place.rows("m")} == set(ids(running))
