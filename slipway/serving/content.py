"""What the gateway reads of a request and of an answer: rows and predictions.

Nothing is checked here that the model server checks against its signature; a body of another
shape is passed on, and the arm says what is wrong with it.
"""

from __future__ import annotations

import math
import sys
from sys import intern
from typing import Any, Protocol

import msgspec

from slipway.policy import Answer

_decode = msgspec.json.Decoder().decode


class _Split(msgspec.Struct, gc=False):
    columns: msgspec.Raw
    data: list[list[Any]]


class _SplitBody(msgspec.Struct, gc=False):
    dataframe_split: _Split
    dataframe_records: None = None  # where it is there, it counts, and this shape does not fit


_decode_split = msgspec.json.Decoder(_SplitBody).decode
_decode_names = msgspec.json.Decoder(list[str]).decode
_names: dict[bytes, list[str]] = {}
_REMEMBERED, _LONGEST = 256, 16 * 1024


def _columns(raw: bytes) -> list[str]:
    """Column names as sent: a model's callers send the same ones with every request.

    Remembered names are the same objects each time, so that looking them up in a row is cheap.

    Raises:
        msgspec.DecodeError: they are no list of names.
    """
    names = _names.get(raw)
    if names is None:
        names = [*map(intern, _decode_names(raw))]
        if len(raw) <= _LONGEST:
            if len(_names) >= _REMEMBERED:
                _names.clear()
            _names[raw] = names
    return names


class BadRequestError(Exception):
    """A request that is refused for the caller's fault.

    Args:
        status: what to answer it with.
        what: what is wrong.
    """

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status
        self.what = what


_SPLIT = b'"dataframe_split"'


class Dialect(Protocol):
    """How requests and answers of one protocol are read."""

    def rows(self, body: bytes, headers: dict[bytes, bytes]) -> list[Any] | None:
        """The rows of a request; None where its shape is not known.

        Raises:
            BadRequestError: the content type or the syntax is wrong.
        """
        ...

    def predictions(self, body: bytes, headers: dict[bytes, bytes]) -> tuple[list[Any], Any]:
        """The predictions of an answer, and the whole of it decoded.

        Raises:
            ValueError: it is no answer of this protocol; one word says why.
        """
        ...

    def answer(self, predictions: list[Any], model: str) -> bytes:
        """The body of an answer that the gateway gives itself."""
        ...

    def extra_lines(self, headers: dict[bytes, bytes]) -> bytes:
        """Headers of an arm's answer that its body cannot be read without."""
        ...


class Scoring:
    """MLflow's scoring protocol: ``dataframe_split``, ``dataframe_records``, ``instances``,
    ``inputs``; answers carry ``predictions``.
    """

    def rows(self, body: bytes, headers: dict[bytes, bytes]) -> list[Any] | None:
        """Each row an object of column to value where the request names columns; None for CSV."""
        if headers.get(b"content-type") != b"application/json":
            if _media(headers) == b"text/csv":
                return None  # which cells are numbers, only the arm's signature tells
            require_json(headers)
        if _SPLIT in body:
            try:
                split = _decode_split(body).dataframe_split
                columns = _columns(bytes(split.columns))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass  # another shape, or a fault: read in full below, which says what it is
            else:
                return [dict(zip(columns, row)) for row in split.data]  # noqa: B905  strict= costs 0.4 µs
        try:
            value = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequestError(400, f"the body is not JSON: {error}") from error
        if not isinstance(value, dict):
            return None
        records = value.get("dataframe_records")
        return records if isinstance(records, list) else _rows(value)

    def predictions(self, body: bytes, headers: dict[bytes, bytes]) -> tuple[list[Any], Any]:
        """What stands under ``predictions``."""
        try:
            value = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise ValueError("not_json") from None
        predictions = value.get("predictions") if isinstance(value, dict) else None
        if not isinstance(predictions, list) or not predictions:
            raise ValueError("no_predictions")
        return predictions, value

    def answer(self, predictions: list[Any], model: str) -> bytes:
        """As the model server would."""
        return msgspec.json.encode({"predictions": predictions})

    def extra_lines(self, headers: dict[bytes, bytes]) -> bytes:
        """None."""
        return b""


def require_json(headers: dict[bytes, bytes]) -> None:
    """Refuse any content type but JSON.

    Raises:
        BadRequestError: with 415.
    """
    kind = _media(headers)
    if kind != b"application/json":
        found = kind.decode("latin-1") or "missing"
        raise BadRequestError(415, f"the content type is {found}, not application/json")


def _media(headers: dict[bytes, bytes]) -> bytes:
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


def _rows(value: dict[str, Any]) -> list[Any] | None:
    split = value.get("dataframe_split")
    if isinstance(split, dict):
        return _from_split(split)
    for key in ("instances", "inputs"):
        rows = value.get(key)
        if isinstance(rows, list):
            return rows
        if isinstance(rows, dict):
            return _from_columns(rows)
    return None


def _from_split(split: dict[str, Any]) -> list[Any] | None:
    columns, data = split.get("columns"), split.get("data")
    if not isinstance(data, list):
        return None
    if not isinstance(columns, list) or not all(isinstance(c, str) for c in columns):
        return data
    return [dict(zip(columns, row, strict=False)) if isinstance(row, list) else row for row in data]


def _from_columns(columns: dict[str, Any]) -> list[Any]:
    if not all(isinstance(values, list) for values in columns.values()):
        return [columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]


class AnswerCheck:
    """The output checks that a policy declares."""

    def __init__(self, allowed: Answer) -> None:
        self._low = -sys.float_info.max if allowed.min is None else allowed.min
        self._high = sys.float_info.max if allowed.max is None else allowed.max
        self._finite = allowed.finite
        self._type = allowed.type
        self._classes = frozenset(allowed.classes)
        self._floats = not allowed.classes and allowed.type != "text"

    def fault(self, predictions: list[Any]) -> str:
        """What is wrong with some predictions, in one word, or nothing."""
        for prediction in predictions:
            # A float within bounds is the rule, and told at once; NaN fails the comparison.
            if self._floats and type(prediction) is float and self._low <= prediction <= self._high:
                continue
            if fault := self._one(prediction):
                return fault
        return ""

    def _one(self, value: Any) -> str:
        if isinstance(value, list):
            return self.fault(value)
        if isinstance(value, dict):
            return self.fault(list(value.values()))
        if self._classes:
            return "" if value in self._classes else "unknown_class"
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is None or (number and not _is_finite(value)):  # inf itself: finite may be off
            return "not_finite" if self._finite else ""
        if (self._type == "number" and not number) or (
            self._type == "text" and not isinstance(value, str)
        ):
            return "wrong_type"
        return "out_of_range" if number and not self._low <= value <= self._high else ""


def single(values: list[Any]) -> Any:
    """The one value of a list of one, else the list: how rows are logged."""
    return values[0] if len(values) == 1 else values


def score_of(predictions: list[Any]) -> float | None:
    """The prediction of a request of one row, where it is a number."""
    if len(predictions) != 1:
        return None
    value = predictions[0]
    return float(value) if isinstance(value, (int, float)) and _is_finite(value) else None


def _is_finite(value: float) -> bool:
    """Whether a float holds it: JSON's whole numbers may have any number of digits."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
