"""A real gateway as a process, its own ledger and log, and clients that load it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from slipway.ledger import head
from slipway.lifecycle import Event
from slipway.routing import FALLBACK, SHADOW, STABLE, Arm, RouteTable
from slipway.stores.inference_log import open_log
from slipway.stores.sql_ledger import open_ledger
from slipway.testing import draft

BODY = {"dataframe_records": [{"distance": 100.0, "carrier": "UA"}]}
JSON = {"content-type": "application/json"}


def until(told: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The first true answer; fails with what was awaited and the last answer."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not (answer := told()):
        assert time.monotonic() < deadline, f"{what} not seen within {seconds} s: {answer!r}"
        pause.wait(0.02)
    return answer


class Answer(NamedTuple):
    """An HTTP answer, and when it was there (seconds since 1970 UTC)."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> Any:
        """Its body, read."""
        return json.loads(self.body)

    @property
    def prediction(self) -> Any:
        """The one prediction of a scoring answer."""
        (found,) = self.json["predictions"]
        return found

    @property
    def served_by(self) -> str:
        """The release that answered, or ``rule``, ``cache``, ``gateway``."""
        return self.headers["x-slipway-served-by"]

    @property
    def fallback(self) -> str:
        """Why another than the assigned arm answered, or empty."""
        return self.headers.get("x-slipway-fallback", "")


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection, which is made again where the last answer closed it."""
    raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    kind = JSON if raw is not None else {}
    connection.request(method, path, raw, {**kind, **(headers or {})})
    got = connection.getresponse()
    answer = got.read()
    return Answer(got.status, {k.lower(): v for k, v in got.getheaders()}, answer, time.time())


def release(model: str, arm: str) -> str:
    """The id of what serves an arm."""
    return f"sha256:{model}-{arm}"


@dataclass(frozen=True)
class Place:
    """A ledger and a log of their own, where gateways may be started."""

    folder: Path

    @property
    def url(self) -> str:
        """The ledger's."""
        return f"sqlite:///{self.folder / 'ledger.db'}"

    @property
    def log(self) -> Path:
        """The inference log's folder."""
        return self.folder / "log"

    def route(
        self,
        model: str,
        arms: Mapping[str, tuple[float, Sequence[int]]],
        policy: Mapping[str, Any] | None = None,
        seconds: float = 600.0,
    ) -> int:
        """Append a route: arm to its share and the ports of its replicas. Its number."""
        ledger = open_ledger(self.url)
        chain = ledger.entries(model)
        number = len(chain) + 1
        table = RouteTable(
            model,
            number,
            f"salt of {model}",
            tuple(
                Arm(n, release(model, n), share, leased=n not in (STABLE, FALLBACK))
                for n, (share, _) in arms.items()
            ),
            seconds,
            dict(policy or {}),
        )
        for arm, (_, ports) in arms.items():
            ledger.place(release(model, arm), [f"127.0.0.1:{port}" for port in ports])
        if SHADOW in arms or any(arm.leased for arm in table.arms):
            ledger.renew(model, number, seconds, time.time())
        opened = draft(model, Event.OPENED, body={"route": table.record()})
        ledger.append(opened, expect=head(chain))
        return number

    def rows(self, model: str) -> list[dict[str, Any]]:
        """What the log holds of a model, oldest first."""
        with open_log(self.log) as db:
            found = db.execute('SELECT * FROM requests WHERE model = ? ORDER BY "at"', [model])
            names = [column[0] for column in found.description]
            return [dict(zip(names, row, strict=True)) for row in found.fetchall()]

    @contextmanager
    def gateway(self, name: str = "gateway", *more: str, workers: int = 1) -> Iterator[Gateway]:
        """A gateway's process, from when it has announced itself until it has ended."""
        told = self.folder / f"{name}.json"
        told.unlink(missing_ok=True)
        command = [sys.executable, "-m", "slipway.serving.gateway", "--ledger", self.url]
        command += ["--log", str(self.log), "--announce", str(told), "--name", name]
        command += ["--workers", str(workers), "--compact-seconds", "0"]
        if "--port" not in more:
            command += ["--port", "0"]
        with (self.folder / f"{name}.err").open("wb") as err:
            process = subprocess.Popen([*command, *more], stderr=err, start_new_session=True)
        gateway = Gateway(self, name, process)
        try:
            until(lambda: told.exists() or process.poll() is not None, f"{name}'s announcement")
            assert process.poll() is None, gateway.said
            object.__setattr__(gateway, "port", json.loads(told.read_text())["port"])
            yield gateway
        finally:
            gateway.end()


