"""CSV files that pandas would read as something else than their header says."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.child.table import read
from slipway.errors import DataError

FAULTY = {
    "a field too many in every row": (b"id,x,y\n1,2,0,9\n2,3,1,9\n", "more fields than its header"),
    "a field too many in one row": (b"id,x,y\n1,2,0\n2,3,1,9\n", "line 3 has 4 fields"),
    "a name that stands twice": (b"id,x,x\n1,2,0\n", "the header names 'x' twice"),
    "latin-1": ("id,x,y\n1,M\u00fcnchen,0\n".encode("latin-1"), "not text in UTF-8"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_what_would_be_learnt_from_wrongly_is_refused(case: str, tmp_path: Path) -> None:
    """Each in words of the file, not of the parser; nothing is shifted, renamed or guessed."""
    content, said = FAULTY[case]
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=said) as refused:
        read(path, {"x": "text"})
    assert refused.value.where == str(path)
    assert "header line, or a Parquet" not in refused.value.do


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    """Spreadsheets write one, and the first column would be called by it."""
    path = tmp_path / "data.csv"
    path.write_bytes(b"\xef\xbb\xbfid,x\n1,2\n")
    assert list(read(path, {}).columns) == ["id", "x"]
