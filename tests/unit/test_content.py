"""What the gateway reads of requests and answers, in MLflow's protocol and in V2."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.policy import Answer
from slipway.serving.content import AnswerCheck, BadRequestError, Scoring, score_of, single
from slipway.serving.content_v2 import OpenInference
from slipway.serving.prices import number_at

JSON = {b"content-type": b"application/json"}
ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": ROWS},
        {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}},
        {"dataframe_split": {"columns": ["a", "b"], "index": [7, 8], "data": [[1, "x"], [2, "y"]]}},
        {"instances": ROWS},
        {"inputs": ROWS},
        {"inputs": {"a": [1, 2], "b": ["x", "y"]}},
    ],
)
def test_every_form_of_a_scoring_request_gives_the_same_rows(body):
    """Rows are objects of column to value, however they were sent."""
    assert Scoring().rows(json.dumps(body).encode(), JSON) == ROWS


def test_columns_that_are_no_names_are_not_taken_for_names():
    """Remembering the columns of one request makes nothing else of the next one's."""
    for columns in (["a", "b"], [1, 2], ["b", "a"], [1, 2]):
        body = json.dumps({"dataframe_split": {"columns": columns, "data": [[1, "x"]]}}).encode()
        named = dict(zip(columns, [1, "x"], strict=True))
        expected = [[1, "x"]] if 1 in columns else [named]
        assert Scoring().rows(body, JSON) == expected


@pytest.mark.parametrize("body", [[], 3, {}, {"dataframe_split": []}, {"instances": 3}])
def test_another_shape_is_left_to_the_arm(body):
    """JSON of an unknown shape has no rows that the gateway knows of."""
    assert Scoring().rows(json.dumps(body).encode(), JSON) is None


@pytest.mark.parametrize("body", [b"", b"{", b"{'a': 1}", b"\xff", b'{"a": NaN}', b"{} {}"])
def test_what_is_not_json_is_refused(body):
    """The refusal is a 400 that says so."""
    with pytest.raises(BadRequestError, match="not JSON") as error:
        Scoring().rows(body, JSON)
    assert error.value.status == 400


@pytest.mark.parametrize("kind", [b"", b"text/plain", b"application/jsonx"])
def test_another_content_type_is_refused(kind):
    """The refusal is a 415 that names what was found."""
    with pytest.raises(BadRequestError, match="content type") as error:
        Scoring().rows(b"{}", {b"content-type": kind})
    assert error.value.status == 415


def test_csv_is_left_to_the_arm():
    """Only the arm's signature tells which cells are numbers: the gateway knows of no rows."""
    assert Scoring().rows(b"a,b\n1,x\n", {b"content-type": b"text/csv; charset=utf-8"}) is None


def test_a_charset_is_no_other_content_type():
    """Parameters and case of the content type do not matter."""
    body = json.dumps({"instances": ROWS}).encode()
    assert Scoring().rows(body, {b"content-type": b"Application/JSON; charset=utf-8"}) == ROWS


@given(st.binary(max_size=200))
def test_no_body_breaks_the_reader(body):
    """Whatever is sent is rows, unknown, or refused."""
    for dialect in (Scoring(), OpenInference()):
        try:
            assert isinstance(dialect.rows(body, JSON), (list, type(None)))
        except BadRequestError as error:
            assert error.status == 400


@given(st.binary(max_size=200))
def test_no_answer_breaks_the_reader(body):
    """Whatever an arm answers is predictions or a fault in one word."""
    for dialect in (Scoring(), OpenInference()):
        try:
            predictions, _ = dialect.predictions(body, {})
        except ValueError as error:
            assert " " not in str(error)
        else:
            assert predictions


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b'{"predictions": [NaN]}', "not_json"),
        (b'{"pred', "not_json"),
        (b'{"predictions": []}', "no_predictions"),
        (b'{"predictions": 3}', "no_predictions"),
        (b"[1]", "no_predictions"),
    ],
)
def test_a_bad_answer_is_told_by_one_word(body, fault):
    """Half an answer, or one without predictions, is the arm's failure."""
    with pytest.raises(ValueError, match=fault):
        Scoring().predictions(body, {})


