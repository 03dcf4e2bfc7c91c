"""Freezing training data: what is refused, what is dropped, and what the bytes depend on."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from slipway.child.snapshot import take
from slipway.errors import DataError

ROWS = pd.DataFrame(
    {
        "carrier": ["UA", "AA", "007", "NA", "UA", "AA"],
        "temp": [30.5, None, 41.0, 28.25, 30.1, 55.0],
        "late": [0, 1, 0, 1, 1, 0],
        "departs": [f"2013-01-0{day}T10:00:00Z" for day in (1, 2, 3, 4, 5, 6)],
        "tailnum": ["N1", "N2", "N1", None, "N3", "N2"],
        "unused": range(6),
    }
)


@pytest.fixture
def request_of(tmp_path: Path) -> Any:
    """Makes a snapshot request on a CSV file of the given rows."""

    def make(rows: pd.DataFrame, **changed: Any) -> dict[str, Any]:
        rows.to_csv(tmp_path / "rows.csv", index=False)
        request = {
            "folder": str(tmp_path),
            "source": "csv",
            "params": {"path": "rows.csv"},
            "from": "",
            "until": "",
            "features": [{"name": "carrier", "kind": "text"}, {"name": "temp", "kind": "number"}],
            "target": "late",
            "time": "departs",
            "unit": "tailnum",
            "fixed": "",
            "fixed_rows": "refuse",
            "out": str(tmp_path / "out"),
        }
        return {**request, **changed}

    return make


def test_a_snapshot_holds_the_declared_columns_in_order(request_of: Any) -> None:
    """Features, target, time and unit, each of its kind; whatever else the source has is left."""
    told = take(request_of(ROWS))
    frozen = pd.read_parquet(told["path"])
    kinds = {c["name"]: c["kind"] for c in told["columns"]}
    assert list(frozen.columns) == list(kinds)
    assert kinds == {
        **{"carrier": "text", "temp": "number", "late": "number"},
        **{"departs": "time", "tailnum": "text"},
    }
    assert told["rows"] == len(frozen) == 6
    assert (told["time_from"], told["time_to"]) == (
        "2013-01-01T10:00:00+00:00",
        "2013-01-06T10:00:00+00:00",
    )


def test_text_stays_as_written_and_missing_text_is_empty(request_of: Any) -> None:
    """``007`` is no seven, a carrier named ``NA`` is not missing, and no unit is an empty one."""
    frozen = pd.read_parquet(take(request_of(ROWS))["path"])
    assert list(frozen["carrier"]) == ["UA", "AA", "007", "NA", "UA", "AA"]
    assert list(frozen["tailnum"]) == ["N1", "N2", "N1", "", "N3", "N2"]
    assert frozen["temp"].isna().sum() == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_source_leaves_no_trace(request_of: Any, seed: int) -> None:
    """The same rows in another order, in another file, are the same bytes."""
    told = take(request_of(ROWS))
    shuffled = ROWS.sample(frac=1.0, random_state=seed)
    assert take(request_of(shuffled))["content"] == told["content"]


def test_one_changed_value_is_another_digest(request_of: Any) -> None:
    """The content digest names the data."""
    changed = ROWS.assign(temp=ROWS["temp"].replace(55.0, 55.000001))
    assert take(request_of(ROWS))["content"] != take(request_of(changed))["content"]


def test_the_range_begins_with_its_first_moment_and_ends_before_its_last(request_of: Any) -> None:
    """Bounds without a zone are UTC, and one with a zone is that very moment."""
    request = request_of(ROWS, **{"from": "2013-01-02T05:00-05:00", "until": "2013-01-05 10:00"})
    assert list(pd.read_parquet(take(request)["path"])["departs"].dt.day) == [2, 3, 4]


def test_fixed_rows_are_dropped_where_the_spec_says_so(request_of: Any, tmp_path: Path) -> None:
    """The same features, time and unit is the same row: also with missing values in it."""
    ROWS.iloc[[1, 3]].to_csv(tmp_path / "fixed.csv", index=False)
    request = request_of(ROWS, fixed=str(tmp_path / "fixed.csv"), fixed_rows="drop")
    told = take(request)
    assert (told["rows"], told["dropped"]) == (4, 2)
    assert list(pd.read_parquet(told["path"])["departs"].dt.day) == [1, 3, 5, 6]


def test_an_overlap_with_the_fixed_rows_is_refused_otherwise(
    request_of: Any, tmp_path: Path
) -> None:
    """A model is never tested on what it learnt."""
    ROWS.iloc[[1, 3]].to_csv(tmp_path / "fixed.csv", index=False)
    with pytest.raises(DataError, match="2 rows of the fixed dataset are in the training data"):
        take(request_of(ROWS, fixed=str(tmp_path / "fixed.csv")))


FAULTS: dict[str, tuple[pd.DataFrame, str]] = {
    "a missing column": (ROWS.drop(columns="temp"), "the data has no column 'temp'"),
    "no rows": (ROWS.iloc[:0], "the data is empty"),
    "one class": (ROWS.assign(late=1), "the target 'late' is 1 in all 6 rows"),
    "a feature without values": (ROWS.assign(temp=None), "'temp' is missing in all 6 rows"),
    "text without values": (ROWS.assign(carrier=None), "'carrier' is missing in all 6 rows"),
    "words in a number": (ROWS.assign(temp="cold"), "'temp' holds 'cold' in row 0: no number"),
    "infinity": (ROWS.assign(temp=float("inf")), "'temp' holds 'inf' in row 0: not finite"),
    "a missing target": (
        ROWS.assign(late=[0, 1, None, 1, 0, 1]),
        "'late' holds 'nan' in row 2: missing, in the target",
    ),
    "no time": (
        ROWS.assign(departs=["soon", *ROWS["departs"][1:]]),
        "'departs' holds 'soon' in row 0: no time",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_data_that_cannot_be_trained_on_is_refused(request_of: Any, fault: str) -> None:
    """Each fault names the column, the value and the row, and leaves no snapshot behind."""
    rows, what = FAULTS[fault]
    request = request_of(rows)
    with pytest.raises(DataError) as raised:
        take(request)
    assert what in raised.value.what
    assert raised.value.do
    assert not (Path(request["out"]) / "snapshot.parquet").exists()


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"params": {}}, "the source 'csv' needs a path"),
        ({"params": {"path": "nowhere.csv"}}, "the data file cannot be read"),
        ({"params": {"path": "empty.csv"}}, "the data file cannot be read"),
        ({"source": "parquet"}, "the data file cannot be read"),
        ({"source": "source:as_list"}, "the source 'source:as_list' returned a list"),
        ({"time": "", "from": "2013-01-01"}, "a range was given, but no time column"),
    ],
)
def test_a_source_that_gives_no_table_is_refused(
    request_of: Any, tmp_path: Path, changed: dict[str, Any], what: str
) -> None:
    """A wrong path, an empty file, a file of another form, and a loader without a table."""
    (tmp_path / "empty.csv").touch()
    (tmp_path / "source.py").write_text("def as_list(*, params, since, until):\n    return []\n")
    with pytest.raises(DataError) as raised:
        take(request_of(ROWS, **changed))
    assert what in raised.value.what
