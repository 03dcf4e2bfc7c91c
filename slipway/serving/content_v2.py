"""What the gateway reads of the Open Inference Protocol V2: see `slipway.serving.content`."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from slipway.serving.protocols import open_inference
from slipway.serving.signature import BadInput

_LENGTH = open_inference.BINARY_HEADER.encode()
_NUMBERS = {"FP32": "f", "FP64": "d", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q"}

_decode = msgspec.json.Decoder().decode


class OpenInference:
    """Inference requests and answers, their tensors in JSON or as binary data."""

    def rows(self, body: bytes, headers: dict[bytes, bytes]) -> list[Any] | None:
        """Each row an object of input name to value; None where the inputs are no columns."""
        length = headers.get(_LENGTH)
        try:
            told = length.decode("latin-1") if length is not None else None
            _, table = open_inference.decode(body, told)
        except BadInput:
            return None  # the arm knows its tensors, and says what is wrong
        return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]

    def predictions(self, body: bytes, headers: dict[bytes, bytes]) -> tuple[list[Any], Any]:
        """The values of the first output tensor.

        Raises:
            ValueError: ``not_json``, ``no_predictions`` or ``half_a_tensor``.
        """
        try:
            split = int(headers.get(_LENGTH, len(body)))
            value = _decode(body[:split])
            tensor = value["outputs"][0]
            data = tensor.get("data")
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ValueError("not_json") from None
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            raise ValueError("no_predictions") from None
        values = _unpack(tensor, body[split:]) if data is None else data
        if not isinstance(values, list) or not values:
            raise ValueError("no_predictions")
        return values, value

    def answer(self, predictions: list[Any], model: str) -> bytes:
        """One tensor of what the gateway answers itself."""
        kind = "FP64" if all(isinstance(p, (int, float)) for p in predictions) else "BYTES"
        tensor = {"name": open_inference.OUTPUT, "shape": [len(predictions)], "datatype": kind}
        answer = {"model_name": model, "outputs": [{**tensor, "data": predictions}]}
        return msgspec.json.encode(answer)

    def extra_lines(self, headers: dict[bytes, bytes]) -> bytes:
        """Where the JSON ends and binary tensors begin."""
        length = headers.get(_LENGTH)
        return b"%b: %b\r\n" % (_LENGTH, length) if length is not None else b""


def _unpack(tensor: dict[str, Any], raw: bytes) -> list[Any]:
    """A binary tensor's numbers; of another datatype, its bytes as they are."""
    code = _NUMBERS.get(tensor.get("datatype", ""))
    size = tensor.get("parameters", {}).get("binary_data_size")
    if not isinstance(size, int) or not 0 <= size <= len(raw):
        raise ValueError("half_a_tensor")
    if code is None:
        return [raw[:size].decode("latin-1")]
    width = struct.calcsize(f"<{code}")
    if size % width:
        raise ValueError("half_a_tensor")
    return list(struct.unpack(f"<{size // width}{code}", raw[:size]))
