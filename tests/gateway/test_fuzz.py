"""A hundred thousand broken, odd and smuggling requests: laws that hold for every one of them."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fuzz import CHUNKED, STATUS, mutated, outcome, plain, written

from slipway.serving.connection import Limits
from slipway.serving.http1 import Server, serve
from slipway.serving.process import loop_factory

SEED = int(os.environ.get("SLIPWAY_FUZZ_SEED", "3"))
CASES = int(os.environ.get("SLIPWAY_FUZZ_CASES", "100000"))


@pytest.fixture
def alarm() -> Iterator[None]:
    """A test that hangs is ended, and its stack is shown."""

    def late(number: int, frame: object) -> None:
        raise TimeoutError("the parser hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(240)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def resident() -> int:
    """Bytes of this process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cut(chance: random.Random, data: bytes) -> list[bytes]:
    """Some bytes in pieces: single bytes, or a few cuts anywhere."""
    if chance.random() < 0.1:
        return [data[i : i + 1] for i in range(len(data))]
    at = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 4)))
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True) if a < b]


def check(server: Server, chance: random.Random, case: int) -> bool:
    """Hold one case against every law; whether any request was taken."""
    data = mutated(chance)
    whole = outcome(server, [data])
    pieces = cut(chance, data)
    assert outcome(server, pieces) == whole, (case, data, pieces)
    if case % 8 == 0:
        assert outcome(server, [data], late=True) == whole, (case, data)
    refused = len(whole.statuses) - len(whole.taken)
    assert refused in (0, 1), (case, data)  # the first that is refused is the last
    assert not refused or whole.closed, (case, data)
    if whole.taken and case % 4 == 0:
        taken = chance.choice(whole.taken)
        again = outcome(server, [written(taken)])
        assert [plain(t) for t in again.taken] == [plain(taken)], (case, data)
    return bool(whole.taken)


def test_every_mutant_is_taken_or_refused_by_the_laws(alarm: None) -> None:
    """No crash, hang or leak; never two framings; any cut into pieces gives the same outcome;
    what is taken, written again in the plain way, means the same.
    """

    async def main() -> None:
        server, chance = Server(lambda e: None, None, Limits()), random.Random(SEED)
        server.stop_clock()
        taken = sum(check(server, chance, case) for case in range(CASES // 10))
        before = resident()
        taken += sum(check(server, chance, case) for case in range(CASES // 10, CASES))
        assert resident() - before < 32 << 20
        assert server.connections == set()
        assert 0.2 < taken / CASES < 0.8  # mutants of both kinds, or the laws say little

    asyncio.run(main())


ENDLESS = {
    "a target": (b"GET /", b"a" * 1024),
    "a header's name": (b"GET / HTTP/1.1\r\n", b"a" * 1024),
    "a header's value": (b"GET / HTTP/1.1\r\nX: ", b"a" * 1024),
    "headers": (b"GET / HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n" * 170),
    "chunk extensions": (CHUNKED + b"1;", b"a" * 1024),
    "chunks of a byte": (CHUNKED, b"1;aaaaaaaaaaaa\r\nb\r\n" * 56),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n" * 170),
    "empty lines": (b"", b"\r\n" * 512),
    "body": (CHUNKED, b"400\r\n" + b"b" * 1024 + b"\r\n"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends_is_refused_while_it_is_small(name: str) -> None:
    """An endless request is cut off once its limit is passed, and never held whole."""
    head, more = ENDLESS[name]

    async def main() -> None:
        server = Server(lambda e: None, None, Limits(body=256 * 1024))
        server.stop_clock()
        before = resident()
        found = outcome(server, [head, *[more] * 16_384])
        assert resident() - before < 8 << 20
        if name != "empty lines":  # they are passed over, and hold nothing
            assert found.taken == []
            assert found.statuses[0] in (400, 413, 431)
            assert found.closed

    asyncio.run(main())


def test_a_real_socket_answers_as_the_parser_alone() -> None:
    """A thousand mutants over TCP get the statuses that the parser gives in process."""
    ready, answers = threading.Event(), []

    async def main() -> None:
        stop = asyncio.Event()
        server = await serve(lambda e: e.respond(200, b"ok"), "127.0.0.1", 0)
        answers.extend([server, asyncio.get_running_loop(), stop])
        ready.set()
        await stop.wait()
        assert await server.drain(5.0) == 0

    def run() -> None:
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            runner.run(main())

    async def expected(data: bytes) -> list[int]:
        server = Server(lambda e: None, None, Limits())
        server.stop_clock()
        return outcome(server, [data]).statuses

    thread, chance = threading.Thread(target=run), random.Random(SEED + 1)
    thread.start()
    assert ready.wait(10)
    server, loop, stop = answers
    try:
        for case in range(1000):
            data = mutated(chance)
            assert asked(server.port, data) == asyncio.run(expected(data)), (case, data)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
    assert not thread.is_alive()


def asked(port: int, data: bytes) -> list[int]:
    """The statuses of all that a server answers until it closes."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        while more := client.recv(65536):
            got += more
    return [int(status) for status in STATUS.findall(got)]
