"""What a request must look like, and the error that says where it does not.

Nothing is coerced in silence: text in a number column, a number in a text column, a column too
few or too many is the caller's fault and is told by name. An integer is a number; null is a
missing value and always allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slipway.errors import Refused
from slipway.release import Column

Table = dict[str, list[Any]]
"""Column name to its values, one per row: what every protocol decodes to."""

_ALLOWED: dict[str, set[type]] = {"number": {float, int, type(None)}, "text": {str, type(None)}}
_JSON_NAMES = {bool: "true or false", str: "text", list: "a list", dict: "an object"}


class BadInput(Refused):
    """A request that the caller has to change.

    Args:
        status: the HTTP status that says so: 400, 404, 405, 413 or 415.
        code: MLflow's name for it, which its clients look at.
    """

    def __init__(
        self, what: str, *, where: str = "", do: str = "", status: int = 400, code: str = ""
    ) -> None:
        super().__init__(what, where=where, do=do)
        self.status = status
        self.code = code or "BAD_REQUEST"


def mismatch(what: str, *, where: str = "", do: str = "", status: int = 400) -> BadInput:
    """The error of a body that reads well but does not match the signature."""
    return BadInput(what, where=where, do=do, status=status, code="INVALID_PARAMETER_VALUE")


@dataclass(frozen=True, slots=True)
class Signature:
    """The columns a model takes, in its order, and how many rows at once.

    Args:
        columns: what a request carries.
        max_rows: more rows than this are refused with 413.
    """

    columns: tuple[Column, ...]
    max_rows: int

    def check(self, table: Table) -> Table:
        """The table in the signature's order, with columns that may be left out filled in.

        Args:
            table: columns of equal length, as decoded.

        Returns:
            One list per column of the signature: numbers and None, or texts ("" where missing).

        Raises:
            BadInput: no rows, too many rows, a missing or extra column, a value of a wrong type.
        """
        rows = self._rows(table)
        out: Table = {}
        for column in self.columns:
            values = table.get(column.name)
            if values is None:
                if column.required:
                    raise self._missing(table)
                values = [None] * rows
            if not _ALLOWED[column.kind].issuperset(map(type, values)):
                raise _wrong_type(column, values)
            if column.kind == "text" and None in values:
                values = ["" if value is None else value for value in values]
            out[column.name] = values
        if not table.keys() <= out.keys():
            raise self._extra(table)
        return out

    def _rows(self, table: Table) -> int:
        rows = len(next(iter(table.values()), ()))
        if rows > self.max_rows:
            raise mismatch(
                f"the request has {rows} rows, and at most {self.max_rows} are answered at once",
                do="send the rows in smaller requests",
                status=413,
            )
        if rows == 0:
            raise mismatch("the request has no rows", do="send at least one row")
        return rows

    def _missing(self, table: Table) -> BadInput:
        names = [c.name for c in self.columns if c.required and c.name not in table]
        return mismatch(
            f"missing column{'s' * (len(names) > 1)}: {', '.join(names)}",
            where=f"column {names[0]}",
            do="send every column of the signature; null stands for a missing value",
        )

    def _extra(self, table: Table) -> BadInput:
        known = [c.name for c in self.columns]
        names = [name for name in table if name not in known]
        return mismatch(
            f"unknown column{'s' * (len(names) > 1)}: {', '.join(names)}",
            where=f"column {names[0]}",
            do=f"the model takes: {', '.join(known)}",
        )


def _wrong_type(column: Column, values: list[Any]) -> BadInput:
    row, value = next((i, v) for i, v in enumerate(values) if type(v) not in _ALLOWED[column.kind])
    found = _JSON_NAMES.get(type(value), "a number")
    return mismatch(
        f"column {column.name} holds {column.kind}s, but row {row} has {found}: "
        f"{str(value)[:60]!r}",
        where=f"column {column.name}, row {row}",
        do=f"send a {column.kind}, or null where it is missing",
    )
