"""What ``slipway new`` makes of a file's columns and rows, and what it refuses."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from slipway import expectations, spec
from slipway.errors import DataError, Refused
from slipway.new import lay_down, pack
from slipway.new.columns import Roles, look

ROWS = 240


def _table(**columns: object) -> pd.DataFrame:
    """A learnable table: a number, a text, and a target of 0 and 1, with columns added."""
    number = np.arange(ROWS) % 17 * 0.5
    base = {"size": number, "colour": ["red", "blue", "green"] * (ROWS // 3), "y": number > 3}
    return pd.DataFrame({**base, "y": base["y"].astype(int), **columns})


def _csv(folder: Path, table: pd.DataFrame) -> Path:
    path = folder / "mine.csv"
    table.to_csv(path, index=False)
    return path


def _parquet(folder: Path, table: pd.DataFrame) -> Path:
    path = folder / "mine.parquet"
    table.to_parquet(path)
    return path


@pytest.mark.parametrize("write", [_csv, _parquet])
def test_kinds_are_inferred(tmp_path, write):
    """Numbers with gaps are numbers and words are texts, in CSV and Parquet alike."""
    gaps = [None if i % 9 == 0 else i / 7 for i in range(ROWS)]
    found = look(write(tmp_path, _table(gaps=gaps)), Roles("y"))
    assert found.features == {"size": "number", "colour": "text", "gaps": "number"}
    assert found.target.two_valued
    assert not found.target.needs_loader


def test_codes_in_csv_stay_text(tmp_path):
    """A CSV column with leading zeros holds codes, which are no numbers."""
    codes = [f"0{i % 5}" for i in range(ROWS)]
    assert look(_csv(tmp_path, _table(code=codes)), Roles("y")).features["code"] == "text"


def test_useless_columns_are_left_out_with_reasons(tmp_path):
    """Empty, constant, unique and date columns are left out, each with its reason."""
    table = _table(
        empty=[None] * ROWS,
        same=["x"] * ROWS,
        row=range(1000, 1000 + ROWS),
        token=[f"t{i}" for i in range(ROWS)],
        day=pd.date_range("2025-01-01", periods=ROWS).strftime("%Y-%m-%d"),
        price=["n/a" if i == 5 else i * 1.5 for i in range(ROWS)],
    )
    left_out = look(_csv(tmp_path, table), Roles("y")).left_out
    assert left_out == {
        "empty": "it is empty",
        "same": "it is x in every row",
        "row": "another whole number in every row: an id",
        "token": f"{ROWS} different texts in {ROWS} rows: ids or free text",
        "day": "dates: derive numbers from it, such as the weekday",
        "price": "numbers, but for 'n/a': mend the file",
    }


def test_roles_are_no_features(tmp_path):
    """The target, time and unit columns are not among the features."""
    table = _table(day=pd.date_range("2025-01-01", periods=ROWS), who=[i % 40 for i in range(ROWS)])
    found = look(_parquet(tmp_path, table), Roles("y", "day", "who"))
    assert set(found.features) == {"size", "colour"}


@pytest.mark.parametrize(
    ("target", "labels"),
    [
        (["no", "no", "yes"], {"no": 0, "yes": 1}),
        (["a", "b", "a"], {"a": 0, "b": 1}),
        (["True", "False", "True"], {"False": 0, "True": 1}),
        ([1, 2, 2], {1.0: 0, 2.0: 1}),
    ],
)
def test_two_values_become_labels(tmp_path, target, labels):
    """Of two values the one that says yes, is larger, or else is rarer, counts as 1."""
    found = look(_csv(tmp_path, _table(y=target * (ROWS // 3))), Roles("y")).target
    assert found.labels == labels
    assert found.two_valued
    assert found.needs_loader


def test_a_number_with_gaps_is_a_regression_with_a_loader(tmp_path):
    """A target of many numbers is a regression; rows without one need a loader to leave them."""
    target = [None if i == 3 else i * 1.5 for i in range(ROWS)]
    found = look(_csv(tmp_path, _table(y=target)), Roles("y")).target
    assert not found.two_valued
    assert (found.unknown, found.needs_loader) == (1, True)
    assert found.size == pytest.approx(0.99 * 239 * 1.5, abs=1)


REFUSED = [
    ({"y": [1] * ROWS}, "the target 'y' has one value, 1\n"),
    ({"y": [None] * ROWS}, "the target 'y' is empty"),
    ({"y": ["a", "b", "c"] * 80}, "the target 'y' holds text of 3 kinds"),
    ({"y": [1] + [0] * 239}, "the target 'y' is 1 in only 1 of 240 rows; at least 20"),
    ({"y": [0, 1] * 90 + [None] * 60}, "180 rows with a target; at least 200"),
    ({"size": [1] * ROWS, "colour": ["x"] * ROWS}, "no column is left to learn from: size"),
]


@pytest.mark.parametrize(("columns", "message"), REFUSED)
def test_data_that_cannot_be_learnt_is_refused(tmp_path, columns, message):
    """Each kind of unlearnable data has its own message, and no folder is made."""
    data = _csv(tmp_path, _table(**columns))
    with pytest.raises(DataError, match=message):
        lay_down("mine", data, "y", "", "", tmp_path / "out")
    assert list(tmp_path.iterdir()) == [data]


def test_missing_columns_are_named_together(tmp_path):
    """Every column with a role that the file lacks is named, with those it has."""
    with pytest.raises(DataError, match="no column 'z', 'when'") as caught:
        look(_csv(tmp_path, _table()), Roles("z", "when"))
    assert "size, colour, y" in caught.value.do


def test_another_separator_is_pointed_out(tmp_path):
    """A file of one column with semicolons in its name gets the hint that helps."""
    path = tmp_path / "mine.csv"
    _table().to_csv(path, index=False, sep=";")
    with pytest.raises(DataError) as caught:
        look(path, Roles("y"))
    assert caught.value.do == "the file seems to be separated by ';': save it with commas"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "there is no such data file"),
        ("mine.xlsx", b"PK", "ending '.xlsx' is not known"),
        ("empty.csv", b"", "cannot be read"),
        ("fake.parquet", b"not parquet at all", "cannot be read"),
        ("binary.csv", bytes(range(256)), "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, name, content, message):
    """A file that is missing or is neither CSV nor Parquet is refused by name."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        look(tmp_path / name, Roles("y"))
    assert caught.value.where.endswith(name)


