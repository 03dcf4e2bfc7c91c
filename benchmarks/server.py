"""The model server beside its peers, on the same models, in one run.

    python benchmarks/server.py                     Slipway alone: ONNX and scikit-learn
    python benchmarks/server.py --peers             and mlflow models serve, MLServer, BentoML

A 200-tree forest and a logistic pipeline, trained here, answer one row per request. Rounds are
interleaved, so that a noisy neighbour disturbs all alike; figures are medians over the rounds.
``hello`` is Slipway's bare ``GET /ping``: what the server costs without a model. The peers are
installed into virtual environments of their own (``--venvs``) and are given one worker each.

Needs wrk (Debian's package ``wrk``) and Linux (``/proc``).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.server_models import Model, train
from benchmarks.server_peers import Contestant, peers, slipway

UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Round:
    """One load run: requests per second, latencies in ms, CPU microseconds per request."""

    rate: float
    p50: float
    p99: float
    cpu: float


@dataclass(frozen=True)
class Running:
    """A server that answers, with how long it took to and what it then weighs in MB."""

    contestant: Contestant
    pid: int
    port: int
    cold: float
    pss: float


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(p for child in children for p in tree(int(child)))]


def memory(pid: int) -> float:
    """Proportional set size of a process tree, in MB."""
    rollups = [Path(f"/proc/{p}/smaps_rollup").read_text() for p in tree(pid)]
    return sum(int(re.search(r"^Pss:\s+(\d+)", r, re.M).group(1)) for r in rollups) / 1024


def cpu_seconds(pid: int) -> float:
    """CPU time of a process tree, so far."""
    fields = [Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split() for p in tree(pid)]
    return sum(int(f[11]) + int(f[12]) for f in fields) / TICK


def free_port() -> int:
    """A port that nothing listens on just now."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(contestant: Contestant, port: int) -> bytes | None:
    """One prediction, or None while the server does not answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{contestant.path}",
        contestant.body.encode() if contestant.body else None,
        {"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        if error.code in (400, 422, 500):
            raise SystemExit(f"{contestant.name}: {error.code} {error.read()[:500]!r}") from error
        return None
    except OSError:
        return None


@contextmanager
def running(contestant: Contestant, logs: Path) -> Iterator[Running]:
    """Start a contestant, wait for its first prediction, and end it afterwards."""
    port = free_port()
    command = [part.replace("{port}", str(port)) for part in contestant.command]
    started = time.perf_counter()
    with (logs / f"{contestant.name}.log").open("w") as log:
        process = subprocess.Popen(
            command,
            cwd=contestant.folder,
            env={**os.environ, **contestant.env, "PYTHONPATH": ""},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        answer = None
        while answer is None:
            if process.poll() is not None or time.perf_counter() - started > 180:
                raise SystemExit(f"{contestant.name} did not start, see {log.name}")
            time.sleep(0.01)  # as close as the cold start is measured
            answer = ask(contestant, port)
        cold = time.perf_counter() - started
        print(f"  {contestant.name:28} {cold:6.2f} s  {answer[:90].decode()}", flush=True)
        yield Running(contestant, process.pid, port, cold, memory(process.pid))
    finally:
        process.terminate()
        process.wait(60)


def load(
    server: Running, path: str, body: str, connections: int, seconds: int, folder: Path
) -> Round:
    """One wrk run against a server."""
    script = folder / "load.lua"
    post = "wrk.method='POST'; wrk.headers['content-type']='application/json'; wrk.body=[==[{}]==]"
    script.write_text(post.format(body) if body else "")
    before = cpu_seconds(server.pid)
    url = f"http://127.0.0.1:{server.port}{path}"
    wrk = f"wrk -t1 -c{connections} -d{seconds}s --latency --timeout 20s -s".split()
    told = subprocess.run([*wrk, script, url], capture_output=True, text=True, check=True).stdout
    cpu = cpu_seconds(server.pid) - before
    if "Non-2xx" in told or "Socket errors" in told:
        raise SystemExit(f"{server.contestant.name} failed requests:\n{told}")
    requests = int(_figures(r"(\d+) requests in", told)[0])
    p50, p99 = (_figures(rf"{p}%\s+([\d.]+)(\w+)", told) for p in (50, 99))
    return Round(
        float(_figures(r"Requests/sec:\s+([\d.]+)", told)[0]),
        float(p50[0]) * UNITS[p50[1]],
        float(p99[0]) * UNITS[p99[1]],
        cpu / max(requests, 1) * 1e6,
    )


def _figures(pattern: str, told: str) -> tuple[str, ...]:
    match = re.search(pattern, told)
    if match is None:
        raise SystemExit(f"wrk said something else than expected:\n{told}")
    return match.groups()


def compete(
    contestants: list[Contestant], options: argparse.Namespace, folder: Path
) -> list[dict[str, object]]:
    """Run all contestants of one model, interleaved; one record per request and load."""
    found: dict[tuple[str, int], list[Round]] = defaultdict(list)
    with ExitStack() as stack:
        servers = [stack.enter_context(running(c, folder)) for c in contestants]
        for _ in range(options.rounds):
            for connections in options.connections:
                for server in servers:
                    for label, path, body in server.contestant.requests():
                        one = load(server, path, body, connections, options.seconds, folder)
                        found[label, connections].append(one)
    return [
        {
            "server": label,
            "connections": connections,
            "cold_s": round(server.cold, 3),
            "pss_mb": round(server.pss, 1),
            **middle(found[label, connections]),
        }
        for connections in options.connections
        for server in servers
        for label, _, _ in server.contestant.requests()
    ]


def middle(rounds: list[Round]) -> dict[str, float]:
    """The medians of the rounds."""
    return {
        "rate": round(statistics.median(r.rate for r in rounds), 1),
        "p50_ms": round(statistics.median(r.p50 for r in rounds), 3),
        "p99_ms": round(statistics.median(r.p99 for r in rounds), 3),
        "cpu_us": round(statistics.median(r.cpu for r in rounds), 1),
    }


def show(model: Model, records: list[dict[str, object]]) -> None:
    """The table, with each rate as a multiple of the slowest at that load."""
    print(f"\n{model.name}: {model.what}\n")
    head = "server", "conns", "req/s", "times", "p50 ms", "p99 ms", "CPU us", "PSS MB", "cold s"
    print("{:28}{:>6}{:>10}{:>8}{:>10}{:>10}{:>10}{:>8}{:>8}".format(*head))
    for r in records:
        slowest = min(o["rate"] for o in records if o["connections"] == r["connections"])
        print(
            f"{r['server']:28}{r['connections']:>6}{r['rate']:>10.0f}{r['rate'] / slowest:>8.1f}"
            f"{r['p50_ms']:>10.2f}{r['p99_ms']:>10.2f}{r['cpu_us']:>10.0f}"
            f"{r['pss_mb']:>8.0f}{r['cold_s']:>8.2f}"
        )


def main() -> None:
    """Train, start, load, show."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", action="store_true", help="beside the peers")
    parser.add_argument("--venvs", type=Path, default=Path(".slipway/peers"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 4, 64])
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is not here: install Debian's package wrk")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for model in train(Path(folder)):
            contestants = slipway(model)
            if options.peers:
                contestants += peers(model, options.venvs.resolve())
            print(f"starting for {model.name}:", flush=True)
            results[model.name] = compete(contestants, options, model.folder)
            show(model, results[model.name])
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
