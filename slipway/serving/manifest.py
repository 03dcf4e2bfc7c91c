"""``bundle.json``: what a bundle says of itself.

    {"format": 1, "model": "flights", "engine": "onnx", "output": "probability",
     "positive_class": 1, "max_rows": 1000, "tolerance": 1e-05, "trusted": [],
     "signature": [{"name": "distance", "kind": "number", "required": true}, ...]}

The format only grows: a server reads the number it knows and refuses any other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.errors import RuntimeFailure, UsageError
from slipway.release import Column
from slipway.serving.signature import Signature

FORMAT = 1
NAME = "bundle.json"
ENGINES = ("onnx", "skops")
OUTPUTS = ("probability", "value")
KINDS = ("number", "text")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle serves and how.

    Args:
        model: the model's name.
        engine: ``onnx`` or ``skops``; the model file is ``model.<engine>``.
        signature: the columns of a request, in the model's order.
        output: ``probability`` (of the positive class) or ``value``.
        positive_class: the position of the positive class among the model's classes.
        max_rows: the most rows one request may have.
        tolerance: how far an answer may lie from the trained model's, as validated.
        trusted: types that reading a skops file may build.

    Raises:
        UsageError: an engine, output or column kind that there is not.
    """

    model: str
    engine: str
    signature: tuple[Column, ...]
    output: str
    positive_class: int
    max_rows: int
    tolerance: float
    trusted: tuple[str, ...]

    def __post_init__(self) -> None:
        _one_of("engine", self.engine, ENGINES)
        _one_of("output", self.output, OUTPUTS)
        for column in self.signature:
            _one_of(f"kind of column {column.name}", column.kind, KINDS)
        if not self.signature or self.max_rows < 1:
            raise UsageError("a bundle needs at least one column and one row", where=self.model)

    @property
    def model_file(self) -> str:
        """The name of the model file in the bundle."""
        return f"model.{self.engine}"

    def requests(self) -> Signature:
        """The check that every request passes through."""
        return Signature(self.signature, self.max_rows)

    def record(self) -> dict[str, Any]:
        """The manifest as plain JSON values, with its format number."""
        return {
            "format": FORMAT,
            "model": self.model,
            "engine": self.engine,
            "signature": [column.record() for column in self.signature],
            "output": self.output,
            "positive_class": self.positive_class,
            "max_rows": self.max_rows,
            "tolerance": self.tolerance,
            "trusted": list(self.trusted),
        }


def _one_of(what: str, found: str, allowed: tuple[str, ...]) -> None:
    if found not in allowed:
        raise UsageError(f"the {what} is {found!r}", do=f"use one of: {', '.join(allowed)}")


def read(bundle: Path) -> Manifest:
    """Read a bundle's manifest.

    Raises:
        RuntimeFailure: there is none, it is of another format, or it does not hold together.
    """
    path = bundle / NAME
    try:
        record = json.loads(path.read_bytes())
        if record.pop("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        signature = tuple(Column(**column) for column in record.pop("signature"))
        return Manifest(signature=signature, trusted=tuple(record.pop("trusted")), **record)
    except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
        raise RuntimeFailure(
            f"the bundle cannot be read: {error}", where=str(path), do="build the bundle again"
        ) from error
