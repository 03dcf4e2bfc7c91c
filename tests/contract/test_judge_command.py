"""``slipway judge`` by itself: a file of observations, a file of gates, an answer."""

from __future__ import annotations

import csv
import json
import math
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from slipway.cli import main

GATES = """
[policy]
alpha = 0.05
on_inconclusive = "rollback"

[[gate]]
metric = "error"
kind = "guardrail"
type = "rate"
direction = "lower"
margin = { relative = 0.0 }
min_units = 100
missing = "not_measured"
"""
MORE = """
[[gate]]
metric = "latency"
kind = "guardrail"
type = "quantile"
q = 0.9
direction = "lower"
margin = { relative = 0.1 }

[[gate]]
metric = "score"
kind = "signal"
type = "mean"
direction = "higher"
low = 0
high = 1
margin = { absolute = 0.05 }
"""
HEAD = ("time", "arm", "unit", "error", "latency", "score")


class Done(NamedTuple):
    """What a run left behind."""

    returncode: int
    stdout: str
    stderr: str


Judge = Callable[..., Done]


def table(path: Path, rows: Sequence[Sequence[Any]], head: Sequence[str] = HEAD) -> Path:
    """Write a CSV file."""
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([head, *rows])
    return path


def observed(
    n: int = 4000, rate: float = 0.05, seed: int = 1, arms: Sequence[str] = ("candidate",)
) -> list[list[Any]]:
    """Stable errs at 1 %, the others at ``rate``; each unit keeps its arm."""
    rng, rows = random.Random(seed), []
    for i in range(n):
        unit = rng.randrange(n)
        arm = arms[unit // 5 % len(arms)] if unit % 5 == 0 else "stable"
        error = int(rng.random() < (0.01 if arm == "stable" else rate))
        latency = round(math.exp(rng.gauss(3.0, 0.5)), 3)
        score = "" if rng.random() < 0.1 else round(rng.betavariate(4, 2), 4)
        rows.append([i * 0.5, arm, f"u{unit}", error, latency, score])
    return rows


@pytest.fixture
def judge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Judge:
    """The command as a person runs it, in a folder of its own."""
    (tmp_path / "gates.toml").write_text(GATES)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["slipway", "judge", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        seen = capsys.readouterr()
        return Done(int(ended.value.code or 0), seen.out, seen.err)

    return run


def told(done: Done) -> dict[str, Any]:
    """The JSON answer of a run that could judge."""
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_the_answer_has_the_documented_form(judge: Judge, tmp_path: Path) -> None:
    """Outcome, when, looks, units, and each gate with its figures."""
    table(tmp_path / "seen.csv", observed())
    answer = told(judge("seen.csv", "--gates", "gates.toml", "--json"))
    assert answer["outcome"] == "fail"
    assert (answer["decided_at"], answer["looks"]) == (1999.5, 1)
    assert set(answer["units"]) == {"stable", "candidate"}
    (gate,) = answer["gates"]
    assert (gate["metric"], gate["kind"], gate["outcome"]) == ("error", "guardrail", "worse")
    assert gate["interval"][0] > 0.0
    assert gate["interval"][0] < gate["effect"] < gate["interval"][1]
    assert gate["e_value"] >= 20.0
    assert gate["units"] == [answer["units"]["stable"], answer["units"]["candidate"]]
    assert "worse" in gate["reason"]


def test_a_replay_ends_at_the_look_that_decides(judge: Judge, tmp_path: Path) -> None:
    """Each row, every hundred rows, every minute: decided earlier, the finer one looks."""
    table(tmp_path / "seen.csv", observed())
    run = ("seen.csv", "--gates", "gates.toml", "--json", "--looks")
    each, rows, minutes = (told(judge(*run, how)) for how in ("each", "every:100", "every:60s"))
    for answer in (each, rows, minutes):
        assert answer["outcome"] == "fail"
    assert each["decided_at"] <= min(rows["decided_at"], minutes["decided_at"])
    assert each["looks"] == each["decided_at"] / 0.5 + 1
    assert rows["looks"] == (rows["decided_at"] / 0.5 + 1) / 100
    assert minutes["looks"] == minutes["decided_at"] / 60


def test_a_replay_s_last_look_says_what_one_look_says(judge: Judge, tmp_path: Path) -> None:
    """Summed row by row or by DuckDB, from CSV or from Parquet: the same figures."""
    import duckdb

    (tmp_path / "gates.toml").write_text(GATES + MORE)
    table(tmp_path / "seen.csv", observed(rate=0.01))
    parquet = tmp_path / "seen.parquet"
    duckdb.execute(f"COPY (FROM '{tmp_path}/seen.csv') TO '{parquet}'")
    once = told(judge("seen.csv", "--gates", "gates.toml", "--json"))
    again = told(judge("seen.parquet", "--gates", "gates.toml", "--json"))
    replayed = told(judge("seen.csv", "--gates", "gates.toml", "--json", "--looks", "every:3999"))
    for other in (again, replayed):
        for a, b in zip(once["gates"], other["gates"], strict=True):
            assert a["outcome"] == b["outcome"]
            for key in ("effect", "e_value", "units", "margin"):
                assert a[key] == pytest.approx(b[key], rel=1e-6), (a["metric"], key)
            assert a["interval"] == pytest.approx(b["interval"], abs=1e-4)


@pytest.mark.parametrize(
    "more",
    ["coverage = 0.99", 'missing = "fail"', "maturity = 1500", "maturity = 1e6", ""],
)
def test_a_replay_waits_and_counts_as_one_look_does(
    judge: Judge, tmp_path: Path, more: str
) -> None:
    """Whoever asks for a picture gets the same verdict: late and missing values count alike."""
    gates = GATES.replace('missing = "not_measured"', more)
    (tmp_path / "gates.toml").write_text(gates)
    rows = observed(rate=0.01)
    for number, row in enumerate(rows):
        row[3] = row[3] if number % 3 and "fail" not in more else ""
    table(tmp_path / "seen.csv", rows)
    run = ("seen.csv", "--gates", "gates.toml", "--json")
    once = told(judge(*run))
    replayed = told(judge(*run, "--looks", "every:1000000"))
    assert (once["outcome"], once["reason"]) == (replayed["outcome"], replayed["reason"])
    assert once["gates"][0]["units"] == replayed["gates"][0]["units"]


def test_a_baseline_may_have_any_name(judge: Judge, tmp_path: Path) -> None:
    """A quote in it is no SQL."""
    (tmp_path / "gates.toml").write_text(GATES + MORE)
    rows = [[*row[:1], "it's" if row[1] == "stable" else row[1], *row[2:]] for row in observed()]
    table(tmp_path / "seen.csv", rows)
    answer = told(judge("seen.csv", "--gates", "gates.toml", "--json", "--baseline", "it's"))
    assert answer["outcome"] == "fail"


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_rate_may_be_told_as_true_and_false(judge: Judge, tmp_path: Path, kind: str) -> None:
    """As 1 and 0 are, empty where there is no value."""
    import duckdb

    word = {0: "false", 1: "true", "": ""}
    rows = [[*r[:3], "" if i % 7 == 0 else r[3]] for i, r in enumerate(observed())]
    table(tmp_path / "seen.csv", rows, HEAD[:4])
    table(tmp_path / "told.csv", [[*r[:3], word[r[3]]] for r in rows], HEAD[:4])
    duckdb.execute(f"COPY (FROM '{tmp_path}/told.csv') TO '{tmp_path}/told.parquet'")
    words, numbers = (
        told(judge(name, "--gates", "gates.toml", "--json"))["gates"][0]
        for name in (f"told.{kind}", "seen.csv")
    )
    assert words["reason"] == numbers["reason"]
    assert words["effect"] == pytest.approx(numbers["effect"])


def test_exit_codes_tell_the_outcome_only_if_asked(judge: Judge, tmp_path: Path) -> None:
    """0 whatever the outcome; with --exit-code 1 fail, 3 inconclusive, 4 not measured."""
    table(tmp_path / "bad.csv", observed())
    table(tmp_path / "same.csv", observed(rate=0.01))
    table(tmp_path / "none.csv", [[*row[:3], "", *row[4:]] for row in observed()])
    for name, code in (("bad", 1), ("same", 3), ("none", 4)):
        assert judge(f"{name}.csv", "--gates", "gates.toml").returncode == 0
        assert judge(f"{name}.csv", "--gates", "gates.toml", "--exit-code").returncode == code


def test_moments_are_told_as_moments(judge: Judge, tmp_path: Path) -> None:
    """A file with dates gets dates back."""
    rows = observed()
    for row in rows:
        minute, second = divmod(int(row[0]), 60)
        row[0] = f"2013-04-01 10:{minute:02d}:{second:02d}"
    table(tmp_path / "seen.csv", rows)
    answer = told(judge("seen.csv", "--gates", "gates.toml", "--json"))
    assert answer["decided_at"] == "2013-04-01T10:33:19+00:00"


def test_a_parquet_file_may_tell_moments_as_text(judge: Judge, tmp_path: Path) -> None:
    """As many tools write them: with the zone they were told in."""
    import duckdb

    table(tmp_path / "seen.csv", observed())
    at = "strftime(to_timestamp(time) AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%S.%f+02:00') AS time"
    duckdb.execute(
        f"COPY (SELECT * REPLACE ({at}) FROM '{tmp_path}/seen.csv') TO '{tmp_path}/seen.parquet'"
    )
    answer = told(judge("seen.parquet", "--gates", "gates.toml", "--json"))
    assert answer["decided_at"] == "1969-12-31T22:33:19.500000+00:00"


def test_a_name_that_looks_like_a_pattern_is_one_file(judge: Judge, tmp_path: Path) -> None:
    """A star in it is a star."""
    table(tmp_path / "s*.csv", observed())
    table(tmp_path / "seen.csv", observed(rate=0.01))
    assert told(judge("s*.csv", "--gates", "gates.toml", "--json"))["looks"] == 1


def test_a_look_at_each_row_makes_as_many_looks(judge: Judge, tmp_path: Path) -> None:
    """The last row's is the last look, and no other one comes after it."""
    table(tmp_path / "seen.csv", observed(n=300, rate=0.01))
    run = ("seen.csv", "--gates", "gates.toml", "--json", "--looks")
    for looks, count in (("each", 300), ("every:100", 3), ("every:299", 2)):
        assert told(judge(*run, looks))["looks"] == count


def test_several_candidates_share_alpha(judge: Judge, tmp_path: Path) -> None:
    """Each is judged against the baseline; the worst is told first."""
    table(tmp_path / "seen.csv", observed(n=9000, arms=("b", "c"), rate=0.05))
    answer = told(judge("seen.csv", "--gates", "gates.toml", "--json"))
    assert set(answer["candidates"]) == {"b", "c"}
    assert answer["outcome"] == "fail"
    for candidate in answer["candidates"].values():
        assert candidate["gates"][0]["alpha"] == pytest.approx(0.025)
    other = told(judge("seen.csv", "--gates", "gates.toml", "--json", "--baseline", "b"))
    assert other["arms"]["stable"] == "b"


GOAL = """
[[gate]]
metric = "click"
kind = "goal"
type = "rate"
direction = "higher"
margin = { relative = 0.0 }
"""


@pytest.mark.parametrize("looks", [[], ["--looks", "every:2000"]])
def test_several_candidates_with_a_goal_have_standings(
    judge: Judge, tmp_path: Path, looks: list[str]
) -> None:
    """One that is better than stable and than the others wins; the others are told by whom."""
    rng, rows = random.Random(2), []
    chances = {"stable": 0.2, "b": 0.2, "c": 0.4}
    for i in range(9000):
        arm = rng.choice(list(chances))
        rows.append([i, arm, f"u{i}", int(rng.random() < chances[arm])])
    table(tmp_path / "seen.csv", rows, ("time", "arm", "unit", "click"))
    (tmp_path / "gates.toml").write_text(GOAL)
    answer = told(judge("seen.csv", "--gates", "gates.toml", "--json", *looks))
    assert [(s["member"], s["place"]) for s in answer["standings"]] == [("c", "wins"), ("b", "out")]
    assert (answer["outcome"], answer["arms"]["candidate"]) == ("pass", "c")
    assert answer["standings"][0]["against"]["b"]["outcome"] == "better"
    assert answer["standings"][0]["against"]["b"]["alpha"] == pytest.approx(0.05 / 4)
    assert answer["candidates"]["c"]["gates"][0]["alpha"] == pytest.approx(0.05 / 4)
    shown = judge("seen.csv", "--gates", "gates.toml", *looks).stdout
    assert "standings\n  1  c: wins: click" in shown
    assert "2  b: out: worse than c: click" in shown


def test_a_person_reads_the_outcome_and_its_reason(judge: Judge, tmp_path: Path) -> None:
    """Without --json: a few lines of words."""
    table(tmp_path / "seen.csv", observed())
    done = judge("seen.csv", "--gates", "gates.toml")
    assert "candidate against stable: fail at look 1, decided at 1999.5" in done.stdout
    assert "guardrail worse" in done.stdout


def test_the_plot_is_a_picture(judge: Judge, tmp_path: Path) -> None:
    """A PNG with a panel for each gate."""
    (tmp_path / "gates.toml").write_text(GATES + MORE)
    table(tmp_path / "seen.csv", observed())
    done = judge("seen.csv", "--gates", "gates.toml", "--plot", "seen.png", "--looks", "every:400")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "seen.png").read_bytes().startswith(b"\x89PNG")


FINE = [[0, "stable", "a", 0, 1, 0.5], [1, "candidate", "b", 1, 2, 0.5]]


@pytest.mark.parametrize(
    ("rows", "message", "help_"),
    [
        ([FINE[1]], "there is no arm 'stable'", "the file's arms are candidate"),
        ([FINE[0]], "there is one arm only, 'stable'", "at least one other arm"),
        ([], "the file has no rows", "give it observations"),
        ([*FINE, [2, "stable", "c", -1, 1, 0]], "'error' has the value -1 in row 3", "0 or 1"),
        ([*FINE, [2, "stable", "c", "NaN", 1, 0]], "'error' has the value nan in row 3", "0 or 1"),
        ([*FINE, [2, "stable", "c", 0.5, 1, 0]], "'error' has the value 0.5 in row 3", "0 or 1"),
        (
            [*FINE, [2, "stable", "c", 0, -3, 0]],
            "'latency' has the value -3 in row 3",
            "at least 0",
        ),
        ([*FINE, [2, "stable", "c", 0, 1e300, 0]], "the value 1e+300 in row 3", "at most 1e+60"),
        (
            [*FINE, ["noon", "stable", "c", 0, 1, 0]],
            "line 4, column time: 'noon' is no number",
            "such as 2026-01-31T12:00:00Z",
        ),
        (
            [["noon", *row[1:]] for row in FINE],
            "column time: 'noon' is no moment",
            "such as 2026-01-31T12:00:00Z",
        ),
        (
            [["2026-02-30T12:00:00Z", *row[1:]] for row in FINE],
            "column time: '2026-02-30T12:00:00Z' is no moment",
            "such as 2026-01-31T12:00:00Z",
        ),
        ([*FINE, [2, "stable", "c", 0, 1, 2]], "'score' has the value 2 in row 3", "at most 1"),
        ([*FINE, [2, "stable", "b", 0, 1, 0]], "unit 'b' is in two arms", "keeps its arm"),
        (
            [[1767225600000 + row[0], *row[1:]] for row in FINE],
            "a time is 1767225600001, which is no number of seconds",
            "divide milliseconds by 1e3",
        ),
        ([*FINE, [0.5, "stable", "c", 0, 1, 0]], "times are out of order: row 3", "sort"),
        (
            [[i, "candidate" if i >= 300 else "stable", i, 0, 1, 0] for i in range(400)],
            "had 0 % of the 40 new units to 40, and 100 % of the 40 new units from 320 to 360",
            "judge each span with its own shares by itself",
        ),
        ([*FINE, ["", "stable", "c", 0, 1, 0]], "1 of 3 rows lack a finite time", "fill"),
        ([*FINE, [2, "", "c", 0, 1, 0]], "lack a finite time, an arm", "fill them in"),
        ([*FINE, ["inf", "stable", "c", 0, 1, 0]], "1 of 3 rows lack a finite time", "fill"),
        (
            [*FINE, [2, "stable", "c", "no", 1, 0]],
            "line 4, column error: 'no' is no number",
            "mend the file",
        ),
        ([*FINE, [2, "stable", "c", 0, 1, 0, 7]], "line 4 has 7 fields, and the header 6", "field"),
        ([*FINE, [2, "stable", "c", 0]], ": line 4 has 4 fields, and the header 6", "by commas"),
    ],
)
def test_bad_rows_get_one_clear_error(
    judge: Judge, tmp_path: Path, rows: list[list[Any]], message: str, help_: str
) -> None:
    """What, where and what to do; exit code 2; no answer."""
    (tmp_path / "gates.toml").write_text(GATES + MORE)
    table(tmp_path / "seen.csv", rows)
    done = judge("seen.csv", "--gates", "gates.toml", "--json")
    assert done.returncode == 2
    assert message in done.stderr
    assert help_ in done.stderr
    assert "seen.csv" in done.stderr
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        (GATES.replace('"error"', '"crashes"'), "unknown metric crashes"),
        (GATES.replace("relative = 0.0", "relative = -0.1"), "gate.0.margin.relative: found -0.1"),
        (GATES.replace("0.05", "1.5"), "policy.alpha: found 1.5"),
        (
            GATES.replace("[policy]", "[policy]\nshares = { stable = 0.9, canary = 0.1 }"),
            "policy.shares says nothing of candidate",
        ),
        ("[policy]\nalpha = 0.05\n", "gate: there is none"),
        ("[policy", "the gates cannot be read"),
    ],
)
def test_bad_gates_get_one_clear_error(
    judge: Judge, tmp_path: Path, gates: str, message: str
) -> None:
    """Exit code 2, and the fault by its path."""
    (tmp_path / "gates.toml").write_text(gates)
    table(tmp_path / "seen.csv", FINE)
    done = judge("seen.csv", "--gates", "gates.toml")
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gone.csv", "--gates", "gates.toml"), "there is no such file"),
        (("twice.csv", "--gates", "gates.toml"), "the header names error twice"),
        (("seen.csv", "--gates", "gates.toml", "--plot", "no/x.png"), "the picture has no place"),
        (("seen.csv", "--gates", "gates.toml", "--plot", "x.jpg"), "ends in .png"),
        (("seen.txt", "--gates", "gates.toml"), "this is none"),
        (("seen.csv", "--gates", "gone.toml"), "the gates cannot be read"),
        (("seen.csv",), "--gates"),
        (("seen.csv", "--gates", "gates.toml", "--looks", "often"), "'often' does not say when"),
        (("seen.csv", "--gates", "gates.toml", "--looks", "every:0"), "does not say when"),
        (("seen.csv", "--gates", "gates.toml", "--looks", "every:1e-320s"), "does not say when"),
        (("seen.csv", "--gates", "gates.toml", "--looks", "every:infs"), "does not say when"),
        (("clock.parquet", "--gates", "gates.toml"), "column time holds TIME, and no times"),
        (("empty.csv", "--gates", "gates.toml"), "the file is empty"),
        (("short.csv", "--gates", "gates.toml"), "the file has no column arm, unit"),
    ],
)
def test_wrong_usage_gets_one_clear_error(
    judge: Judge, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    """Missing files, options and columns: exit code 2."""
    table(tmp_path / "seen.csv", FINE)
    table(tmp_path / "seen.txt", FINE)
    table(tmp_path / "short.csv", [[1, 0]], ("time", "error"))
    table(tmp_path / "twice.csv", FINE, ("time", "arm", "unit", "error", "error", "score"))
    (tmp_path / "empty.csv").write_text("")
    import duckdb

    clock = "SELECT TIME '10:00' AS time, 'stable' AS arm, 'a' AS unit, 0 AS error"
    duckdb.execute(f"COPY ({clock}) TO '{tmp_path}/clock.parquet'")
    done = judge(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_byte_order_mark_and_an_empty_word_are_no_tracebacks(
    judge: Judge, tmp_path: Path
) -> None:
    """Some editors write the mark; '--looks ""' says nothing of when to look."""
    table(tmp_path / "seen.csv", observed(400))
    (tmp_path / "marked.toml").write_text(GATES, encoding="utf-8-sig")
    assert judge("seen.csv", "--gates", "marked.toml").returncode == 0
    done = judge("seen.csv", "--gates", "gates.toml", "--looks", "")
    assert done.returncode == 2
    assert "does not say when to look" in done.stderr
