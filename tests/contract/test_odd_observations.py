"""Columns of Parquet files that hold what cannot be judged: refused in words, not misread."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from slipway.errors import UsageError
from slipway.gates import Gates, parse
from slipway.judge import observe
from slipway.observations import read
from slipway.verdict import Finding, judge

GATES: Gates = parse(
    {
        "gate": [
            {
                "metric": "wait",
                "kind": "guardrail",
                "type": "mean",
                "direction": "lower",
                "margin": {"absolute": 1},
            }
        ]
    }
)
P90 = parse(
    {
        "gate": [
            {
                "metric": "wait",
                "kind": "guardrail",
                "type": "quantile",
                "q": 0.9,
                "direction": "lower",
                "margin": {"absolute": 1},
            }
        ]
    }
)
SECONDS = [dt.timedelta(seconds=i) for i in (1, 2)]


def written(folder: Path, **columns: Any) -> Path:
    """A file of two rows with some columns of its own."""
    plain = {"time": [1, 2], "arm": ["stable", "candidate"], "unit": ["a", "b"], "wait": [1, 2]}
    path = folder / "seen.parquet"
    pyarrow.parquet.write_table(pyarrow.table({**plain, **columns}), path)
    return path


@pytest.mark.parametrize(
    ("columns", "what", "do"),
    [
        ({"time": SECONDS}, "column time holds duration[us], and no times", "give seconds as num"),
        ({"wait": SECONDS}, "column wait holds duration[us], and no numbers", "give numbers"),
        ({"wait": [[1], [2]]}, "column wait holds BIGINT[], and no numbers", "give numbers"),
        ({"wait": [{"a": 1}] * 2}, "column wait holds STRUCT(a BIGINT), and no", "give numbers"),
        ({"wait": [b"1", b"2"]}, "column wait holds BLOB, and no numbers", "give numbers"),
        ({"time": [True, False]}, "column time holds BOOLEAN, and no times", "give seconds as"),
        ({"file_row_number": [1, 2]}, "a column is named file_row_number", "another name"),
    ],
)
def test_odd_columns_are_refused(
    tmp_path: Path, columns: dict[str, Any], what: str, do: str
) -> None:
    """What the column is, and what to give instead."""
    with pytest.raises(UsageError) as caught:
        read(written(tmp_path, **columns), GATES, "stable")
    assert what in caught.value.what
    assert do in str(caught.value.do)


@pytest.mark.parametrize(
    "wait",
    [
        ["1", "2"],
        [True, False],
        pyarrow.array([1, 2], pyarrow.uint8()),
        pyarrow.array([1, 2], pyarrow.float32()),
        pyarrow.array([1, 2], pyarrow.decimal128(12, 2)),
        pyarrow.array(["1", "2"]).dictionary_encode(),
        [None, 2],
        [None, None],
    ],
)
def test_numbers_of_any_kind_are_read(tmp_path: Path, wait: Any) -> None:
    """And columns that no gate names may hold anything."""
    seen = read(written(tmp_path, wait=wait, other=[[1], [2]], waited=SECONDS), GATES, "stable")
    assert [row[:3] for row in seen.rows()] == [(1.0, "stable", "a"), (2.0, "candidate", "b")]


def test_a_quantile_of_zeros_is_0_and_no_better_than_one_of_zeros(tmp_path: Path) -> None:
    """A logarithm has no bin for 0; what is in the lowest one is told as 0, and is equal."""
    n = 6000
    zeros = written(
        tmp_path,
        time=list(range(n)),
        arm=["stable", "candidate"] * (n // 2),
        unit=[f"u{i}" for i in range(n)],
        wait=[0.0] * n,
    )
    (gate,) = judge(observe(read(zeros, P90, "stable"), "stable"), P90).gates
    assert gate.outcome is Finding.NO_WORSE
    assert "wait p90 0 against stable's 0 (+0" in gate.reason


def test_a_quantile_of_few_rows_says_how_many_it_waits_for(tmp_path: Path) -> None:
    """Two rows of the 501 that a p90 needs are not none."""
    (gate,) = judge(observe(read(written(tmp_path), P90, "stable"), "stable"), P90).gates
    assert gate.outcome is Finding.NOT_MEASURED
    assert "waits for the first 501 values" in gate.reason
    assert "there are 2" in gate.reason
