"""What the gateway reads of a request and of an answer: rows, features, predictions.

Nothing is checked here that the model server checks against its signature; a body of another
shape is passed on, and the arm says what is wrong with it.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec

from slipway.policy import Answer

_decode = msgspec.json.Decoder().decode


def read_rows(body: bytes) -> list[Any] | None:
    """The rows of a scoring request, each an object of column to value where it names columns.

    Understands MLflow's scoring protocol: ``dataframe_split``, ``dataframe_records``,
    ``instances`` and ``inputs``.

    Returns:
        None where the shape is another one.

    Raises:
        ValueError: the body is not JSON.
    """
    value = _decode(body)
    if not isinstance(value, dict):
        return None
    for key in ("dataframe_records", "instances", "inputs"):
        rows = value.get(key)
        if isinstance(rows, list):
            return rows
    if isinstance(rows, dict):
        return _from_columns(rows)
    split = value.get("dataframe_split")
    return _from_split(split) if isinstance(split, dict) else None


def _from_split(split: dict[str, Any]) -> list[Any] | None:
    columns, data = split.get("columns"), split.get("data")
    if not isinstance(data, list):
        return None
    if not isinstance(columns, list):
        return data
    return [dict(zip(columns, row, strict=False)) if isinstance(row, list) else row for row in data]


def _from_columns(columns: dict[str, Any]) -> list[Any]:
    if not all(isinstance(values, list) for values in columns.values()):
        return [columns]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)]


def read_predictions(body: bytes, allowed: Answer) -> tuple[str, list[Any]]:
    """The predictions of an answer, and what is wrong with it (empty if it is good).

    Faults: ``not_json``, ``no_predictions``, ``not_finite``, ``out_of_range``.
    """
    try:
        value = _decode(body)
    except ValueError:
        return "not_json", []
    predictions = value.get("predictions") if isinstance(value, dict) else None
    if not isinstance(predictions, list) or not predictions:
        return "no_predictions", []
    for prediction in predictions:
        if fault := _fault(prediction, allowed):
            return fault, predictions
    return "", predictions


def _fault(prediction: Any, allowed: Answer) -> str:
    if isinstance(prediction, (int, float)):
        if not math.isfinite(prediction):
            return "not_finite" if allowed.finite else ""
        if allowed.min is not None and prediction < allowed.min:
            return "out_of_range"
        return "out_of_range" if allowed.max is not None and prediction > allowed.max else ""
    if prediction is None:
        return "not_finite" if allowed.finite else ""
    if isinstance(prediction, list):
        return next((f for p in prediction if (f := _fault(p, allowed))), "")
    return ""


def single(values: list[Any]) -> Any:
    """The one value of a list of one, else the list: how rows are logged."""
    return values[0] if len(values) == 1 else values


def score_of(predictions: list[Any]) -> float | None:
    """The prediction of a request of one row, where it is a number."""
    if len(predictions) != 1:
        return None
    value = predictions[0]
    if isinstance(value, (int, float)):
        return float(value)
    return None
