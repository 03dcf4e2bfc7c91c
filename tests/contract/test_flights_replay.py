"""The replay against a small real server: who was asked, at what rate, and what came back."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

REPLAY = Path(__file__).parents[2] / "examples" / "flights" / "replay.py"
DAY = ("--from", "2013-02-08T17:00", "--until", "2013-02-08T21:00")


@dataclass
class Gateway:
    """What a gateway was sent: requests by id, with their unit, and outcomes by id."""

    port: int = 0
    asked: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    outcomes: dict[str, int] = field(default_factory=dict)
    enough: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, path: str, unit: str, body: Any) -> tuple[int, str, bytes]:
        """Status, request id and body; every fiftieth request fails."""
        with self.lock:
            if path == "/flights/feedback":
                self.outcomes |= {told["request_id"]: told["value"] for told in body}
                return 200, "", b"{}"
            name = str(len(self.asked))
            self.asked[name] = (unit, body["dataframe_records"][0])
            if len(self.asked) >= 60:
                self.enough.set()
            failed = len(self.asked) % 50 == 0
            return 503 if failed else 200, name, b'{"predictions":[0.5]}'


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """A server on a free port of loopback."""
    told = Gateway()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            unit = self.headers.get("x-slipway-unit", "")
            status, name, content = told.answer(self.path, unit, body)
            self.send_response(status)
            for key, value in (("request-id", name), ("release", "r1"), ("arm", "stable")):
                self.send_header(f"x-slipway-{key}", value)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True  # connections that are kept open end with the test

    server = Server(("127.0.0.1", 0), Handler)
    told.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield told
    server.shutdown()
    server.server_close()


def start(gateway: Gateway, summary: Path, *more: str) -> subprocess.Popen[bytes]:
    """A replay as a process of its own."""
    address = f"http://127.0.0.1:{gateway.port}"
    command = [sys.executable, str(REPLAY), "--gateway", address, "--summary", str(summary), *DAY]
    return subprocess.Popen([*command, *more], env=dict(os.environ))


def test_every_flight_is_asked_about_and_its_outcome_follows(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Units are aircraft, failures are counted, and outcomes are of answered flights alone."""
    summary = tmp_path / "summary.json"
    assert start(gateway, summary, "--rate", "400", "--outcome-after", "0.1").wait(60) == 0
    told = json.loads(summary.read_text())
    count = len(gateway.asked)
    assert told["requests"] == count > 150
    assert told["statuses"] == {"200": count - count // 50, "503": count // 50}
    assert told["errors"] == count // 50
    units = {unit for unit, _ in gateway.asked.values() if unit}
    assert told["units"] == len(units)
    assert told["served"] == [
        {"release": "r1", "arm": "stable", "requests": count, "units": len(units)}
    ]
    answered = {name for name in gateway.asked if (int(name) + 1) % 50}
    assert set(gateway.outcomes) < answered, "cancelled flights have no outcome"
    assert told["outcomes"] == {"200": len(gateway.outcomes)}
    assert set(gateway.outcomes.values()) == {0, 1}
    assert told["last_time"].startswith("2013-02-08T20:5")
    assert told["seconds"] >= (count - 1) / 400, "no faster than the rate"


def test_a_request_carries_the_features_and_nothing_of_the_outcome(
    gateway: Gateway, tmp_path: Path
) -> None:
    """Missing values are null, and neither target nor time nor unit is among the features."""
    assert start(gateway, tmp_path / "summary.json", "--rate", "2000").wait(60) == 0
    records = [record for _, record in gateway.asked.values()]
    assert all("late" not in r and "departs" not in r and "tailnum" not in r for r in records)
    assert {len(r) for r in records} == {15}
    assert any(r["pressure"] is None for r in records)


def test_asked_to_stop_it_delivers_what_it_owes(gateway: Gateway, tmp_path: Path) -> None:
    """SIGTERM ends the sending at once; the outcomes still owed are delivered, and all is told."""
    summary = tmp_path / "summary.json"
    process = start(gateway, summary, "--rate", "40", "--outcome-after", "600")
    assert gateway.enough.wait(60)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    told = json.loads(summary.read_text())
    assert told["stopped"]
    assert 60 <= told["requests"] == len(gateway.asked) < 120
    assert told["outcomes"] == {"200": len(gateway.outcomes)}
    assert len(gateway.outcomes) > 20


def test_a_gateway_that_is_not_there_is_counted_not_hidden(tmp_path: Path) -> None:
    """Every flight is an error, by its kind, and the replay still ends with its summary."""
    summary = tmp_path / "summary.json"
    gone = Gateway(port=9)
    assert start(gone, summary, "--rate", "4000").wait(60) == 0
    told = json.loads(summary.read_text())
    assert told["statuses"] == {"ConnectionRefusedError": told["requests"]}
    assert told["errors"] == told["requests"] > 0
