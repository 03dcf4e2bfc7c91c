"""Expectation packs: whole or not at all, and applied without mercy."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.errors import ExpectationError
from slipway.expectations import (
    EdgeCase,
    OfflineGate,
    Scored,
    check_edge_case,
    check_offline,
    figure,
    load,
)
from slipway.release import digest_bytes

ROWS = b"distance,late\n1,0\n2,1\n"
CASE = {
    "name": "no weather",
    "input": {"distance": 1.0, "visib": None},
    "must": {"between": [0, 1]},
    "why": "the sensor was down",
    "since": "2026-11-22",
}
GATES = """
[[offline]]
metric = "auc"
min = 0.7

[[gate]]
metric = "error"
kind = "guardrail"
type = "rate"
direction = "lower"
budget = 0.02
"""
FILES: dict[str, str] = {
    "suite.json": json.dumps({"expectations": [{"type": "expect_column_to_exist"}]}),
    "fixed_set.toml": f'file = "rows.csv"\ndigest = "{digest_bytes(ROWS)}"\nrows = 2\n',
    "edge_cases.jsonl": json.dumps(CASE) + "\n",
    "gates.toml": GATES,
}


def pack(folder: Path, **files: str | bytes) -> Path:
    """Lay down a whole pack, any of its files (by stem) replaced."""
    (folder / "rows.csv").write_bytes(ROWS)
    for name, text in FILES.items():
        content = files.get(name.split(".")[0], text)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def refused(folder: Path) -> str:
    """What the error says of a pack with faults."""
    with pytest.raises(ExpectationError) as caught:
        load(folder)
    assert caught.value.where == str(folder)
    assert caught.value.do
    return caught.value.what


def test_a_whole_pack_is_read(tmp_path: Path) -> None:
    """Suite, fixed dataset, edge cases, offline and live gates."""
    read = load(pack(tmp_path))
    assert read.fixed_set.rows == 2
    assert read.edge_cases == (EdgeCase(**CASE),)
    assert read.offline == (OfflineGate("auc", "min", 0.7),)
    assert [g["metric"] for g in read.live["gate"]] == ["error"]


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    """Editors on Windows begin a file with one."""
    marked: dict[str, bytes] = {
        name.split(".")[0]: b"\xef\xbb\xbf" + text.encode() for name, text in FILES.items()
    }
    plain, odd = tmp_path / "plain", tmp_path / "odd"
    for folder in (plain, odd):
        folder.mkdir()
    assert load(pack(odd, **marked)).live == load(pack(plain)).live


@pytest.mark.parametrize("name", FILES)
def test_any_changed_byte_changes_the_digest(tmp_path: Path, name: str) -> None:
    """A report says exactly what a candidate was held against."""
    before = load(pack(tmp_path)).digest
    (tmp_path / name).write_text(FILES[name] + "\n")
    assert load(tmp_path).digest != before


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    """A model ships against expectations chosen in advance, or not at all."""
    (pack(tmp_path) / name).unlink()
    assert refused(tmp_path) == f"the expectation pack lacks {name}"


@pytest.mark.parametrize("at", range(len(ROWS)))
def test_a_changed_byte_of_the_fixed_dataset_is_refused(tmp_path: Path, at: int) -> None:
    """Each and every byte: the error gives the digest found and the one asked for."""
    changed = ROWS[:at] + bytes([ROWS[at] ^ 1]) + ROWS[at + 1 :]
    (pack(tmp_path) / "rows.csv").write_bytes(changed)
    told = refused(tmp_path)
    assert digest_bytes(changed) in told
    assert digest_bytes(ROWS) in told
    assert "the fixed dataset was changed" in told


def test_all_faults_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    """One run, one list."""
    told = refused(
        pack(tmp_path, suite="{}", fixed_set="rows = 2", edge_cases="", gates="[[gate]]\nx = 1")
    )
    for fault in (
        "suite.json: it holds no expectations",
        "fixed_set.toml: lacks file",
        "fixed_set.toml: lacks digest",
        "edge_cases.jsonl: it holds no cases",
        "gates.toml: it holds no [[offline]] gate",
        "gate.0.metric: missing",
        "gate.0.x: unknown",
    ):
        assert fault in told


def case(**changes: Any) -> str:
    """An edge case as a line, changed."""
    return json.dumps({**CASE, **changes})


def offline(text: str) -> str:
    """A gates file with one offline gate of this text."""
    return GATES.replace('metric = "auc"\nmin = 0.7', text)


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"suite": "[]"}, "suite.json: it holds no expectations"),
        ({"suite": '{"expectations": []}'}, "suite.json: it holds no expectations"),
        ({"suite": "{"}, "suite.json: cannot be read"),
        ({"suite": b"\xff"}, "suite.json: cannot be read"),
        ({"fixed_set": "x ="}, "fixed_set.toml: cannot be read"),
        ({"fixed_set": 'file="gone"\ndigest="d"\nrows=1'}, "the file 'gone' is not there"),
        ({"fixed_set": 'file="rows.csv"\ndigest="d"\nrows="many"'}, "rows: found 'many'"),
        ({"fixed_set": 'file="rows.csv"\ndigest="d"\nrows=0'}, "rows: found 0 (allowed: "),
        ({"edge_cases": "\n \n"}, "edge_cases.jsonl: it holds no cases"),
        ({"edge_cases": b"\xff"}, "edge_cases.jsonl: cannot be read"),
        ({"edge_cases": "{"}, "edge_cases.jsonl:1: cannot be read"),
        ({"edge_cases": "[1]"}, "edge_cases.jsonl:1: found [1] (allowed: exactly name, input"),
        ({"edge_cases": '{"name": "x"}'}, "found ['name'] (allowed: exactly name, input, must"),
        ({"edge_cases": case(extra=1)}, "(allowed: exactly name, input, must, why, since)"),
        ({"edge_cases": case(why=" ")}, "why: found ' ' (allowed: "),
        ({"edge_cases": case(input=[])}, "input: found [] (allowed: an object"),
        ({"edge_cases": case(must={})}, "must: found {} (allowed: at least one of between"),
        ({"edge_cases": case(must={"shine": 1})}, "must shine (allowed: between, finite"),
        ({"edge_cases": case(must={"between": [1]})}, "must between: found [1] (allowed: [low"),
        ({"edge_cases": case(must={"between": [2, 1]})}, "must between: found [2, 1]"),
        ({"edge_cases": case(must={"finite": False})}, "must finite: found False (allowed: true)"),
        ({"edge_cases": case(must={"refused": False})}, "must refused: found False"),
        ({"edge_cases": case(must={"refused": True, "finite": True})}, "refused, and answered"),
        ({"edge_cases": case(must={"same_as": {}})}, "must same_as: found {}"),
        ({"edge_cases": case(must={"same_as": {"change": {}, "slack": 1}})}, "must same_as: found"),
        ({"edge_cases": case(must={"not_lower_than": {"change": 1}})}, "not_lower_than: found"),
        ({"edge_cases": f"{case()}\n{case()}"}, "jsonl:2: the name 'no weather' is taken"),
        ({"gates": "x ="}, "gates.toml: cannot be read"),
        ({"gates": GATES.split("[[gate]]", maxsplit=1)[0]}, "gate: there is none"),
        ({"gates": "offline = 1\n" + GATES.split("min = 0.7")[1]}, "it holds no [[offline]] gate"),
        ({"gates": offline('metric = "luck"\nmin = 1')}, "offline.0.metric: found 'luck'"),
        ({"gates": offline("min = 1")}, "offline.0.metric: found None (allowed: accuracy, auc"),
        ({"gates": offline('metric = "auc"')}, "offline.0: has 0 bounds (allowed: one of min, max"),
        ({"gates": offline('metric = "auc"\nmin = 0\nmax = 1')}, "offline.0: has 2 bounds"),
        ({"gates": offline('metric = "auc"\nmin = nan')}, "offline.0.min: found nan"),
        ({"gates": offline('metric = "auc"\nmin = "much"')}, "offline.0.min: found 'much'"),
        ({"gates": offline('metric = "auc"\nmin = 1\nby = "x"')}, "offline.0: unknown key 'by'"),
        ({"gates": offline('metric = "auc"\nmin = 1\nmin_rows = 0')}, "0.min_rows: found 0"),
    ],
)  # fmt: skip
def test_every_fault_names_its_place_and_what_is_allowed(
    tmp_path: Path, files: dict[str, Any], fault: str
) -> None:
    """A pack that does not hold together is never half read."""
    assert fault in refused(pack(tmp_path, **files))


# Edge cases


def checked(must: dict[str, Any], mine: float | None, other: float | None = None) -> str:
    """The outcome of a case whose request is answered ``mine``, and ``other`` once changed."""
    told = EdgeCase("x", {"visib": 1.0}, must, "why", "2026")
    return check_edge_case(told, lambda row: mine if row["visib"] == 1.0 else other).outcome


CHANGE = {"change": {"visib": 9.0}}


@pytest.mark.parametrize(
    ("must", "mine", "other", "outcome"),
    [
        ({"between": [0, 1]}, 0.0, None, "pass"),
        ({"between": [0, 1]}, 1.1, None, "fail"),
        ({"between": [0, 1]}, None, None, "fail"),
        ({"between": [0, 1]}, math.nan, None, "fail"),
        ({"finite": True}, 0.5, None, "pass"),
        ({"finite": True}, math.inf, None, "fail"),
        ({"finite": True}, None, None, "fail"),
        ({"refused": True}, None, None, "pass"),
        ({"refused": True}, 0.5, None, "fail"),
        ({"not_lower_than": {**CHANGE, "slack": 0.1}}, 0.4, 0.5, "pass"),
        ({"not_lower_than": {**CHANGE, "slack": 0.05}}, 0.4, 0.5, "fail"),
        ({"not_lower_than": CHANGE}, math.nan, 0.5, "fail"),
        ({"not_lower_than": CHANGE}, 0.5, math.nan, "fail"),
        ({"not_lower_than": CHANGE}, 0.5, None, "fail"),
        ({"not_higher_than": {**CHANGE, "slack": 0.125}}, 0.625, 0.5, "pass"),
        ({"not_higher_than": CHANGE}, 0.6, 0.5, "fail"),
        ({"not_higher_than": CHANGE}, math.nan, 0.5, "fail"),
        ({"same_as": CHANGE}, 0.5, 0.5, "pass"),
        ({"same_as": {**CHANGE, "tolerance": 0.25}}, 0.5, 0.75, "pass"),
        ({"same_as": {**CHANGE, "tolerance": 0.1}}, 0.5, 0.75, "fail"),
        ({"same_as": CHANGE}, math.inf, math.inf, "fail"),
        ({"finite": True, "between": [0.6, 1]}, 0.5, None, "fail"),
    ],
)
def test_each_demand_of_an_edge_case(
    must: dict[str, Any], mine: float | None, other: float | None, outcome: str
) -> None:
    """Kept or broken; and an answer that is no number keeps none of them."""
    assert checked(must, mine, other) == outcome


@pytest.mark.parametrize("must", ["not_lower_than", "not_higher_than", "same_as", "between"])
@given(st.one_of(st.none(), st.sampled_from([math.nan, math.inf, -math.inf])))
def test_no_demand_is_kept_by_what_is_no_number(must: str, mine: float | None) -> None:
    """Fail closed: refused, NaN and the infinities never pass for an answer."""
    demand: Any = [0, 1] if must == "between" else CHANGE
    assert checked({must: demand}, mine, mine) == "fail"


def test_a_broken_edge_case_says_by_how_much() -> None:
    """All broken demands are in the reason, with the figures."""
    told = EdgeCase("fog", {"visib": 1.0}, {"between": [0.6, 1], "same_as": CHANGE}, "why", "2026")
    result = check_edge_case(told, lambda row: 0.5 if row["visib"] == 1.0 else 0.25)
    assert result.name == "edge case: fog"
    assert "the answer 0.5000 is outside 0.6 to 1" in result.reason
    assert "0.5000 must be same as 0.2500" in result.reason


# Offline gates


PERFECT = Scored([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], {"carrier": ["UA", "UA", "B6", "B6"]}, 12.0)


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("accuracy", 1.0),
        ("brier", 0.025),
        ("mae", 0.15),
        ("rmse", math.sqrt(0.025)),
        ("calibration_error", 0.15),
        ("latency_p99_ms", 12.0),
    ],
)
def test_each_figure_by_hand(metric: str, value: float) -> None:
    """Four rows whose figures anyone can check on paper."""
    assert figure(metric, PERFECT) == pytest.approx(value)


@pytest.mark.parametrize("answers", [[], [math.nan] * 4, [0.5, 0.5, math.inf, 0.5]])
def test_what_cannot_be_measured_is_none_and_not_measured(answers: list[float]) -> None:
    """No rows, or answers that are no numbers: never a pass."""
    scored = Scored(answers, [0, 0, 1, 1][: len(answers)], {})
    assert figure("brier", scored) is None
    assert check_offline(OfflineGate("brier", "max", 1.0), scored, None).outcome == "not_measured"


@pytest.mark.parametrize(
    ("gate", "outcome"),
    [
        (OfflineGate("brier", "max", 0.025), "pass"),
        (OfflineGate("brier", "max", 0.0249), "fail"),
        (OfflineGate("accuracy", "min", 1.0), "pass"),
        (OfflineGate("accuracy", "min", 1.01), "fail"),
    ],
)
def test_a_bound_is_kept_or_broken(gate: OfflineGate, outcome: str) -> None:
    """On the bound itself it is kept."""
    assert check_offline(gate, PERFECT, None).outcome == outcome


def test_a_comparison_without_stable_is_no_baseline() -> None:
    """The first release has nothing to compare with, and the reason says so in those words."""
    result = check_offline(OfflineGate("brier", "not_worse_than_stable", 0.0), PERFECT, None)
    assert (result.outcome, result.reason.split(":")[0]) == ("pass", "no baseline")


@pytest.mark.parametrize(
    ("metric", "theirs", "outcome"),
    [
        ("brier", [0.1, 0.2, 0.8, 0.9], "pass"),
        ("brier", [0.0, 0.0, 1.0, 1.0], "fail"),
        ("accuracy", [0.9, 0.2, 0.8, 0.9], "pass"),
        ("brier", [math.nan] * 4, "not_measured"),
    ],
)
def test_not_worse_than_stable_knows_which_way_is_better(
    metric: str, theirs: list[float], outcome: str
) -> None:
    """Lower is better for errors, higher for accuracy; an unmeasured stable is not measured."""
    stable = Scored(theirs, PERFECT.truth, PERFECT.slices)
    gate = OfflineGate(metric, "not_worse_than_stable", 0.01)
    assert check_offline(gate, PERFECT, stable).outcome == outcome


def test_the_worst_slice_is_judged_and_named() -> None:
    """A good average does not hide a bad slice; small slices are counted, not judged."""
    slices = {"carrier": ["UA", "UA", "B6", "B6", "YV"]}
    scored = Scored([0, 0, 0, 1, 0.0], [0, 0, 1, 1, 1.0], slices)
    gate = OfflineGate("accuracy", "min", 0.75, slice="carrier", min_rows=2)
    result = check_offline(gate, scored, None)
    assert result.outcome == "fail"
    assert "worst carrier 'B6': 0.5000" in result.reason
    assert "1 with too few rows left out" in result.reason


@pytest.mark.parametrize(("column", "rows"), [("carrier", 3), ("airport", 1)])
def test_slices_that_cannot_be_judged_are_not_measured(column: str, rows: int) -> None:
    """No slice with enough rows, or no such column: never a pass."""
    gate = OfflineGate("accuracy", "min", 0.0, slice=column, min_rows=rows)
    assert check_offline(gate, PERFECT, None).outcome == "not_measured"


def test_a_timing_is_told_and_kept_out_of_the_value() -> None:
    """Latency differs on every run; the digest of a report must not."""
    result = check_offline(OfflineGate("latency_p99_ms", "max", 50.0), PERFECT, None)
    assert (result.outcome, result.value, result.observed) == ("pass", None, "12.00 ms")
