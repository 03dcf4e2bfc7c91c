"""One judge call on ten million requests, and one further look at a log: seconds and memory.

    python benchmarks/judge.py [--rows 10000000] [--rounds 3] [--folder DIR]

The file is made once, seeded, of a million users. Each call is a process of its own, as a person
would start it. Then a log of as many rows is looked at twice with a cache: the second look has a
hundredth of new rows to read.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

GATE = """
[[gate]]
metric = "{}"
kind = "guardrail"
direction = "lower"
"""
ERROR = GATE.format("error") + 'type = "rate"\nmargin = { relative = 0.0 }\n'
P99 = GATE.format("latency") + 'type = "quantile"\nq = 0.99\nmargin = { relative = 0.1 }\n'
SCORE = GATE.format("score") + 'type = "mean"\nlow = 0\nhigh = 1\nmargin = { absolute = 0.01 }\n'
GATES = {"one gate": ERROR, "three gates": ERROR + P99 + SCORE}
ROWS = """
SELECT i / 1000.0 AS time, CASE WHEN u % 10 = 0 THEN 'candidate' ELSE 'stable' END AS arm,
       'user-' || u AS unit, (random() < 0.005)::INTEGER AS error,
       exp(3 + 0.5 * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random())) AS latency,
       random() AS score
FROM (SELECT i, (random() * 1000000)::BIGINT AS u FROM range({rows}) t(i)) ORDER BY i
"""
LOG = """
SELECT 'r' || row_number() OVER () AS request_id, time AS "at", 'm' AS model, unit,
       true AS unit_given, arm, 'x' AS release, 1 AS route, 200 AS status, error = 0 AS ok,
       latency AS latency_ms, 'x' AS served_by, '' AS fallback, NULL::DOUBLE AS cost, 1 AS rows,
       score, NULL AS features, NULL AS prediction, '' AS override FROM '{file}'
"""


def make(file: Path, rows: int) -> None:
    """The observations, in order of time."""
    import duckdb

    db = duckdb.connect()
    db.execute("SELECT setseed(0.5)")
    db.execute(f"COPY ({ROWS.format(rows=rows)}) TO '{file}' (FORMAT parquet)")


def call(file: Path, gates: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and megabytes at most of one ``slipway judge``."""
    program = [sys.executable, "-m", "slipway.cli", "judge", str(file), "--gates", str(gates)]
    began = time.monotonic()
    child = subprocess.Popen(program, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    wall = time.monotonic() - began
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def looks(folder: Path, file: Path, rows: int) -> None:
    """The first look at a log, and one with a hundredth of new rows."""
    import duckdb

    from slipway.gates import parse
    from slipway.metrics import measures
    from slipway.stores.evidence import LogEvidence

    log = folder / "log" / "requests"
    log.mkdir(parents=True)
    duckdb.execute(f"COPY ({LOG.format(file=file)}) TO '{log / '1.parquet'}'")
    gate = {"metric": "error", "kind": "guardrail", "type": "rate", "direction": "lower"}
    asked = measures(parse({"gate": [{**gate, "margin": {"relative": 0.0}}]}))
    shares = {"stable": 0.9, "candidate": 0.1}
    last = rows / 1000.0
    for name, until in (("all but 1 %", 0.99 * last), ("the last 1 %", last)):
        before, began = time.process_time(), time.monotonic()
        source = LogEvidence(log.parent, shares, folder / "cache")
        seen = source.observe("m", 1, asked, since=0.0, until=until)
        wall, cpu = time.monotonic() - began, time.process_time() - before
        print(f"log, {name:14} {wall:6.2f} s {cpu:6.2f} CPU s   {sum(seen.units.values())} units")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{'both, at most':20} {most:.0f} MB")


def main() -> None:
    """Make the file, and time the calls."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slipway-judge-", dir=chosen.folder) as home:
        file = Path(home) / "observations.parquet"
        with ProcessPoolExecutor(1) as apart:  # a child starts with its parent's peak of memory
            apart.submit(make, file, chosen.rows).result()
        for name, text in GATES.items():
            gates = Path(home) / "gates.toml"
            gates.write_text(text)
            for _ in range(chosen.rounds):
                wall, cpu, most = call(file, gates)
                load = os.getloadavg()[0]
                print(f"{name:19} {wall:6.2f} s {cpu:6.2f} CPU s {most:6.0f} MB   load {load:.1f}")
        with ProcessPoolExecutor(1) as apart:
            apart.submit(looks, Path(home), file, chosen.rows).result()


if __name__ == "__main__":
    main()
