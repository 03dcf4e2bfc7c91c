"""What the inference log costs, and how fast it tells what each release did in the last hour.

    python benchmarks/log.py cost       CPU per row on the serving process: gateways in turn
    python benchmarks/log.py sustain    rows per second beside full traffic, with compaction
    python benchmarks/log.py stall      the longest a loop waits, with the log and without
    python benchmarks/log.py query      the last hour's quantiles by release, of 1 M and 10 M rows
    python benchmarks/log.py looks      the judge's looks at a day of 1 M and 10 M rows

Needs wrk and nginx (Debian's packages) and Linux (``/proc``); ``query`` needs 6 GB of disk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

import duckdb
import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.gateway import WRK, load
from benchmarks.gateway_rivals import BODY, PATH, POLICY, Rival, backend, rival
from slipway.gates import parse
from slipway.metrics import measures
from slipway.serving.rows import RequestRow, constants_of
from slipway.stores.by_release import by_release
from slipway.stores.evidence import LogEvidence
from slipway.stores.inference_log import FEEDBACK, REQUESTS, compact, open_log, open_segments
from slipway.stores.log_writer import SEALED, SEGMENT_SECONDS, LogWriter

DAY = 86_400.0
FEATURES = {
    **{"month": 4, "day": 17, "hour": 8, "distance": 1089.0, "carrier": "UA"},
    **{"origin": "EWR", "dest": "ORD", "wind_speed": 11.5, "temp": 52.3},
}
ARMS = [constants_of("flights", arm, f"sha256:{arm:0<64}", 7) for arm in ("stable", "candidate")]


def script(folder: Path) -> Path:
    """What wrk sends."""
    place = folder / "load.lua"
    place.write_text(WRK % (PATH, BODY))
    return place


def cost(folder: Path, rounds: int) -> None:
    """One gateway that logs, one that logs no features, one that does not log, in turn."""
    logs = {"with features": {}, "without": {"features": False}, "no log": {"sample": 0.0}}
    with ExitStack() as stack:
        ports = stack.enter_context(backend(folder))
        field: dict[str, Rival] = {}
        for number, (name, section) in enumerate(logs.items()):
            (own := folder / str(number)).mkdir()
            policy = {**POLICY, "log": section}
            field[name] = stack.enter_context(rival("slipway", 1, ports, own, policy))
        found: dict[str, list[float]] = {name: [] for name in logs}
        for _ in range(rounds):
            for name, one in field.items():
                found[name].append(load(one, 64, 1, script(folder)).cpu)
    for name in ("with features", "without"):
        pairs = [a - b for a, b in zip(found[name], found["no log"], strict=True)]
        low, middle, high = statistics.quantiles(pairs, n=4)
        print(f"{name}: {middle:.1f} us of CPU per row (quartiles {low:.1f} to {high:.1f})")
    print({name: round(statistics.median(cpu), 1) for name, cpu in found.items()})


def sustain(folder: Path, seconds: int) -> None:
    """Full traffic while sealed segments are compacted: what is written, dropped and waiting."""
    with ExitStack() as stack:
        ports = stack.enter_context(backend(folder))
        one = stack.enter_context(rival("slipway", 1, ports, folder, compact_seconds=2.0))
        log = folder / "slipway-1" / "log"
        waiting: list[int] = []
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.5):
                waiting.append(sum(1 for _ in open_segments(log)) - 1)  # but the one written to

        looker = threading.Thread(target=look)
        looker.start()
        round_ = load(one, 64, seconds, script(folder))
        over.set()
        looker.join()
        page = urllib.request.urlopen(f"http://127.0.0.1:{one.port}/metrics").read().decode()
        dropped = [line for line in page.splitlines() if line.startswith("slipway_log_rows_dr")]
    rows = _count(log)
    print(f"{round_.rate:,.0f} requests/s for {seconds} s, {rows:,} rows in the log; {dropped}")
    half_seconds = " ".join(map(str, waiting))
    print(f"sealed segments that waited for compaction, by half second: {half_seconds}")
    before = _count(log, ".parquet")
    began = time.process_time()
    compact(log, time.time())
    took = (time.process_time() - began) / (_count(log, ".parquet") - before)
    print(f"compaction takes {took * 1e6:.2f} s of CPU per million rows")


def _count(log: Path, suffix: str = "") -> int:
    """Rows of the log, or of its files of one kind."""
    with open_log(log) as db:
        if suffix:
            paths = [str(p) for p in (log / REQUESTS).glob(f"*{suffix}")]
            if not paths:
                return 0
            return db.execute("SELECT count(*) FROM read_parquet($1)", [paths]).fetchall()[0][0]
        return db.execute("SELECT count(*) FROM requests").fetchall()[0][0]


async def _late(log: LogWriter | None, seconds: float, per_turn: int) -> float:
    """The longest that a turn of the loop, due every millisecond, came late or took, in ms."""
    row = RequestRow("a" * 44, time.time(), "N14228", 3.4567, score=0.1234, features=FEATURES)
    worst, due, turns = 0.0, time.perf_counter(), 0
    end = due + seconds
    while due < end:
        await asyncio.sleep(0.001)
        for _ in range(per_turn):
            if log is not None:
                log.request(ARMS[0], row)
        turns += 1
        if log is not None and turns % 200 == 0:
            log.flush()
        now = time.perf_counter()
        worst, due = max(worst, now - due - 0.001), now
    return worst * 1e3


def stall(folder: Path, rounds: int) -> None:
    """A loop that logs 20 rows a millisecond and one that logs none, in turn.

    Where it is allowed to (as root), it runs ahead of all other processes: on a shared machine
    most of a stall would be theirs.
    """
    with suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    pairs = []
    for number in range(rounds):
        log = LogWriter(folder / str(number))
        with_log = uvloop.run(_late(log, 5.0, 20))
        log.close()
        pairs.append((with_log, uvloop.run(_late(None, 5.0, 20)), log.dropped))
    for with_log, without, dropped in pairs:
        print(f"longest stall with the log {with_log:.1f} ms, without {without:.1f}; {dropped=}")


def fill(folder: Path, rows: int, ends: float, hours: float) -> None:
    """A log of so many rows in the hours before a time, compacted as the gateway's own is.

    A segment is sealed after 64 MB or ten minutes, whichever comes first.
    """
    draw, encode = random.Random(7), msgspec.json.Encoder().encode
    times = [draw.lognormvariate(1.2, 0.5) for _ in range(4096)]
    per_second = rows / (hours * 3600.0)
    most = min(150_000, int(per_second * SEGMENT_SECONDS))
    place = folder / REQUESTS
    place.mkdir(parents=True)
    for first in range(0, rows, most):
        began = ends - hours * 3600.0 + first / per_second
        lines = []
        for number in range(first, min(first + most, rows)):
            at, ok = began + (number - first) / per_second, number % 500 > 0
            request_id = f"{int(at * 1000):012x}{number * 2654435761 & 0xFFFFFFFF:032x}"
            row = RequestRow(
                *(request_id, at, f"N{number % 50_000}", times[number & 4095] + number % 97 * 1e-4),
                **{"status": 200 if ok else 502, "ok": ok, "cost": 0.0001},
                **{"score": number % 1000 / 1000, "features": FEATURES},
            )
            lines.append(ARMS[number % 100 == 1] + encode(row)[1:])
        segment = place / f"{int(began * 1000):013d}-1.ndjson"
        segment.write_bytes(b"\n".join(lines) + b"\n")
        segment.chmod(SEALED)
        compact(folder, time.time())
        segment.unlink()


def query(folder: Path, rounds: int) -> None:
    """p50, p95, p99, errors and cost by release over the last hour of a day, and of one hour."""
    ends = 1_800_000_000.0
    for rows, hours in ((1_000_000, 24.0), (10_000_000, 24.0), (1_000_000, 1.0)):
        own = folder / f"{rows}-{hours:g}"
        fill(own, rows, ends, hours)
        opening, whole = [], []
        for _ in range(rounds):
            began = time.perf_counter()
            duckdb.connect(":memory:").close()
            opened = time.perf_counter()
            releases = by_release(own, ends - 3600.0, ends)
            opening.append((opened - began) * 1e3)
            whole.append((time.perf_counter() - opened) * 1e3)
        of = sum(one.requests for one in releases)
        print(
            f"{rows:,} rows in {hours:g} h, {of:,} of them asked for: median "
            f"{statistics.median(whole):.1f} ms, best {min(whole):.1f}, of which DuckDB takes "
            f"{statistics.median(opening):.1f} to open an empty database"
        )


def label(folder: Path) -> None:
    """The outcome of every tenth request of a log, ten minutes after it."""
    place = folder / FEEDBACK
    place.mkdir()
    labels = (
        'SELECT request_id, "at" + 600 AS "at", model, \'label\' AS kind, '
        "to_json(score < 0.3) AS value FROM requests WHERE hash(request_id) % 10 = 0"
    )
    with open_log(folder) as db:
        db.execute(f"COPY ({labels}) TO '{place / 'labels.parquet'}' (FORMAT parquet)")


def looks(folder: Path, rounds: int) -> None:
    """A first look and further ones, ten seconds apart, with sums kept and without, in turn.

    The last ten minutes are a segment still, as they are beside a gateway.
    """
    guard = {"kind": "guardrail", "direction": "lower", "margin": {"relative": 0.1}}
    rate = {**guard, "metric": "error", "type": "rate"}
    p99 = {**guard, "metric": "latency", "type": "quantile", "q": 0.99}
    wrong = {**guard, "metric": "wrong", "type": "rate"}
    gates = {
        "a rate": [rate],
        "a rate and a p99": [rate, p99],
        "labels after an hour": [{**wrong, "maturity": 3600}],
        "labels whenever they come": [wrong],
    }
    ends = 1_800_000_000.0
    for rows in (1_000_000, 10_000_000):
        own = folder / str(rows)
        fill(own, rows, ends, 24.0)
        last = max((own / REQUESTS).glob("*.parquet"))
        lines = f"COPY (FROM '{last}') TO '{last.with_suffix('.ndjson')}' (FORMAT json)"
        duckdb.execute(lines)
        last.unlink()
        label(own)
        for name, chosen in gates.items():
            asked = measures(parse({"gate": chosen}))
            took: dict[str, list[tuple[float, float]]] = {}
            for number in range(rounds + 1):
                until = ends - 10.0 * (rounds - number)
                for how, cache in (("whole", None), ("kept", own / f"{name}.duckdb")):
                    before, began = time.process_time(), time.perf_counter()
                    source = LogEvidence(own, {"stable": 0.99, "candidate": 0.01}, cache)
                    source.observe("flights", 7, asked, since=ends - DAY, until=until)
                    wall, cpu = time.perf_counter() - began, time.process_time() - before
                    took.setdefault(how, []).append((wall, cpu))
            for how, (first, *further) in took.items():
                walls, cpus = (statistics.median(times) for times in zip(*further, strict=True))
                print(
                    f"{rows:,} rows, {name}, {how}: first look {first[0]:.2f} s, {first[1]:.2f} of "
                    f"CPU; further ones {walls:.2f} s, {cpus:.2f} of CPU (median of {rounds})"
                )
            size = (own / f"{name}.duckdb").stat().st_size / 1e6
            print(f"the file of sums: {size:.0f} MB; load average {os.getloadavg()[0]:.1f}")


def main() -> None:
    """Run one part."""
    parts = {
        "cost": (cost, 15),
        "sustain": (sustain, 30),
        "stall": (stall, 5),
        "query": (query, 21),
        "looks": (looks, 9),
    }
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=parts)
    parser.add_argument("--times", type=int, help="rounds; of sustain: seconds")
    options = parser.parse_args()
    run, usual = parts[options.part]
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # nginx's workers are of another user
        run(Path(folder), options.times or usual)
    print(f"load average {before:.1f} before, {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
