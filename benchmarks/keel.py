"""The chain: one button beside a bare script, starts, memory, and the demo.

    python benchmarks/keel.py release      `slipway release examples/flights` beside bare_release.py
    python benchmarks/keel.py starts       help, status, gateway and bundle server, to the first 200
    python benchmarks/keel.py memory       the peak of a release, by proportional set size
    python benchmarks/keel.py demo         chapter by chapter

Every run has a home of its own that is empty before it and ended after it, so all are cold. Pairs
take turns (A B A B), so that a noisy neighbour disturbs both alike; figures are medians, each with
the machine's load beside it. CPU is of all processes that a run started. Needs Linux (``/proc``).
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SLIPWAY = [sys.executable, "-P", "-m", "slipway.cli"]
RELEASE = [*SLIPWAY, "release", str(ROOT / "examples" / "flights")]
BARE = [sys.executable, str(ROOT / "benchmarks" / "bare_release.py")]
TICK = os.sysconf("SC_CLK_TCK")
LOOK_SECONDS = 0.002  # as close as a start is measured
SAMPLE_SECONDS = 0.1


@dataclass(frozen=True)
class Run:
    """One run of a command: wall and CPU seconds, and the load of the machine before it."""

    wall: float
    cpu: float
    load: float


@contextmanager
def home() -> Iterator[Path]:
    """An empty home; what a release leaves running there is ended with the block."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        try:
            yield place
        finally:
            if (place / "run").exists():
                subprocess.run(
                    [*SLIPWAY, "stop"], env=environ(place), check=True, stdout=sys.stderr
                )


def environ(place: Path) -> dict[str, str]:
    """The environment of a run in a home: any port will do for its gateway."""
    mine = {"SLIPWAY_HOME": str(place), "SLIPWAY_GATEWAY_PORT": "0", "COLUMNS": "200"}
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return {**kept, **mine, "PYTHONPATH": str(ROOT)}


def timed(command: list[str], place: Path) -> Run:
    """Run a command to its end, with its output in the home."""
    load, before, started = os.getloadavg()[0], left_running(place), time.perf_counter()
    with (place / "output").open("w") as output:
        process = subprocess.Popen(
            command, env=environ(place), cwd=place, stdout=output, stderr=output
        )
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} failed:\n{(place / 'output').read_text()[-3000:]}")
    left = left_running(place) - before
    return Run(wall, used.ru_utime + used.ru_stime + left, load)


def left_running(place: Path) -> float:
    """CPU seconds, so far, of what a run left behind: its commands name the home."""
    return sum(cpu for _, command, cpu in processes() if str(place) in command)


def processes() -> Iterator[tuple[int, str, float]]:
    """Pid, command line and CPU seconds of every process."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
            yield int(folder.name), command, (int(fields[11]) + int(fields[12])) / TICK


def release(rounds: int) -> None:
    """The one button beside the bare script, in turn, and where the button's time goes."""
    ours, bare, split = [], [], []
    for _ in range(rounds):
        with home() as place:
            began = time.time()
            ours.append(timed(RELEASE, place))
            split.append(phases(place, began, ours[-1].wall))
        with home() as place:
            bare.append(timed([*BARE, str(place)], place))
        print(f"slipway {ours[-1]}\nbare    {bare[-1]}", flush=True)
    for name in ("wall", "cpu"):
        a, b = ([getattr(run, name) for run in runs] for runs in (ours, bare))
        ratio = statistics.median(x / y for x, y in zip(a, b, strict=True))
        middles = statistics.median(a), statistics.median(b)
        print(f"{name}: {middles[0]:.1f} s beside {middles[1]:.1f} s, ratio of pairs {ratio:.2f}")
    for name in split[-1]:
        print(f"  {name:28}{statistics.median(s.get(name, 0.0) for s in split):6.2f} s")


def phases(place: Path, began: float, wall: float) -> dict[str, float]:
    """Seconds before the flow, in each task, and after the flow; from Prefect's own record."""
    subprocess.run([*SLIPWAY, "stop"], env=environ(place), check=True, stdout=sys.stderr)
    with closing(sqlite3.connect(place / "prefect" / "prefect.db")) as database:
        asked = "SELECT name, start_time, end_time FROM {} WHERE end_time NOT NULL ORDER BY 2"
        ((_, began_flow, ended_flow),) = _spans(database.execute(asked.format("flow_run")))
        tasks = _spans(database.execute(asked.format("task_run")))
    named = {"before the flow": began_flow - began}
    named |= {re.sub(r"-\w{3}$", "", name): end - start for name, start, end in tasks}
    after = began + wall - ended_flow
    return named | {"the flow": ended_flow - began_flow, "after the flow": after}


