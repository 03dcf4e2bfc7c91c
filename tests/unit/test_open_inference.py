"""The Open Inference Protocol: JSON and binary tensors, and every way to get them wrong."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.release import Column
from slipway.serving.manifest import Manifest
from slipway.serving.protocols import open_inference
from slipway.serving.signature import BadInput


def tensor(name="a", datatype="FP64", shape=(2,), **rest):
    """An input tensor as a client sends it."""
    return {"name": name, "datatype": datatype, "shape": list(shape), **rest}


def decode(inputs, binary=b"", **rest):
    """Decode a request of these inputs, with binary data behind it."""
    head = json.dumps({"inputs": inputs, **rest}).encode()
    return open_inference.decode(head + binary, str(len(head)) if binary else None)


@pytest.mark.parametrize(
    "inputs",
    [
        [tensor(data=[1, 2]), tensor("b", "BYTES", data=["x", "y"])],
        [tensor(shape=(2, 1), data=[[1], [2]]), tensor("b", "BYTES", (2, 1), data=["x", "y"])],
        [tensor("b", "BYTES", data=["x", "y"]), tensor(datatype="INT32", data=[1, 2])],
    ],
)
def test_json_tensors_become_columns(inputs):
    """One tensor per column, flat or [rows, 1], in any order."""
    assert decode(inputs)[1] == {"a": [1, 2], "b": ["x", "y"]}


@pytest.mark.parametrize(("datatype", "code"), [("FP32", "f"), ("INT64", "q"), ("UINT8", "B")])
def test_binary_tensors_become_columns(datatype, code):
    """Numbers are little-endian and texts carry their length, as Triton's clients send them."""
    numbers = struct.pack(f"<2{code}", 1, 2)
    texts = b"".join(struct.pack("<I", len(t)) + t for t in (b"x", "é".encode()))
    inputs = [
        tensor(datatype=datatype, parameters={"binary_data_size": len(numbers)}),
        tensor("b", "BYTES", parameters={"binary_data_size": len(texts)}),
    ]
    assert decode(inputs, numbers + texts)[1] == {"a": [1, 2], "b": ["x", "é"]}


@pytest.mark.parametrize(
    ("inputs", "binary", "named"),
    [
        ([tensor(data=[1])], b"", "shape [2] and 1 values"),
        ([tensor(shape=(1, 2), data=[1, 2])], b"", "shape [1, 2]"),
        ([tensor(datatype="BOOL", data=[True, False])], b"", "datatype 'BOOL'"),
        ([tensor(data=[1, 2]), tensor(data=[1, 2])], b"", "input a is there twice"),
        ([tensor(data=[1, 2]), tensor("b", shape=(1,), data=[1])], b"", "differ in length"),
        ([tensor(parameters={"binary_data_size": 99})], b"1234", "binary_data_size is wrong"),
        ([tensor(parameters={"binary_data_size": 3})], b"123", "half a number"),
        ([tensor(parameters={"binary_data_size": 16})], b"1" * 17, "bytes are left over"),
        ([tensor(datatype="BYTES", parameters={"binary_data_size": 5})], b"\xff" * 5, "BYTES"),
        ([tensor(datatype="BYTES", parameters={"binary_data_size": 2})], b"\0\0", "BYTES"),
        ([{"name": "a"}], b"", "not an inference request"),
    ],
)
def test_a_broken_request_is_told_in_one_sentence(inputs, binary, named):
    """Each broken request is 400 with a sentence that names the fault."""
    with pytest.raises(BadInput) as caught:
        decode(inputs, binary)
    assert caught.value.status == 400
    assert named in caught.value.what


@pytest.mark.parametrize("length", ["-1", "x", "99999"])
def test_a_wrong_length_header_is_refused(length):
    """The header that splits JSON from binary data must lie within the body."""
    with pytest.raises(BadInput, match="length is wrong"):
        open_inference.decode(b"{}", length)


def test_an_unknown_output_is_refused():
    """A client that asks for an output that there is not is told the one there is."""
    with pytest.raises(BadInput, match="predictions"):
        decode([tensor(data=[1, 2])], outputs=[{"name": "label"}])


@pytest.mark.parametrize(
    ("rest", "binary"),
    [
        ({}, False),
        ({"parameters": {"binary_data_output": True}}, True),
        ({"outputs": [{"name": "predictions", "parameters": {"binary_data": True}}]}, True),
        ({"outputs": [{"name": "predictions", "parameters": {"binary_data": False}}]}, False),
    ],
)
def test_the_answer_comes_as_asked(rest, binary):
    """The answer repeats the id and is JSON, or binary where the client asks for it."""
    request, _ = decode([tensor(data=[1, 2])], id="42", **rest)
    body, json_length = open_inference.encode("toy", request, [0.5, 0.25])
    assert (json_length is not None) == binary
    answer = json.loads(body[:json_length])
    assert (answer["id"], answer["model_name"]) == ("42", "toy")
    output = answer["outputs"][0]
    assert (output["name"], output["datatype"], output["shape"]) == ("predictions", "FP64", [2])
    values = struct.unpack("<2d", body[json_length:]) if binary else tuple(output["data"])
    assert values == (0.5, 0.25)


def test_metadata_tells_the_signature():
    """A client can read the inputs, their datatypes and the one output."""
    manifest = Manifest(
        "toy", "onnx", (Column("a", "number"), Column("b", "text")), "value", 1, 10, 0.0, ()
    )
    told = json.loads(open_inference.model_metadata(manifest))
    assert [(i["name"], i["datatype"]) for i in told["inputs"]] == [("a", "FP64"), ("b", "BYTES")]
    assert [o["name"] for o in told["outputs"]] == ["predictions"]


@given(st.binary(max_size=40), st.sampled_from(["BYTES", "FP32", "INT8"]))
def test_no_bytes_break_the_decoder(raw, datatype):
    """Any binary data is either a column or the caller's fault, and nothing else."""
    inputs = [tensor(datatype=datatype, shape=(1,), parameters={"binary_data_size": len(raw)})]
    try:
        _, table = decode(inputs, raw)
    except BadInput:
        return
    assert len(table["a"]) == 1
