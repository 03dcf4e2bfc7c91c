"""The Open Inference Protocol V2 over REST, with its binary tensor extension.

Every column of the signature is one input tensor of shape [rows] or [rows, 1]: any number
datatype for numbers (FP64 is told), BYTES for texts. The answer is one FP64 tensor,
``predictions``. Specification: https://github.com/kserve/open-inference-protocol; binary data:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import struct
from math import prod
from typing import Any

import msgspec

from slipway.serving.manifest import Manifest
from slipway.serving.signature import BadInput, Table, mismatch

OUTPUT = "predictions"
EXTENSIONS = ["binary_tensor_data"]
BINARY_HEADER = "inference-header-content-length"

# Datatype to the struct code of one number, little-endian on the wire.
_CODES = {
    "FP16": "e", "FP32": "f", "FP64": "d",
    "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q",
    "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
}  # fmt: skip
_KINDS = {**dict.fromkeys(_CODES, "number"), "BYTES": "text"}
_PLATFORMS = {"onnx": "onnx_onnxv1", "skops": "sklearn_skops"}

_encode = msgspec.json.Encoder().encode


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class _Output(msgspec.Struct):
    name: str
    parameters: dict[str, Any] = {}


class Request(msgspec.Struct):
    """An inference request's JSON part."""

    inputs: list[_Tensor]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


_decode = msgspec.json.Decoder(Request).decode


def server_metadata(version: str) -> bytes:
    """The body of ``GET /v2``."""
    return _encode({"name": "slipway", "version": version, "extensions": EXTENSIONS})


def model_metadata(manifest: Manifest) -> bytes:
    """The body of ``GET /v2/models/{name}``."""
    types = {"number": "FP64", "text": "BYTES"}
    inputs = [
        {"name": c.name, "datatype": types[c.kind], "shape": [-1]} for c in manifest.signature
    ]
    return _encode(
        {
            "name": manifest.model,
            "versions": [],
            "platform": _PLATFORMS[manifest.engine],
            "inputs": inputs,
            "outputs": [{"name": OUTPUT, "datatype": "FP64", "shape": [-1]}],
        }
    )


def decode(body: bytes, json_length: str | None) -> tuple[Request, Table]:
    """Read an inference request.

    Args:
        json_length: the header that tells where the JSON ends and binary data begins, if sent.

    Raises:
        BadInput: the body is no such request.
    """
    split = len(body)
    if json_length is not None:
        if not json_length.isdecimal() or int(json_length) > split:
            raise BadInput("the JSON's length is wrong", where=f"header {BINARY_HEADER}")
        split = int(json_length)
    try:
        request = _decode(body[:split])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(
            f"the body is not an inference request: {error}",
            where="body",
            do="see the Open Inference Protocol, inference request object",
        ) from error
    if any(output.name != OUTPUT for output in request.outputs):
        raise mismatch("an output that there is not", where="outputs", do=f"ask for {OUTPUT}")
    return request, _table(request, memoryview(body)[split:])


def encode(model: str, request: Request, predictions: list[float]) -> tuple[bytes, int | None]:
    """The answer's body, and the length of its JSON where binary data follows."""
    tensor: dict[str, Any] = {"name": OUTPUT, "shape": [len(predictions)], "datatype": "FP64"}
    answer: dict[str, Any] = {"model_name": model, "outputs": [tensor]}
    if request.id:
        answer["id"] = request.id
    if not _wants_binary(request):
        tensor["data"] = predictions
        return _encode(answer), None
    raw = struct.pack(f"<{len(predictions)}d", *predictions)
    tensor["parameters"] = {"binary_data_size": len(raw)}
    head = _encode(answer)
    return head + raw, len(head)


def encode_error(error: BadInput) -> bytes:
    """An error's body: one sentence, as the protocol has it."""
    return _encode({"error": str(error)})


def _wants_binary(request: Request) -> bool:
    default = request.parameters.get("binary_data_output", False)
    asked = [output.parameters.get("binary_data", default) for output in request.outputs]
    return bool(asked[0] if asked else default)


def _table(request: Request, binary: memoryview) -> Table:
    table: Table = {}
    for tensor in request.inputs:
        where = f"input {tensor.name}"
        if tensor.name in table:
            raise mismatch(f"input {tensor.name} is there twice", where=where, do="send it once")
        if tensor.datatype not in _KINDS:
            known = ", ".join(_KINDS)
            raise mismatch(f"datatype {tensor.datatype!r}", where=where, do=f"use one of: {known}")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            values = _flat(tensor.data)
        else:
            if type(size) is not int or not 0 <= size <= len(binary):
                raise BadInput("binary_data_size is wrong", where=where, do="count its bytes")
            values = _unpack(tensor, binary[:size])
            binary = binary[size:]
        _check_shape(tensor, values)
        table[tensor.name] = values
    if len(binary) or len({len(values) for values in table.values()}) > 1:
        raise BadInput("the inputs differ in length, or bytes are left over", where="inputs")
    return table


def _check_shape(tensor: _Tensor, values: list[Any]) -> None:
    shape = tensor.shape
    column = len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)
    if not column or prod(shape) != len(values):
        raise mismatch(
            f"input {tensor.name} has shape {shape} and {len(values)} values",
            where=f"input {tensor.name}",
            do="send one value per row: shape [rows] or [rows, 1]",
        )
    # A number datatype with texts in its data, or the other way round, is left to the signature,
    # which names the column and the row.


def _flat(data: list[Any] | None) -> list[Any]:
    """The values of ``[1, 2]`` and of ``[[1], [2]]``."""
    if data is None:
        return []
    if data and all(isinstance(item, list) and len(item) == 1 for item in data):
        return [item[0] for item in data]
    return data


def _unpack(tensor: _Tensor, raw: memoryview) -> list[Any]:
    if tensor.datatype == "BYTES":
        return _unpack_texts(tensor, raw)
    code = _CODES[tensor.datatype]
    width = struct.calcsize(f"<{code}")
    if len(raw) % width:
        raise BadInput("half a number", where=f"input {tensor.name}", do="send whole numbers")
    return list(struct.unpack(f"<{len(raw) // width}{code}", raw))  # NaN stands for null


def _unpack_texts(tensor: _Tensor, raw: memoryview) -> list[Any]:
    texts: list[Any] = []
    position = 0
    try:
        while position < len(raw):
            (length,) = struct.unpack_from("<I", raw, position)
            position += 4 + length
            if position > len(raw):
                raise ValueError("a text ends after the data")
            texts.append(str(raw[position - length : position], "utf-8"))
    except (struct.error, ValueError) as error:
        raise BadInput(f"BYTES data: {error}", where=f"input {tensor.name}") from error
    return texts