def _spans(rows: Iterable[tuple[str, str, str]]) -> list[tuple[str, float, float]]:
    """Names with their starts and ends as Unix times; Prefect writes UTC."""

    def unix(moment: str) -> float:
        return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()

    return [(name, unix(start), unix(end)) for name, start, end in rows]


def starts(rounds: int) -> None:
    """Commands to their end, servers to their first 200."""
    with home() as place:
        timed(RELEASE, place)
        (bundle,) = (place / "bundles").iterdir()
        gateway = [sys.executable, "-P", "-m", "slipway.serving.gateway", "--log", str(place / "l")]
        gateway += ["--ledger", f"sqlite:///{place / 'ledger.db'}"]
        replica = [sys.executable, "-P", str(bundle / "serve.py"), "--host", "127.0.0.1"]
        tried: dict[str, Callable[[], Run]] = {
            "python -c pass": lambda: timed([sys.executable, "-c", "pass"], place),
            "slipway --help": lambda: timed([*SLIPWAY, "--help"], place),
            "slipway status": lambda: timed([*SLIPWAY, "status"], place),
            "gateway to its first 200": lambda: first_200(gateway, "/healthz", place),
            "bundle server to its first 200": lambda: first_200(replica, "/ping", place),
        }
        found: dict[str, list[Run]] = {name: [] for name in tried}
        for _ in range(rounds):
            for name, run in tried.items():
                found[name].append(run())
    for name, runs in found.items():
        middle, best = statistics.median(r.wall for r in runs), min(r.wall for r in runs)
        cpu, load = (statistics.median(getattr(r, key) for r in runs) for key in ("cpu", "load"))
        print(f"{name:32}{middle:6.2f} s  best {best:.2f} s  CPU {cpu:.2f} s  load {load:.1f}")


def first_200(command: list[str], path: str, place: Path) -> Run:
    """Start a server and ask it until it answers; then end it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    load, started = os.getloadavg()[0], time.perf_counter()
    with (place / "server").open("w") as output:
        server = subprocess.Popen(
            [*command, "--port", str(port)], env=environ(place), stdout=output, stderr=output
        )
    try:
        while not _is_200(f"http://127.0.0.1:{port}{path}"):
            if server.poll() is not None:
                raise SystemExit((place / "server").read_text())
            time.sleep(LOOK_SECONDS)
        wall = time.perf_counter() - started
        cpu = sum(cpu for pid, _, cpu in processes() if pid in tree(server.pid))
    finally:
        server.terminate()
        server.wait(30)
    return Run(wall, cpu, load)


def _is_200(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def memory(rounds: int) -> None:
    """The peak of a release: of the whole tree at one moment, and of the largest process."""
    peaks = []
    for _ in range(rounds):
        with home() as place:
            peaks.append(_peak(place))
    total = statistics.median(sum(peak.values()) for peak in peaks)
    print(f"all processes together: {total:.0f} MB")
    for name, size in sorted(peaks[-1].items(), key=lambda item: -item[1]):
        print(f"  {size:6.0f} MB  {name}")


def _peak(place: Path) -> dict[str, float]:
    """The sizes, by command, at the moment when their sum was largest."""
    highest: dict[str, float] = {}
    largest, ended = 0.0, threading.Event()
    mine = os.getpid()

    def watch() -> None:
        nonlocal highest, largest
        while not ended.wait(SAMPLE_SECONDS):
            now = {f"{_command(pid)} ({pid})": _pss(pid) for pid in tree(mine) if pid != mine}
            largest = max(largest, *now.values(), 0.0)
            if sum(now.values()) > sum(highest.values()):
                highest = now

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        timed(RELEASE, place)
    finally:
        ended.set()
        watcher.join()
    print(f"largest single process: {largest:.0f} MB", flush=True)
    return highest


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = [
            child
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(p for child in children for p in tree(int(child)))]


def _pss(pid: int) -> float:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = re.search(r"^Pss:\s+(\d+)", rollup, re.M)
    return int(found.group(1)) / 1024 if found else 0.0


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return "ended"
    after = words.index("-m") + 1 if "-m" in words else 1
    return " ".join(Path(w).name for w in words[after : after + 2])


def demo(rounds: int) -> None:
    """The whole story: the time at which each chapter began, and in all."""
    for _ in range(rounds):
        with home() as place:
            run = timed([*SLIPWAY, "demo"], place)
            told = (place / "output").read_text()
        print(f"{run.wall:.0f} s, CPU {run.cpu:.0f} s, load {run.load:.1f} at its start")
        for chapter in re.findall(r"^\d\. .*\(\d+ s\)", told, re.M):
            print(f"  {chapter}", flush=True)


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("release", "starts", "memory", "demo"))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    {"release": release, "starts": starts, "memory": memory, "demo": demo}[options.what](
        options.rounds
    )


if __name__ == "__main__":
    main()
