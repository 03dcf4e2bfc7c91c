"""Exposure that follows evidence, beside fixed steps: harm, time to promotion, false holds.

    python benchmarks/exposure.py [--runs 200] [--rpm 600] [--hours 24]

A launch is simulated minute by minute, and judged each minute by ``slipway.verdict.judge`` on the
evidence of its step, with one guardrail on errors. Four ways to launch:

- *full margin*: steps of 1, 5, 25 and 50 %, each demanding the whole margin (0.5 points);
- *budget*: the same steps, each demanding budget / next share;
- *auto*: from 1 % on, the largest share that the evidence supports;
- *by the clock*: the same steps, ten minutes each, whatever the evidence says.

Told per way and fault: the launches promoted and rolled back, the median hours to promotion, and
the harm: errors beyond stable's rate over all users, per 100,000 requests of the hours until the
launch has ended (of the whole time, for one that never ends).
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from slipway.evidence import BINS, Evidence, Measured, Sums
from slipway.exposure import judge_step
from slipway.gates import Gates, parse
from slipway.lifecycle import Event
from slipway.plan import Plan
from slipway.rehearsal import Rehearsal
from slipway.rollout import Rollout
from slipway.strategies import resolve
from slipway.testing import plan
from slipway.verdict import Verdict, judge

BASE, BUDGET, LADDER = 0.005, 0.005, (0.01, 0.05, 0.25, 0.5)
STEP_SECONDS, LOOK_SECONDS = 600.0, 60.0
FAULTS = (0.0, 0.001, 0.0025, 0.01, 0.045)


@dataclass(frozen=True)
class Way:
    """A way to launch.

    Args:
        judged: whether it looks at the evidence at all.
    """

    name: str
    plan: Plan
    gates: Gates
    judged: bool = True


def _gates(demand: dict[str, Any]) -> Gates:
    gate = {"metric": "error", "kind": "guardrail", "type": "rate", "direction": "lower"}
    return parse({"gate": [{**gate, "min_units": 100, **demand}]})


def ways() -> list[Way]:
    """The four."""
    ladder = plan(LADDER, min_seconds=STEP_SECONDS, max_seconds=1e9)
    auto = plan(LADDER[:1], min_seconds=STEP_SECONDS, max_seconds=1e9, auto=True)
    budget = _gates({"budget": BUDGET})
    return [
        Way("full margin", ladder, _gates({"margin": {"absolute": BUDGET}})),
        Way("budget", ladder, budget),
        Way("auto", auto, budget),
        Way("by the clock", ladder, budget, judged=False),
    ]


@dataclass(frozen=True)
class Ended:
    """How a launch ended, after how long, and what it cost."""

    event: str
    hours: float
    harm: float


def launch(way: Way, fault: float, rpm: int, hours: float, random: np.random.Generator) -> Ended:
    """One launch of a candidate whose error rate is the base rate and a fault."""
    played = Rehearsal(way.plan)
    for name in ("A", "B"):
        played.release(name)
        played.tick()
    rollout = played.state.rollout
    assert rollout is not None
    seen, now, harm, passed = np.zeros((2, 2), int), rollout.since, 0.0, 0
    while now < rollout.opened_at + hours * 3600:
        now += LOOK_SECONDS
        seen += _minute(rollout.share, fault, rpm, random)
        harm, passed = harm + rollout.share * fault * rpm, passed + rpm
        event, share = _next(way, rollout, seen, now)
        if event in (Event.PROMOTED, Event.ROLLED_BACK):
            return Ended(str(event), (now - rollout.opened_at) / 3600, 1e5 * harm / passed)
        if event is Event.ADVANCED:
            rollout = replace(rollout, step=rollout.step + 1, share=share, since=now)
            seen = np.zeros((2, 2), int)
    return Ended("undecided", hours, 1e5 * harm / passed)


def _minute(share: float, fault: float, rpm: int, random: np.random.Generator) -> Any:
    """[stable, candidate] by [requests, errors] of one minute."""
    candidate = random.binomial(rpm, share)
    requests = (rpm - candidate, candidate)
    errors = [random.binomial(n, p) for n, p in zip(requests, (BASE, BASE + fault), strict=True)]
    return np.array(list(zip(requests, errors, strict=True)))


def _next(way: Way, rollout: Rollout, seen: Any, now: float) -> tuple[Event | None, float]:
    if not way.judged:
        over = now - rollout.since >= rollout.limits["min_seconds"]
        share = rollout.next_share
        return (Event.PROMOTED if share == 1.0 else Event.ADVANCED) if over else None, share
    evidence = _evidence(seen, rollout.share)

    def judge_at(share: float) -> Verdict:
        return judge(evidence, way.gates, next_share=share, part=rollout.part)

    state = Rehearsal(way.plan).state
    live = replace(state, rollout=rollout)
    step = resolve("canary").next(live, judge_step(rollout, judge_at), now)
    return step.event, step.share


def _evidence(seen: Any, share: float) -> Evidence:
    """Requests of as many users: sums of zeros and ones."""
    arms, units = {}, {}
    for name, (n, k) in zip(("stable", "candidate"), seen.tolist(), strict=True):
        bins = (float(n - k), *(0.0,) * (BINS - 1), float(k))
        y = float(k)
        sums = (float(n), y, y, y, float(n), y, y, y, y, float(n), y, y)
        arms[name], units[name] = Sums(n, k, *sums, bins=bins), n
    measured = {"error": Measured(0.0, 1.0, arms)}
    return Evidence(units, measured, {"stable": 1.0 - share, "candidate": share})


def table(runs: int, rpm: int, hours: float) -> list[str]:
    """The rows, as Markdown."""
    rows = [
        "| fault | way | promoted | rolled back | median hours | harm |",
        "|---|---|---|---|---|---|",
    ]
    for fault in FAULTS:
        for way in ways():
            random = np.random.default_rng(20_261_127)
            ended = [launch(way, fault, rpm, hours, random) for _ in range(runs)]
            rows.append(_row(fault, way.name, ended))
            print(rows[-1], flush=True)
    return rows


def _row(fault: float, name: str, ended: list[Ended]) -> str:
    def part(event: str) -> str:
        return f"{100 * sum(e.event == event for e in ended) / len(ended):.0f} %"

    hours = [e.hours for e in ended if e.event == "promoted"]
    median = f"{statistics.median(hours):.1f}" if hours else "-"
    harm = statistics.mean(e.harm for e in ended)
    cells = (f"+{100 * fault:g} points", name, part("promoted"), part("rolled_back"), median)
    return f"| {' | '.join(cells)} | {harm:.1f} |"


def main(parse_arguments: Callable[[], argparse.Namespace]) -> None:
    """Print the table."""
    options = parse_arguments()
    table(options.runs, options.rpm, options.hours)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--rpm", type=int, default=600)
    parser.add_argument("--hours", type=float, default=24.0)
    main(parser.parse_args)
