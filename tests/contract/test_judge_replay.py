"""``slipway judge`` look by look: what was seen when, by whatever way it is asked."""

from __future__ import annotations

import csv
import json
import random
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from slipway.gates import parse
from slipway.judge import command
from slipway.observations import read
from slipway.plot import figure
from slipway.replay import Looks, replay
from slipway.rounds import Trial

ERROR = """
[[gate]]
metric = "error"
kind = "guardrail"
type = "rate"
direction = "lower"
margin = { absolute = 0.02 }
"""
CLICK = """
[[gate]]
metric = "click"
kind = "goal"
type = "rate"
direction = "higher"
margin = { relative = 0.0 }
"""

Row = Sequence[Any]


def files(folder: Path, rows: Iterable[Row], gates: str) -> tuple[Path, Path]:
    """A file of rows of time, arm, unit, error and click, and a file of gates."""
    with (folder / "seen.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("time", "arm", "unit", "error", "click"), *rows])
    (folder / "gates.toml").write_text(gates)
    return folder / "seen.csv", folder / "gates.toml"


def judged(folder: Path, rows: Iterable[Row], gates: str, *more: str) -> dict[str, Any]:
    """The JSON answer, to nine digits: sums that threads add up end differently in their last."""
    seen, chosen = files(folder, rows, gates)
    done = CliRunner().invoke(command, [str(seen), "--gates", str(chosen), "--json", *more])
    assert done.exit_code == 0, done.output
    nine_digits = lambda text: float(f"{float(text):.9g}")  # noqa: E731
    answer: dict[str, Any] = json.loads(done.output, parse_float=nine_digits)
    return answer


def turning(arms: Sequence[str] = ("stable", "candidate"), n: int = 9000) -> list[Row]:
    """One user a second, who clicks in half of all cases; who came late has errors in the second
    arm."""
    rng, count = random.Random(5), len(arms)
    late = 0.7 * n
    return [
        (i, arms[i % count], i, int(i > late and i % count == 1), int(rng.random() < 0.5))
        for i in range(n)
    ]


def test_a_picture_changes_no_answer(tmp_path: Path) -> None:
    """Its looks pass before the errors come; the answer is that of the whole file all the same."""
    rows, plot = turning(), ("--plot", str(tmp_path / "seen.png"))
    assert judged(tmp_path, rows, ERROR, "--looks", "every:1000")["outcome"] == "pass"
    whole = judged(tmp_path, rows, ERROR)
    assert (whole["outcome"], whole["looks"]) == ("fail", 1)
    assert judged(tmp_path, rows, ERROR, *plot) == whole
    looks = ("--looks", "every:1000")
    assert judged(tmp_path, rows, ERROR, *looks, *plot) == judged(tmp_path, rows, ERROR, *looks)


@pytest.mark.parametrize("looks", [(), ("--looks", "every:300")])
def test_a_picture_changes_no_standings(tmp_path: Path, looks: tuple[str, ...]) -> None:
    """Of three arms, with and without looks."""
    rows, plot = league(6000), ("--plot", str(tmp_path / "seen.png"))
    told = judged(tmp_path, rows, CLICK, *looks)
    assert [s["place"] for s in told["standings"]] == ["wins", "out"]
    assert judged(tmp_path, rows, CLICK, *looks, *plot) == told


def test_the_picture_marks_the_first_decision_and_goes_on(tmp_path: Path) -> None:
    """In every panel, with what was decided; the intervals go on to the end of the file."""
    seen, chosen = files(tmp_path, turning(), ERROR + CLICK.replace("goal", "signal"))
    gates = parse(tomllib.loads(chosen.read_text()))
    found = read(seen, gates, "stable")
    trial = Trial(gates, "stable", ("candidate",))
    rounds = list(replay(found.rows(), found.measures, trial, Looks(rows=500), to_end=True))
    looks = [r.looks.get("candidate") or r.beside["candidate"] for r in rounds]
    (decided,) = (look for look in looks if look.settled)
    assert (looks[-1].at, looks[-1].settled) == (8999.0, None)
    drawn = figure({"candidate": looks[-1]}, {"candidate": looks}, gates, "stable", dated=False)
    error, click = drawn.axes
    assert (error.get_title(loc="left"), click.get_xlabel()) == ("error: worse", "time")
    for axis in (error, click):
        (line,) = (x for x in axis.lines if x.get_label() == "first decision: pass")
        assert set(line.get_xdata()) == {decided.at}
        bars = [x.get_ydata() for x in axis.lines if x.get_linewidth() == 3]
        assert all(high > low for low, high in bars)
        assert len(bars) == 2


def test_a_picture_of_an_open_verdict_marks_no_decision(tmp_path: Path) -> None:
    """Though one of its gates is sure: the other is not."""
    _, chosen = files(tmp_path, [], ERROR.replace("0.02", "0.3") + CLICK)
    gates = parse(tomllib.loads(chosen.read_text()))
    found = read(files(tmp_path, turning(n=900)[:600], chosen.read_text())[0], gates, "stable")
    trial = Trial(gates, "stable", ("candidate",))
    rounds = list(replay(found.rows(), found.measures, trial, Looks(rows=100), to_end=True))
    looks = [r.looks["candidate"] for r in rounds]
    assert [g.outcome for g in looks[-1].verdict.gates] == ["no_worse", "undecided"]
    drawn = figure({"candidate": looks[-1]}, {"candidate": looks}, gates, "stable", dated=True)
    labels = [x.get_label() for axis in drawn.axes for x in axis.lines]
    assert not [label for label in labels if "decision" in label]
    assert drawn.axes[-1].get_xlabel() == "time (UTC)"


def league(n: int) -> list[Row]:
    """Three arms by turns, of which the second has the most clicks."""
    rng, arms, rates = random.Random(6), ("stable", "a", "b"), (0.1, 0.35, 0.2)
    return [(i, arms[i % 3], i, 0, int(rng.random() < rates[i % 3])) for i in range(n)]


def test_a_league_is_decided_when_somebody_wins(tmp_path: Path) -> None:
    """The file cut there says the same, and cut at the look before it does not yet."""
    rows = league(6000)
    told = judged(tmp_path, rows, CLICK, "--looks", "every:300")
    assert (told["outcome"], told["arms"]["candidate"]) == ("pass", "a")
    count = int(told["decided_at"]) + 1
    assert told["looks"] == count / 300
    assert 600 < count < 6000
    assert judged(tmp_path, rows[:count], CLICK)["outcome"] == "pass"
    assert judged(tmp_path, rows[: count - 300], CLICK)["outcome"] == "inconclusive"


def test_a_member_that_fails_after_it_passed_is_out(tmp_path: Path) -> None:
    """A pass against stable decides nothing while another member is as good."""
    rows = [
        (at, arm, unit, error, int(unit % 10 < (1 if arm == "stable" else 5)))
        for at, arm, unit, error, _ in turning(("stable", "a", "b"))
    ]
    told = judged(tmp_path, rows, ERROR + CLICK, "--looks", "every:300")
    assert [(s["member"], s["place"]) for s in told["standings"]] == [("b", "wins"), ("a", "out")]
    assert told["candidates"]["a"]["outcome"] == "fail"
    assert 6300 < told["candidates"]["a"]["decided_at"] <= told["decided_at"]


def test_several_are_passed_when_the_last_of_them_is(tmp_path: Path) -> None:
    """Without a goal to compete for, each is decided by itself, and the last pass is told first."""
    rows = [(i, ("stable", "a", "b", "b")[i % 4], i, 0, 0) for i in range(4000)]
    told = judged(tmp_path, rows, ERROR, "--looks", "every:100")
    moments = {arm: one["decided_at"] for arm, one in told["candidates"].items()}
    assert told["outcome"] == "pass"
    assert told["decided_at"] == max(moments.values())


def test_a_look_comes_when_values_mature_though_no_row_does(tmp_path: Path) -> None:
    """A night without requests hides nothing of what the evening's labels say by then."""
    rows = [(i / 40, ("stable", "candidate")[i % 2], i, int(i % 6 == 1), 0) for i in range(4000)]
    rows += [(86400 + i, ("stable", "candidate")[i], 9000 + i, 0, 0) for i in (0, 1)]
    gates = ERROR + "maturity = 300\n"
    told = judged(tmp_path, rows, gates, "--looks", "every:60s")
    assert (told["outcome"], told["decided_at"], told["looks"]) == ("fail", 360, 6)
    seen = judged(tmp_path, [*rows[:4000], (360, "stable", 9000, 0, 0)], gates)
    assert told["gates"][0]["units"] == seen["gates"][0]["units"]
    late = judged(tmp_path, rows, ERROR + "maturity = 90000\n", "--looks", "every:60s")
    assert (late["outcome"], late["looks"]) == ("not_measured", 1441)


@pytest.mark.parametrize("looks", ["each", "every:1", "every:2", "every:3"])
def test_two_rows_are_looked_at_twice_at_most(tmp_path: Path, looks: str) -> None:
    """The last row's look is the last look."""
    rows = [(0, "stable", 0, 0, 0), (1, "candidate", 1, 0, 0)]
    told = judged(tmp_path, rows, ERROR, "--looks", looks)
    assert told["looks"] == (2 if looks in ("each", "every:1") else 1)
