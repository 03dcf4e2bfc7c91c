"""The signature: what a request may hold, and how its faults are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.release import Column
from slipway.serving.signature import BadInput, Signature

SIGNATURE = Signature(
    (Column("distance", "number"), Column("carrier", "text"), Column("gust", "number", False)),
    max_rows=3,
)
GOOD = {"distance": [1.5], "carrier": ["UA"], "gust": [None]}


@pytest.mark.parametrize(
    ("change", "status", "named"),
    [
        ({"distance": None}, 400, "missing column: distance"),
        ({"speed": [1.0]}, 400, "unknown column: speed"),
        ({"distance": ["far"]}, 400, "column distance holds numbers, but row 0 has text: 'far'"),
        ({"distance": [True]}, 400, "column distance holds numbers, but row 0 has true or false"),
        ({"distance": [[1.0]]}, 400, "column distance holds numbers, but row 0 has a list"),
        ({"carrier": [7]}, 400, "column carrier holds texts, but row 0 has a number: '7'"),
        ({"distance": [1.0] * 4}, 413, "the request has 4 rows, and at most 3"),
        ({"distance": []}, 400, "the request has no rows"),
    ],
)
def test_a_fault_names_the_column(change, status, named):
    """Each fault is refused with its status and a sentence that names what is wrong."""
    table = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    with pytest.raises(BadInput) as caught:
        SIGNATURE.check(table)
    assert caught.value.status == status
    assert named in caught.value.what


def test_every_missing_column_is_named_at_once():
    """A caller who forgot two columns is told of both."""
    with pytest.raises(BadInput, match="missing columns: distance, carrier"):
        SIGNATURE.check({"gust": [1.0]})


def test_a_good_table_comes_back_in_the_signatures_order():
    """Columns are put in order, optional ones are filled in, missing texts become empty."""
    checked = SIGNATURE.check({"carrier": ["UA", None], "distance": [1, None]})
    assert list(checked.items()) == [
        ("distance", [1, None]),
        ("carrier", ["UA", ""]),
        ("gust", [None, None]),
    ]


cells = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "x"])
names = st.sampled_from(["distance", "carrier", "gust", "speed"])


@given(st.dictionaries(names, st.lists(cells, min_size=2, max_size=2)))
def test_whatever_passes_fits(table):
    """A table is either refused as the caller's fault or holds what the signature promises."""
    try:
        checked = SIGNATURE.check(table)
    except BadInput:
        return
    assert list(checked) == ["distance", "carrier", "gust"]
    assert all(type(v) in (int, float, type(None)) for v in checked["distance"] + checked["gust"])
    assert all(type(v) is str for v in checked["carrier"])