def _typed() -> pd.DataFrame:
    table = _table(gaps=[np.nan if i % 4 else i / 3 for i in range(ROWS)], n=range(ROWS))
    return table.astype({"y": "float64", "n": "float64"})


FEATURES = {"size": "number", "colour": "text", "gaps": "number"}


def test_the_fixed_rows_are_the_newest():
    """With a time column the last fifth is frozen, and the reason says since when."""
    rows = _typed().assign(at=pd.date_range("2025-01-01", periods=ROWS, tz="UTC"))
    fixed, why = pack.choose_fixed(rows, "y", "at", two_valued=True)
    assert list(fixed.index) == list(range(192, 240))
    assert why == "the newest rows, since 2025-07-12T00:00:00+00:00"


def test_the_fixed_rows_hold_a_rare_class():
    """By hash, and where the newest rows are of one class, both classes are frozen."""
    rows = _typed().assign(y=[1.0] * 20 + [0.0] * 220)
    rows["at"] = pd.date_range("2025-01-01", periods=ROWS, tz="UTC")
    for time in ("", "at"):
        fixed, why = pack.choose_fixed(rows, "y", time, two_valued=True)
        assert fixed["y"].value_counts().to_dict() == {0.0: 44, 1.0: 10}
        assert why.startswith("by a hash")


def test_the_choice_does_not_depend_on_the_order():
    """The same rows in another order freeze the same ones, and duplicates only once."""
    rows = _typed()
    first, _ = pack.choose_fixed(rows, "y", "", two_valued=False)
    again = pd.concat([rows[::-1], rows], ignore_index=True)
    second, _ = pack.choose_fixed(again, "y", "", two_valued=False)
    assert sorted(first["n"]) == sorted(second["n"])
    assert len(first) == ROWS // 5


def test_rows_that_do_not_differ_are_refused():
    """Rows that are the same but for the target cannot be kept apart from the training data."""
    rows = _typed()[["size", "colour", "y"]]
    with pytest.raises(DataError, match="only 51 rows differ in more than the target") as caught:
        pack.choose_fixed(rows, "y", "", two_valued=True)
    assert caught.value.do == "name the columns that tell rows apart: --time, --unit"


def test_the_suite_bounds_every_feature():
    """Each feature and the target is in the suite, within a range that has slack."""
    suite = pack.suite("mine", _typed(), FEATURES, "y")
    columns = {e["kwargs"].get("column") for e in suite["expectations"]}
    assert columns == {None, "y", *FEATURES}
    size = next(e["kwargs"] for e in suite["expectations"] if e["kwargs"].get("column") == "size")
    assert (size["min_value"], size["max_value"]) == (-0.8, 8.8)
    json.dumps(suite, allow_nan=False)