V2_REQUEST = {
    "inputs": [
        {"name": "a", "shape": [2], "datatype": "INT64", "data": [1, 2]},
        {"name": "b", "shape": [2, 1], "datatype": "BYTES", "data": ["x", "y"]},
    ]
}


def test_v2_columns_become_rows():
    """Tensors of one value per row are the columns of the rows."""
    assert OpenInference().rows(json.dumps(V2_REQUEST).encode(), JSON) == ROWS
    assert OpenInference().rows(b'{"inputs": [{"name": "a", "shape": [2, 3]}]}', JSON) is None


def test_v2_answers_are_read_as_json_and_as_binary():
    """The first output's values are the predictions in either form."""
    tensor = {"name": "p", "shape": [2], "datatype": "FP64"}
    body = json.dumps({"outputs": [{**tensor, "data": [0.5, 0.25]}]}).encode()
    assert OpenInference().predictions(body, {})[0] == [0.5, 0.25]
    raw = struct.pack("<2d", 0.5, 0.25)
    head = json.dumps({"outputs": [{**tensor, "parameters": {"binary_data_size": 16}}]}).encode()
    headers = {b"inference-header-content-length": str(len(head)).encode()}
    assert OpenInference().predictions(head + raw, headers)[0] == [0.5, 0.25]
    with pytest.raises(ValueError, match="half_a_tensor"):
        OpenInference().predictions(head + raw[:7], headers)


def test_own_answers_read_back():
    """What the gateway answers itself is an answer of the protocol."""
    for dialect in (Scoring(), OpenInference()):
        assert dialect.predictions(dialect.answer([0.5, 1.0], "m"), {})[0] == [0.5, 1.0]


@pytest.mark.parametrize(
    ("allowed", "predictions", "fault"),
    [
        (Answer(), [0.5, 1, "a", True], ""),
        (Answer(), [float("nan")], "not_finite"),
        (Answer(), [float("inf")], "not_finite"),
        (Answer(), [None], "not_finite"),
        (Answer(), [[0.5, float("nan")]], "not_finite"),
        (Answer(), [{"p": float("-inf")}], "not_finite"),
        (Answer(finite=False), [None, float("inf")], ""),
        (Answer(min=0, max=1), [0.0, 1.0, 0, 1], ""),
        (Answer(min=0, max=1), [0.5, 1.0001], "out_of_range"),
        (Answer(min=0, max=1), [-1], "out_of_range"),
        (Answer(type="number"), ["a"], "wrong_type"),
        (Answer(type="number"), [True], "wrong_type"),
        (Answer(type="text"), [0.5], "wrong_type"),
        (Answer(type="text"), ["a"], ""),
        (Answer(classes=("a", "b")), ["a", "b"], ""),
        (Answer(classes=("a", "b")), ["c"], "unknown_class"),
        (Answer(classes=(0, 1)), [0.5], "unknown_class"),
    ],
)
def test_answers_are_checked(allowed, predictions, fault):
    """Each declared check tells its own fault, in nested predictions too."""
    assert AnswerCheck(allowed).fault(predictions) == fault


def test_one_prediction_is_a_score():
    """The score is the one number of a request of one row."""
    assert score_of([0.5]) == 0.5
    assert score_of([1]) == 1.0
    assert [score_of(p) for p in ([], [0.5, 0.5], ["a"], [None], [[0.5]])] == [None] * 5
    assert single([1]) == 1
    assert single([1, 2]) == [1, 2]


@pytest.mark.parametrize("key", ["dataframe_records", "dataframe_split"])
def test_json_too_deep_to_be_read_is_the_callers_fault(key: str) -> None:
    """Five thousand brackets are refused with 400, as any other body that is not understood."""
    body = b'{"%b":' % key.encode() + b"[" * 5000 + b"]" * 5000 + b"}"
    with pytest.raises(BadRequestError) as refused:
        Scoring().rows(body, {b"content-type": b"application/json"})
    assert refused.value.status == 400


def test_numbers_beyond_every_float_are_no_scores_and_no_costs() -> None:
    """JSON's whole numbers may have any number of digits."""
    huge = 10**400
    assert AnswerCheck(Answer()).fault([huge]) == "not_finite"
    assert score_of([huge]) is None
    assert number_at({"usage": {"out": huge}}, "usage.out") is None
