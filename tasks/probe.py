"""Before any traffic: ask the very replicas that will serve, as users will.

A bundle that answered well as a process here may not in its container, on its node, under its
limits. So every replica answers real rows of the fixed dataset before a route may name it; the
same requests warm it up.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway.errors import RolloutError, SlipwayError
from slipway.expectations import Pack
from slipway.home import Home
from slipway.policy import Policy
from slipway.release import Candidate, Release, short
from slipway.routing import CANDIDATE
from slipway.spec import Spec
from tasks.ask import Client, fixed_rows, largest_gap
from tasks.record import ledger

SAMPLES = 200


@task(name="probe", cache_policy=NO_CACHE)
def probe(home: Home, spec: Spec, pack: Pack, candidate: Candidate, made: Release) -> None:
    """Ask every replica of a release sample rows of the fixed dataset.

    Raises:
        RolloutError: a replica does not answer, answers otherwise than the trained model did, is
            slower than the pack or the gateway's time budget allows, or holds more memory than its
            limit.
    """
    rows = fixed_rows(pack.fixed_set, spec).requests[:SAMPLES]
    expected = json.loads((Path(candidate.path) / "native_scores.json").read_text())[:SAMPLES]
    slowest, most = slowest_ms(spec, pack), most_mb(spec)
    endpoints = ledger(home).placed(made.id)
    told = [_ask(e, rows, expected, spec.bundle.tolerance, slowest, most) for e in endpoints]
    if not told:
        raise _refused("none is placed", short(made.id))
    gap, p99, memory = (max(t[n] for t in told) for n in range(3))
    get_run_logger().info(
        "%s answered %d sample rows within %.1e, p99 %.1f ms, with %.0f MB of memory",
        "1 replica" if len(told) == 1 else f"{len(told)} replicas",
        len(rows),
        gap,
        p99,
        memory,
    )


def slowest_ms(spec: Spec, pack: Pack) -> float:
    """The p99 that a replica may have: the pack's gates', and never more than the gateway waits."""
    gates = [g.limit for g in pack.offline if (g.metric, g.bound) == ("latency_p99_ms", "max")]
    return min((*gates, 1e3 * Policy.from_record(spec.serving).budget_seconds(CANDIDATE)))


def most_mb(spec: Spec) -> float:
    """The memory that a replica may hold; a plain process has no limit."""
    return inf if spec.runtime.kind == "process" else spec.runtime.limits.memory_mb


def _ask(
    endpoint: str,
    rows: Sequence[Mapping[str, Any]],
    expected: Sequence[float],
    tolerance: float,
    slowest: float,
    most: float,
) -> tuple[float, float, float]:
    """One replica's largest difference from the trained model, p99 in ms, and memory in MB."""
    client = Client(endpoint)
    try:
        answers = client.all(rows)
        p99 = client.p99_ms(rows)
        memory = client.memory_mb()
    except (SlipwayError, OSError, http.client.HTTPException) as error:
        raise _refused(f"it does not answer real requests: {error}", endpoint) from error
    finally:
        client.close()
    gap = largest_gap(answers, expected)
    if gap > tolerance:
        raise _refused(
            f"its answers differ from the trained model's by up to {gap:.1e}, where "
            f"{tolerance:.1e} is allowed",
            endpoint,
        )
    if p99 > slowest:
        raise _refused(f"its p99 is {p99:.1f} ms, where {slowest:g} are allowed", endpoint)
    if memory > most:
        raise _refused(f"it holds {memory:.0f} MB of memory, where {most:g} are allowed", endpoint)
    return gap, p99, memory


def _refused(why: str, where: str) -> RolloutError:
    return RolloutError(
        f"a replica failed its probe: {why}",
        where=where,
        do="see 'slipway logs'; no user has had it, and nothing was launched",
    )