@dataclass(frozen=True)
class Gateway:
    """A gateway's process."""

    place: Place
    name: str
    process: subprocess.Popen[bytes]
    port: int = 0

    @property
    def said(self) -> str:
        """What it has written to stderr."""
        return (self.place.folder / f"{self.name}.err").read_text()

    def serve(self, model: str, *arguments: Any, **more: Any) -> int:
        """Append a route (see `Place.route`) and wait until this gateway serves it."""
        number = self.place.route(model, *arguments, **more)
        self.await_route(model, number)
        return number

    def await_route(self, model: str, number: int) -> None:
        """Wait until this gateway has acknowledged a route."""
        ledger = open_ledger(self.place.url)
        what = f"route {number} of {model}"
        until(lambda: ledger.acknowledged(model).get(self.name, (0, 0))[0] == number, what)

    def connect(self) -> http.client.HTTPConnection:
        """A connection of a client who is not patient for ever."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def get(self, path: str, **headers: str) -> Answer:
        """One GET on its own connection."""
        return self.request("GET", path, None, headers)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """One POST on its own connection."""
        return self.request("POST", path, body, headers)

    def request(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None
    ) -> Answer:
        """One request on its own connection."""
        connection = self.connect()
        try:
            return ask(connection, method, path, body, headers)
        finally:
            connection.close()

    def predict(self, model: str, unit: str = "u", body: Any = BODY, **headers: str) -> Answer:
        """One scoring request of a unit."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.post(f"/{model}/invocations", body, {"x-slipway-unit": unit, **named})

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that carry these labels."""
        total = 0.0
        for line in self.get("/metrics").body.decode().splitlines():
            found = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if found and found[1] == name:
                told = dict(re.findall(r'(\w+)="([^"]*)"', found[2] or ""))
                total += float(found[3]) if labels.items() <= told.items() else 0.0
        return total

    def kill(self) -> None:
        """Kill the whole gateway, as a machine's end would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)

    def end(self) -> int:
        """Have it drain and end, by force where it does not. Its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Load:
    """Clients that ask without end, each on a connection that is kept alive.

    Attributes:
        answers: (unit, answer), in the order they came.
        faults: what any client could not get an answer for.
    """

    def __init__(self, port: int, model: str, units: Sequence[str], clients: int) -> None:
        self.answers: list[tuple[str, Answer]] = []
        self.faults: list[str] = []
        self._port, self._path, self._units = port, f"/{model}/invocations", units
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(at, clients)) for at in range(clients)
        ]

    def _run(self, at: int, clients: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        own = self._units[at::clients]
        while not self._stop.is_set():
            for unit in own:
                if self._stop.is_set():
                    break
                try:
                    found = ask(connection, "POST", self._path, BODY, {"x-slipway-unit": unit})
                    self.answers.append((unit, found))
                except (OSError, http.client.HTTPException) as error:
                    self.faults.append(f"{unit}: {error!r}")
                    connection.close()
                    if len(self.faults) > 100:
                        return
        connection.close()

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once every client has its last answer."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def more(self, count: int = 200) -> None:
        """Wait for so many further answers."""
        wanted = len(self.answers) + count
        until(lambda: len(self.answers) >= wanted, f"{count} further answers", 30)

    @property
    def failed(self) -> list[tuple[str, int, bytes]]:
        """The answers that are no predictions."""
        return [(u, a.status, a.body) for u, a in self.answers if a.status != 200]


@contextmanager
def load(port: int, model: str, units: int = 400, clients: int = 4) -> Iterator[Load]:
    """Clients of a model for the length of a block, of units u0, u1, ..."""
    running = Load(port, model, [f"u{n}" for n in range(units)], clients)
    running.start()
    try:
        yield running
    finally:
        running.stop()


def unit_of(model: str, arm: int, shares: Sequence[float]) -> str:
    """A unit that is assigned the arm at a position."""
    from slipway.routing import assign

    units = (f"u{n}" for n in range(10_000))
    return next(u for u in units if assign(u, f"salt of {model}", shares) == arm)
