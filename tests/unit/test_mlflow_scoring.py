"""MLflow's scoring protocol: every form of a table, and every way to get it wrong."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.release import Column
from slipway.serving.protocols import mlflow_scoring
from slipway.serving.signature import BadInput, Signature

SIGNATURE = Signature((Column("a", "number"), Column("b", "text")), max_rows=10)
TABLE = {"a": [1.5, None], "b": ["x", "y"]}


def decode(body, content_type="application/json"):
    """Decode a body given as bytes or as JSON values."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return mlflow_scoring.decode(content_type, raw, SIGNATURE)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1.5, "x"], [None, "y"]]}},
        {
            "dataframe_split": {
                "columns": ["b", "a"],
                "index": [7, 8],
                "data": [["x", 1.5], ["y", None]],
            }
        },
        {"dataframe_records": [{"a": 1.5, "b": "x"}, {"b": "y", "a": None}]},
        {"instances": [{"a": 1.5, "b": "x"}, {"a": None, "b": "y"}]},
        {"inputs": [{"a": 1.5, "b": "x"}, {"a": None, "b": "y"}]},
        {"inputs": TABLE},
        {"inputs": TABLE, "params": {"p": 1}, "unit": "N14228"},
    ],
)
def test_every_form_is_the_same_table(body):
    """The four forms, and keys beside them, decode to one table."""
    assert decode(body) == TABLE


def test_csv_is_read_by_the_signature():
    """A CSV cell is a number where the signature says so, and nothing is missing."""
    body = b'a,b\r\n1.5,x\r\n,"y, ""z"""\r\n'
    expected = {"a": [1.5, None], "b": ["x", 'y, "z"']}
    assert decode(body, "text/csv") == expected


@pytest.mark.parametrize("content_type", ["application/json; charset=UTF-8", "Application/JSON"])
def test_the_content_type_is_read_leniently(content_type):
    """Case and a UTF-8 charset make no difference."""
    assert decode({"inputs": TABLE}, content_type) == TABLE


@pytest.mark.parametrize(
    "content_type",
    ["", "application/pdf", "application/json; charset=latin-1", "application/json; x=y"],
)
def test_another_content_type_is_415(content_type):
    """What is not UTF-8 JSON or CSV by its own word is not read."""
    with pytest.raises(BadInput) as caught:
        decode({"inputs": TABLE}, content_type)
    assert caught.value.status == 415


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "not JSON"),
        (b"this is,,,, not valid json", "not JSON"),
        (b'{"inputs": {"a": [NaN]}}', "not JSON"),
        (b'{"inputs": {"a": [1e999]}}', "out of range - at `$.inputs"),
        (b'{"inputs": {"a": ["\xff"]}}', "not JSON"),
        (1, "Expected `object`, got `int`"),
        ("1", "Expected `object`, got `str`"),
        ([1], "Expected `object`, got `array`"),
        ({}, "the body has no table"),
        ({"not": "a table"}, "the body has no table"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "the body has no table"),
        (
            {"dataframe_records": [], "dataframe_split": {"columns": [], "data": []}},
            "the body has dataframe_split and dataframe_records",
        ),
        ({"dataframe_split": [{"a": 1}]}, "got `array` - at `$.dataframe_split`"),
        ({"dataframe_split": {"data": [[1]]}}, "missing required field `columns`"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": []}}, "a column is named twice"),
        ({"dataframe_split": {"columns": ["a"], "data": [1]}}, "at `$.dataframe_split.data[0]`"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2]]}}, "row 1 has 1 val"),
        ({"dataframe_records": {"a": 1}}, "got `object` - at `$.dataframe_records`"),
        ({"dataframe_records": [{"a": 1, "b": "x"}, {"a": 1}]}, "column b is in some rows"),
        ({"instances": [[5.1, 3.5]]}, "got `array` - at `$.instances[0]`"),
        ({"inputs": {"a": 1}}, "Expected `array`, got `int` - at `$.inputs"),
        ({"inputs": {"a": [1], "b": []}}, "differ in length"),
        ({"inputs": "a"}, "got `str` - at `$.inputs`"),
    ],
)
def test_a_broken_body_is_told_in_one_sentence(body, named):
    """Each broken body is 400 with a sentence that names the fault and what to do."""
    with pytest.raises(BadInput) as caught:
        decode(body)
    assert caught.value.status == 400
    assert named in caught.value.what
    assert caught.value.do


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "empty"),
        (b"a,b\n1.5\n", "row 0 has 1 values for 2 columns"),
        (b"a,b\nfar,x\n", "row 0 has text: 'far'"),
        (b"a,b\n1_0,x\n", "row 0 has text: '1_0'"),
        (b"a,a\n1,2\n", "named twice"),
        (b'a,b\n1,"x\n', "not CSV"),
        (b"a,b\n1,\xff\n", "not CSV"),
    ],
)
def test_broken_csv_is_told_in_one_sentence(body, named):
    """Each broken CSV is 400 with a sentence that names the fault."""
    with pytest.raises(BadInput) as caught:
        decode(body, "text/csv")
    assert named in caught.value.what


def test_an_error_serves_both_kinds_of_clients():
    """The error's body has our three parts and MLflow's two keys."""
    body = json.loads(mlflow_scoring.encode_error(BadInput("a", where="b", do="c")))
    assert body == {
        "error": {"what": "a", "where": "b", "do": "c"},
        "error_code": "BAD_REQUEST",
        "message": "a\n  where: b\n  do:    c",
    }


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["dataframe_split", "inputs", "instances", "columns", "data", "a", "b"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(json_values)
def test_no_json_breaks_the_decoder(value):
    """Any JSON is either a table of even columns or the caller's fault, and nothing else."""
    try:
        table = decode(value)
    except BadInput:
        return
    assert len({len(values) for values in table.values()}) <= 1
