"""How each contestant of ``benchmarks/gateway.py`` is configured and started.

All split by the hash of a header, 99 to 1, between two ports of one backend: an nginx that answers
each request with the same prediction. A real model would take more CPU than any of the proxies,
and on two cores one would measure the model.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.server import free_port
from slipway.ledger import head
from slipway.lifecycle import Event
from slipway.routing import Arm, RouteTable
from slipway.stores.sql_ledger import open_ledger
from slipway.testing import draft

PATH = "/flights/invocations"
BODY = (
    '{"dataframe_split": {"columns": ["month", "day", "hour", "distance", "carrier", "origin", '
    '"dest", "wind_speed", "temp"], "data": [[4, 17, 8, 1089.0, "UA", "EWR", "ORD", 11.5, 52.3]]}}'
)
POLICY = {
    "answer": {"min": 0.0, "max": 1.0, "type": "number"},
    "guard": {
        "columns": {
            "distance": {"required": True, "min": 0, "max": 6000},
            "month": {"required": True, "min": 1, "max": 12},
        },
        "deny": ["hour > 24"],
        "rate": {"per_second": 100_000, "burst": 100_000},
    },
    "fallbacks": ["stable", "rule", "cache"],
    "rule": {"value": 0.2},
    "cache": {"by": "unit"},
}
"""All that is measured: checks of rows, of answers and of the rate; the fallbacks; log, metrics."""

BACKEND = """
worker_processes 1; daemon off; error_log {folder}/backend.log; pid {folder}/backend.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/backend-body; keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{ports[0]}; listen 127.0.0.1:{ports[1]};
    location / {{ default_type application/json; return 200 '{{"predictions": [0.1234]}}'; }}
  }}
}}
"""
NGINX = """
worker_processes {workers}; daemon off; error_log {folder}/nginx.log; pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {folder}/nginx-body; proxy_temp_path {folder}/nginx-proxy;
  fastcgi_temp_path {folder}/nginx-1; uwsgi_temp_path {folder}/nginx-2;
  scgi_temp_path {folder}/nginx-3; keepalive_requests 1000000000;
  split_clients "$http_x_slipway_unit" $arm {{ 1% candidate; * stable; }}
  upstream stable {{ server 127.0.0.1:{ports[0]}; keepalive 128; keepalive_requests 1000000000; }}
  upstream candidate {{ server 127.0.0.1:{ports[1]}; keepalive 8; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} reuseport;
    location / {{ proxy_pass http://$arm; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
HAPROXY = """
global
  nbthread {workers}
  maxconn 4096
defaults
  mode http
  timeout connect 1s
  timeout client 75s
  timeout server 75s
  http-reuse always
frontend all
  bind 127.0.0.1:{port}
  default_backend arms
backend arms
  balance hdr(x-slipway-unit)
  hash-type consistent
  server stable 127.0.0.1:{ports[0]} weight 198
  server candidate 127.0.0.1:{ports[1]} weight 2
"""


@dataclass(frozen=True)
class Rival:
    """A proxy that answers: its name, its workers, its process and its port."""

    name: str
    workers: int
    pid: int
    port: int


def answers(port: int) -> bool:
    """Whether a prediction comes back from a port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", PATH, BODY, {"content-type": "application/json"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def started(
    name: str, workers: int, command: list[str], port: int, folder: Path
) -> Iterator[Rival]:
    """Start a process, wait for its first prediction, and end it afterwards."""
    with (folder / f"{name}-{workers}.out").open("w") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 30
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start:\n{Path(out.name).read_text()}")
            time.sleep(0.02)
        yield Rival(name, workers, process.pid, port)
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # a forked worker does not end with its parent
        process.wait(30)


@contextmanager
def backend(folder: Path) -> Iterator[tuple[int, int]]:
    """The server behind all of them; gives its two ports."""
    ports = free_port(), free_port()
    command = _nginx(BACKEND, folder / "backend.conf", folder=folder, ports=ports)
    with started("backend", 1, command, ports[0], folder):
        yield ports


@contextmanager
def rival(
    name: str,
    workers: int,
    ports: tuple[int, int],
    folder: Path,
    policy: dict[str, object] = POLICY,
    compact_seconds: float = 0.0,
) -> Iterator[Rival]:
    """A contestant by name, started; policy and compaction are Slipway's."""
    port = free_port()
    within = {"folder": folder, "ports": ports, "port": port, "workers": workers}
    place = folder / f"{name}-{workers}.conf"
    if name == "nginx":
        command = _nginx(NGINX, place, **within)
    elif name == "haproxy":
        place.write_text(HAPROXY.format(**within))
        command = ["haproxy", "-db", "-q", "-f", str(place)]
    elif name == "aiohttp":
        script = str(Path(__file__).with_name("gateway_aiohttp.py"))
        command = [sys.executable, script, str(port), str(workers)]
        command += [f"127.0.0.1:{p}" for p in ports]
    else:
        command = _slipway(port, workers, ports, folder, policy)
        command += ["--compact-seconds", str(compact_seconds)]
    with started(name, workers, command, port, folder) as one:
        yield one


def _nginx(template: str, place: Path, **within: object) -> list[str]:
    place.write_text(template.format(**within))
    return ["nginx", "-e", f"{place}.log", "-c", str(place)]


def _slipway(
    port: int, workers: int, ports: tuple[int, int], folder: Path, policy: dict[str, object]
) -> list[str]:
    """A ledger with one route and its lease, and the gateway that serves it."""
    own = folder / f"slipway-{workers}"
    own.mkdir()
    ledger = open_ledger(url := f"sqlite:///{own / 'ledger.db'}")
    arms = (Arm("stable", "sha256:1", 0.99), Arm("candidate", "sha256:2", 0.01, leased=True))
    table = RouteTable("flights", 1, "benchmark", arms, 3600.0, policy)
    ledger.append(draft(event=Event.OPENED, body={"route": table.record()}), expect=head(()))
    for arm, at in zip(arms, ports, strict=True):
        ledger.place(arm.release, [f"127.0.0.1:{at}"])
    ledger.renew("flights", 1, 3600.0, time.time())
    command = [sys.executable, "-m", "slipway.serving.gateway", "--port", str(port)]
    return [*command, "--workers", str(workers), "--ledger", url, "--log", str(own / "log")]
