"""Files whose shares changed are refused; those whose users merely behave differently are not."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from slipway.errors import UsageError
from slipway.gates import parse
from slipway.observations import read
from slipway.steady import require_steady

GATE = {"metric": "error", "kind": "guardrail", "type": "rate", "direction": "lower"}
GATES = parse({"gate": [{**GATE, "margin": {"relative": 0.0}}]})

Row = tuple[float, str, int]
"""When, of which arm and unit."""


def refused(path: Path, rows: Iterable[Row]) -> str:
    """What is told of a file of these rows, put in order of time, or nothing."""
    with path.open("w", newline="") as file:
        told = csv.writer(file)
        told.writerow(["time", "arm", "unit", "error"])
        told.writerows([*row, 0] for row in sorted(rows, key=lambda row: row[0]))
    try:
        require_steady(read(path, GATES, "stable"))
    except UsageError as error:
        return f"{error.what}; {error.do}"
    return ""


def visits(seed: int, spread: Callable[[random.Random, str], list[float]]) -> list[Row]:
    """Two thousand users, a fifth of them the candidate's, and when each of them comes."""
    rng, rows = random.Random(seed), []
    for unit in range(2000):
        arm = "candidate" if rng.random() < 0.2 else "stable"
        rows += [(at, arm, unit) for at in spread(rng, arm)]
    return rows


def test_an_arm_that_began_late_is_refused(tmp_path: Path) -> None:
    """It is told when the arm had which part of the new users, and what to do."""
    rows = [
        (at, arm, unit)
        for at, arm, unit in visits(1, lambda rng, _: [1000 * rng.random() for _ in range(10)])
        if arm == "stable" or at > 800
    ]
    told = refused(tmp_path / "late.csv", rows)
    assert "the shares of the arms changed: 'candidate' had 0 % of the" in told
    assert ", and 100 % of the" in told
    assert "judge each span with its own shares by itself" in told


def test_a_share_that_grew_is_refused(tmp_path: Path) -> None:
    """From a fiftieth to a half, of users who come once."""
    rng = random.Random(2)
    rows = [
        (unit, "candidate" if rng.random() < (0.5 if unit >= 2000 else 0.02) else "stable", unit)
        for unit in range(4000)
    ]
    assert "'candidate' had" in refused(tmp_path / "ramp.csv", rows)


def test_an_arm_that_ended_early_is_refused(tmp_path: Path) -> None:
    """One of three that got no new users after the first half."""
    arms = ("stable", "b", "c")
    rows = [(unit, arms[unit % (3 if unit < 1500 else 2)], unit) for unit in range(3000)]
    assert "'c' had" in refused(tmp_path / "ended.csv", rows)


def heavy(rng: random.Random, _: str) -> list[float]:
    """A few users come hundreds of times, each in one go."""
    began = rng.random()
    return [began + i * 1e-6 for i in range(min(int(rng.paretovariate(0.8)), 500))]


def less_often(rng: random.Random, arm: str) -> list[float]:
    """Whoever was there before comes by chance, and to the candidate half as often."""
    at, found = 0.0, []
    while (at := at + rng.expovariate(4.0 if arm == "candidate" else 8.0)) < 1.0:
        found.append(at)
    return found


def leaves(rng: random.Random, arm: str) -> list[float]:
    """Users of the candidate soon come no more."""
    life = 0.05 if arm == "candidate" else 0.5
    began = 0.5 * rng.random()
    return [began, *(began + rng.expovariate(1.0 / life) for _ in range(5))]


def once(rng: random.Random, _: str) -> list[float]:
    """Each comes once, on one of three days."""
    return [float(rng.randrange(3))]


@pytest.mark.parametrize("spread", [heavy, less_often, leaves, once])
@pytest.mark.parametrize("seed", [3, 4])
def test_users_may_behave_as_they_like(
    tmp_path: Path, spread: Callable[[random.Random, str], list[float]], seed: int
) -> None:
    """What they do after chance gave them an arm is no change of shares."""
    assert refused(tmp_path / "same.csv", visits(seed, spread)) == ""


def test_rows_of_one_moment_are_in_no_order(tmp_path: Path) -> None:
    """A file of two days that lists one arm after the other within each has not changed."""
    rows = [
        (float(day), arm, unit)
        for day in (0, 1)
        for arm in ("candidate", "stable")
        for unit in range(1000 * day, 1000 * day + 1000)
        if (unit % 4 == 0) == (arm == "candidate")
    ]
    assert refused(tmp_path / "days.csv", rows) == ""


def test_the_bound_on_a_draw_holds() -> None:
    """It is above the chance itself, of every draw without replacement."""
    from slipway.steady import _Part

    total, mine, drawn = 60, 24, 20
    chances = [
        math.comb(mine, k) * math.comb(total - mine, drawn - k) / math.comb(total, drawn)
        for k in range(drawn + 1)
    ]
    for k in range(drawn + 1):
        tail = sum(chances[k:] if k >= drawn * mine / total else chances[: k + 1])
        assert tail <= math.exp(-_Part(0, k, drawn, mine / total).log_e) * (1 + 1e-9)
