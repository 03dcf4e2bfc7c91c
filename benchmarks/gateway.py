"""The gateway beside other proxies, in one run.

    python benchmarks/gateway.py
    python benchmarks/gateway.py --rivals haproxy slipway --workers 1 --connections 64 --rounds 9

Rounds are interleaved, so that a noisy neighbour disturbs all alike; figures are medians over the
rounds. CPU is of all the proxy's processes and threads: for Slipway its supervisor and the thread
that writes the log too, but not compaction, which runs once a minute in a process of its own.
See ``gateway_rivals.py`` for who is configured how. ``direct`` is the backend without a proxy.

Needs wrk, haproxy and nginx (Debian's packages) and Linux (``/proc``).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.gateway_rivals import BODY, PATH, Rival, backend, rival
from benchmarks.server import Round, cpu_seconds, middle

RIVALS = ["haproxy", "nginx", "aiohttp", "slipway"]
WRK = """
local made, turn = {}, 0
init = function()
  for unit = 1, 10000 do
    local headers = {["content-type"] = "application/json", ["x-slipway-unit"] = "N" .. unit}
    made[unit] = wrk.format("POST", "%s", headers, [==[%s]==])
  end
end
request = function() turn = turn %% 10000 + 1; return made[turn] end
done = function(summary, latency)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format("\\nFIGURES %%d %%d %%d %%d %%d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), failed))
end
"""


def load(one: Rival, connections: int, seconds: float, script: Path) -> Round:
    """One wrk run; any failed request ends the benchmark."""
    before = cpu_seconds(one.pid)
    wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script)]
    url = f"http://127.0.0.1:{one.port}{PATH}"
    told = subprocess.run([*wrk, url], capture_output=True, text=True, check=True).stdout
    cpu = cpu_seconds(one.pid) - before
    figures = told.partition("FIGURES ")[2].split()
    requests, micros, p50, p99, failed = map(int, figures)
    if failed:
        raise SystemExit(f"{one.name} failed {failed} requests:\n{told}")
    return Round(requests / micros * 1e6, p50 / 1e3, p99 / 1e3, cpu / max(requests, 1) * 1e6)


def compete(options: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """Run all contestants, interleaved; one record per contestant, workers and connections."""
    script = folder / "load.lua"
    script.write_text(WRK % (PATH, BODY))
    found: dict[tuple[str, int, int], list[Round]] = defaultdict(list)
    with ExitStack() as stack:
        ports = stack.enter_context(backend(folder))
        for workers in options.workers:
            with ExitStack() as inner:
                enter = inner.enter_context
                field = [enter(rival(name, workers, ports, folder)) for name in options.rivals]
                field.append(Rival("direct", 1, os.getpid(), ports[0]))
                for connections in options.connections:
                    for _ in range(options.rounds):
                        for one in field:
                            figures = load(one, connections, options.seconds, script)
                            found[one.name, workers, connections].append(figures)
                    print(f"{workers} workers, {connections} connections: done", flush=True)
    return [
        {"proxy": name, "workers": workers, "connections": connections, **middle(rounds)}
        for (name, workers, connections), rounds in found.items()
    ]


def table(records: list[dict[str, object]]) -> str:
    """The figures as Markdown, each beside HAProxy's of the same load."""
    by = {(r["proxy"], r["workers"], r["connections"]): r for r in records}
    lines = [
        "| workers | connections | proxy | requests/s | of HAProxy's | p50, ms | p99, ms "
        "| CPU, µs per request | of HAProxy's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in sorted(records, key=lambda r: (r["workers"], r["connections"])):
        base = by.get(("haproxy", r["workers"], r["connections"]))
        direct = r["proxy"] == "direct"
        rate = f"{r['rate'] / base['rate']:.2f}" if base else ""
        cpu = f"{r['cpu_us'] / base['cpu_us']:.2f}" if base and not direct else ""
        lines.append(
            f"| {r['workers']} | {r['connections']} | {r['proxy']} | {r['rate']:,.0f} | {rate} "
            f"| {r['p50_ms']:.2f} | {r['p99_ms']:.2f} | {'' if direct else r['cpu_us']} | {cpu} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Start, load, show."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=RIVALS)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    missing = [name for name in ("wrk", "haproxy", "nginx") if not shutil.which(name)]
    if missing:
        raise SystemExit(f"install Debian's packages {', '.join(missing)}")
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # nginx's workers are of another user
        records = compete(options, Path(folder))
    print(table(records))
    print(f"\nload average {before:.1f} before, {os.getloadavg()[0]:.1f} after")
    if options.json:
        options.json.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