def test_the_edge_cases_are_whole_requests():
    """The generic cases cover unseen, missing, extreme and refused requests, as plain JSON."""
    must = {"between": [0, 1]}
    cases = pack.edge_cases(_typed(), FEATURES, must, "2026-01-02")
    assert [c["name"] for c in cases if c["must"] == must] == [
        "a typical row",
        "nothing is known",
        "colour was never seen",
        "every number at its smallest",
        "every number at its largest",
    ]
    assert [c["name"] for c in cases if c["must"] == {"refused": True}] == [
        "size is left out",
        "an unknown column",
        "a text in size",
    ]
    assert cases[1]["input"] == dict.fromkeys(FEATURES)
    json.dumps(cases, allow_nan=False)


def test_bounds_lie_between_the_model_and_a_guess():
    """A good model's bounds are half-way to a guess, and there is no warning."""
    truth = [0.0, 1.0] * 50
    found, weak = pack.bounds([0.1, 0.9] * 50, truth, two_valued=True, mean=0.5)
    assert (found["auc"], found["min_auc"], weak) == (1.0, 0.75, "")
    found, weak = pack.bounds([0.1, 0.9] * 50, truth, two_valued=False, mean=0.5)
    assert (found["rmse"], found["guess"], found["max_rmse"], weak) == (0.1, 0.5, 0.3, "")


def test_a_model_that_knows_nothing_is_refused_by_its_bounds():
    """Where the default model does no better than a guess, no bound lets it pass."""
    truth = [0.0, 1.0] * 50
    found, weak = pack.bounds([0.5] * 100, truth, two_valued=True, mean=0.5)
    assert found["min_auc"] > found["auc"]
    assert "a coin's is 0.5" in weak
    found, weak = pack.bounds([2.0] * 100, truth, two_valued=False, mean=0.5)
    assert found["max_rmse"] < found["rmse"]
    assert weak


def test_a_giveaway_is_found():
    """A number that follows the target nearly exactly is named with its correlation."""
    rows = _typed().assign(later=lambda t: t["y"] * 2 + 1)
    assert pack.giveaways(rows, {**FEATURES, "later": "number"}, "y") == {"later": 1.0}


def test_a_folder_is_whole(tmp_path):
    """A laid-down folder holds spec, trainer and pack, and nothing of the trial that proved it."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=300)
    table = pd.DataFrame({"x": x, "kind": rng.choice(["a", "b"], 300), "y": x * 1000 + 5000})
    told: list[str] = []
    folder = lay_down(
        "mine", _parquet(tmp_path, table), "y", "", "", tmp_path / "deep" / "mine", say=told.append
    )
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    pack_files = ("edge_cases.jsonl", "fixed_set.csv", "fixed_set.toml", "gates.toml", "suite.json")
    expected = ["README.md", *(f"expectations/mine/{n}" for n in pack_files)]
    assert files == [*expected, "slipway.yaml", "train.py"]
    assert [p.name for p in folder.parent.iterdir()] == ["mine"]
    declared = spec.load(folder)
    assert declared.bundle.tolerance == pytest.approx(
        1e-5 * table["y"].abs().quantile(0.99), rel=1e-4
    )
    read = expectations.load(declared.pack)
    assert read.fixed_set.rows == 60
    assert [gate.metric for gate in read.offline] == ["rmse", "rmse", "latency_p99_ms"]
    assert any("'x' follows 'y' (correlation 1" in line for line in told)


def test_a_failed_trial_leaves_nothing(tmp_path, tmp_path_factory, monkeypatch):
    """Data that only the snapshot can refuse leave no folder, and the reason is told."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("logs")))
    data = _csv(tmp_path, _table(when=["01/02/2025"] * 120 + ["02/02/2025"] * 120))
    with pytest.raises(DataError, match="the column 'when' holds '01/02/2025' in row 0: no time"):
        lay_down("mine", data, "y", "when", "", tmp_path / "out", say=lambda line: None)
    assert list(tmp_path.iterdir()) == [data]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    """A file where the folder's parent should be gives one clear refusal."""
    table = _table(n=[i / 2 for i in range(ROWS)])
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="the folder cannot be written") as caught:
        lay_down("mine", _csv(tmp_path, table), "y", "", "", tmp_path / "file" / "x", say=str)
    assert "file" in caught.value.where
