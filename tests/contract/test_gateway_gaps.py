"""Replicas that are away for a moment, or go while asked: the gateway's users see no error."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from slipway.daemon import Daemon
from slipway.drafts import open_rollout, take
from slipway.ledger import head
from slipway.lifecycle import Event
from slipway.rollout import Step, fold
from slipway.stores.sql_ledger import open_ledger
from slipway.testing import plan, release

MODEL = release().model
TOLD: dict[str, Any] = {"now": 1_800_000_000.0, "actor": "tester", "reason": "a test"}


@dataclass
class Rig:
    """A gateway's process that serves one release at places that a test chooses.

    Args:
        port: where the gateway answers.
        places: of the release's replicas: bound, and not listening yet.
        servers: those that listen.
        killed: the replicas that a request ended, in order.
    """

    port: int
    places: list[socket.socket]
    servers: list[ThreadingHTTPServer] = field(default_factory=list)
    killed: list[int] = field(default_factory=list)

    def ask(self) -> tuple[int, str]:
        """One prediction: its status, and why another than the release answered."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            body = {"dataframe_split": {"columns": ["x"], "data": [[1]]}}
            headers = {"content-type": "application/json", "x-slipway-unit": "u"}
            connection.request("POST", f"/{MODEL}/invocations", json.dumps(body), headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers.get("x-slipway-fallback", "")

    def refusals(self) -> int:
        """How many tries found nobody, by the gateway's own count."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with closing(connection):
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        return sum(map(int, re.findall(r'slipway_errors_total{.*kind="refused".*} (\d+)', text)))

    def listen(self, number: int, *, dies: bool = False) -> None:
        """A replica begins to answer; one that dies ends each connection that asks something."""
        killed = self.killed

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                if dies:
                    killed.append(number)
                    self.close_connection = True
                    return
                body = b'{"predictions": [0.5]}'
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler, bind_and_activate=False)
        server.socket.close()
        server.socket = self.places[number]
        server.socket.listen(64)
        server.server_address = server.socket.getsockname()
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        self.servers.append(server)


def until(told: Callable[[], Any], what: str) -> None:
    """Wait until something is true."""
    deadline, pause = time.monotonic() + 20, threading.Event()
    while not told():
        assert time.monotonic() < deadline, f"{what} not seen"
        pause.wait(0.02)


@contextmanager
def rig(folder: Path, replicas: int, **serving: Any) -> Iterator[Rig]:
    """Start the gateway; end it, and all that listens."""
    with ExitStack() as undo:
        places = [undo.enter_context(socket.socket()) for _ in range(replicas)]
        for each in places:
            each.bind(("127.0.0.1", 0))
        url = f"sqlite:///{folder}/ledger.db"
        launch(url, [f"127.0.0.1:{each.getsockname()[1]}" for each in places], serving)
        daemon = Daemon("the gateway", folder / "gateway.json", "/healthz")
        undo.callback(daemon.stop)
        command = [sys.executable, "-m", "slipway.serving.gateway", "--port", "0"]
        started = daemon.spawn(
            [*command, "--log", str(folder / "log")], {**os.environ, "SLIPWAY_LEDGER": url}
        )
        until(lambda: open_ledger(url).acknowledged(MODEL), "the route in the gateway")
        made = Rig(int(daemon.wait(started).rpartition(":")[2]), places)
        undo.callback(lambda: [server.shutdown() for server in made.servers])
        yield made


def launch(url: str, endpoints: list[str], serving: dict[str, Any]) -> None:
    """Write down that a release is stable and where it answers."""
    store, made = open_ledger(url), release()
    store.put_manifest(made)
    opened = open_rollout(fold(MODEL, ()), made.id, plan((0.5,), serving=serving), **TOLD)
    entry = store.append(opened, expect=head(()))
    step = Step(Event.PROMOTED, "a test", 1.0)
    promoted = take(fold(MODEL, (entry,)), step, now=TOLD["now"], actor="tester")
    store.append(promoted, expect=head((entry,)))
    store.place(made.id, endpoints)


def test_a_replica_that_is_away_for_a_moment_costs_time_and_no_answer(tmp_path: Path) -> None:
    """A user who comes while a container starts again waits for it, within the time budget."""
    with rig(tmp_path, 1, budget_ms=20_000) as here, ThreadPoolExecutor(8) as users:
        asked = [users.submit(here.ask) for _ in range(8)]
        until(lambda: here.refusals() >= 20, "the gateway looking again and again")
        here.listen(0)
        assert [each.result() for each in asked] == [(200, "")] * 8
        assert here.ask() == (200, "")


def test_one_that_stays_away_is_told_when_the_budget_is_used_up(tmp_path: Path) -> None:
    """An honest error, neither at once nor later than the arm may take."""
    with rig(tmp_path, 2, budget_ms=500) as here:
        began = time.monotonic()
        assert here.ask() == (502, "refused")
        assert 0.3 < time.monotonic() - began < 5


def test_a_second_try_goes_past_the_one_that_hung_up(tmp_path: Path) -> None:
    """Of two replicas one ends every connection: whoever asks at the same time, all are served."""
    with rig(tmp_path, 2, budget_ms=20_000) as here, ThreadPoolExecutor(8) as users:
        here.listen(0, dies=True)
        here.listen(1)
        answers = [each.result() for each in [users.submit(here.ask) for _ in range(200)]]
        assert answers == [(200, "")] * 200


def test_a_request_that_ends_replicas_ends_few(tmp_path: Path) -> None:
    """What seems to kill whoever is asked is not sent again and again while time is left."""
    with rig(tmp_path, 2, budget_ms=20_000) as here:
        here.listen(0, dies=True)
        here.listen(1, dies=True)
        assert here.ask() == (502, "closed")
        assert sorted(here.killed) == [0, 1]
    (tmp_path / "one").mkdir()
    with rig(tmp_path / "one", 1, budget_ms=20_000) as here:
        here.listen(0, dies=True)
        assert here.ask() == (502, "closed")
        assert here.killed == [0, 0]  # the first may have been ended by something else
