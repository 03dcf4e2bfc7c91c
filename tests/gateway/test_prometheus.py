"""A real Prometheus scrapes a gateway of two workers, and its counters are right."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from arm import Farm
from rig import Place, load, until

CONFIG = """
global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}
scrape_configs:
  - job_name: gateway
    static_configs: [{{ targets: ["127.0.0.1:{port}"] }}]
"""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[str]:
    """A Prometheus that scrapes one port, as the URL of its API."""
    if not shutil.which("prometheus"):
        reason = "no Prometheus is installed (Debian: prometheus), which this test starts"
        (pytest.fail if os.environ.get("SLIPWAY_REAL") else pytest.skip)(reason)
    folder.mkdir()
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(CONFIG.format(port=target))
    command = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "said").open("w") as said:
        listen = f"--web.listen-address=127.0.0.1:{port}"
        process = subprocess.Popen([*command, listen], stdout=said, stderr=said)
    try:
        yield f"http://127.0.0.1:{port}/api/v1/query?query="
    finally:
        process.terminate()
        process.wait(20)


def value(api: str, query: str) -> float | None:
    """What a query gives now; None while there is no answer."""
    try:
        with urllib.request.urlopen(api + quote(query), timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
    except OSError:
        return None
    return float(found[0]["value"][1]) if found else None


def test_prometheus_counts_every_workers_requests(place: Place, farm: Farm) -> None:
    """Whichever worker is scraped, counters are of all workers, never go back, and end right."""
    stable, candidate = farm.arm(0.25), farm.arm(0.75, "500")
    arms = {"stable": (0.5, [stable.port]), "candidate": (0.5, [candidate.port])}
    with (
        place.gateway(workers=2) as gateway,
        prometheus(place.folder / "prometheus", gateway.port) as api,
    ):
        gateway.serve("m", arms, {"breaker": {"open_seconds": 60}})
        with load(gateway.port, "m", clients=8) as running:
            until(lambda: value(api, "sum(slipway_requests_total)"), "a first scrape under load")
            running.more(600)
        assert running.faults == running.failed == []
        count = len(running.answers)
        until(lambda: value(api, "sum(slipway_requests_total)") == count, f"{count} requests")
        assert value(api, "sum(slipway_request_seconds_count)") == count
        assert value(api, 'sum(slipway_request_seconds_bucket{le="+Inf"})') == count
        replaced = sum(bool(answer.fallback) for _, answer in running.answers)
        assert value(api, "sum(slipway_fallbacks_total)") == replaced > 0
        failures = value(api, 'sum(slipway_errors_total{arm="candidate",kind="status_500"})')
        assert failures == len(candidate.asked)
        assert value(api, 'max(slipway_breaker_state{arm="candidate"})') == 2
        until(lambda: value(api, "max(slipway_in_flight)") == 0, "nothing in flight")
        # A counter that went back would be taken for a restart, and increase() would overshoot.
        assert value(api, "sum(resets(slipway_requests_total[5m]))") == 0
        assert value(api, "min_over_time(up[5m])") == 1
