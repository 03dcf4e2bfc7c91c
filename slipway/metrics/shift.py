"""shift: how far the shadow's score lies from the one that its user got."""

from __future__ import annotations

import json


class Shift:
    """The shadow's score less the one that its user got, over all requests or one slice.

    Args:
        column, value: only requests whose row has this value in this column (the log must keep
            features); together or not at all.
        absolute: take the distance, in which rises and falls do not cancel out.

    Raises:
        ValueError: a column without a value, or a value without a column.
    """

    name = "shift"
    type = "mean"
    low: float | None = None
    high: float | None = None

    def __init__(
        self,
        column: str | None = None,
        value: str | float | None = None,
        absolute: bool = False,
    ) -> None:
        if (column is None) != (value is None):
            raise ValueError("a slice takes a column and a value")
        self.column, self.value, self.absolute = column, value, bool(absolute)

    def sql(self) -> str:
        """In the score's own units; NULL where either failed or has no score, or off the slice."""
        among = "ok AND peer_ok AND status BETWEEN 200 AND 299"
        if self.column is not None:
            path = _text(f"$.{json.dumps(self.column)}")
            among += f" AND json_extract_string(features, {path}) = {_text(str(self.value))}"
        shift = "score - peer_score"
        return f"CASE WHEN {among} THEN {f'abs({shift})' if self.absolute else shift} END"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
