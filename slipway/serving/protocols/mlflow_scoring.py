"""MLflow's scoring protocol: ``POST /invocations``.

A JSON object with one of ``dataframe_split``, ``dataframe_records``, ``inputs``, ``instances``,
or CSV with a header line; the answer is ``{"predictions": [...]}``. Other keys beside the one are
left alone, as MLflow's own server does (https://mlflow.org/docs/latest/ml/deployment).

Stricter than MLflow's server: a column too many is refused, and so is a number sent as text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

import msgspec

from slipway.serving.signature import BadInput, Signature, Table, mismatch

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def decode(content_type: str, body: bytes, signature: Signature) -> Table:
    """Read a request's table.

    Args:
        content_type: the header's value, "" where there is none.
        signature: tells which cells of a CSV are numbers.

    Raises:
        BadInput: 415 for another content type, 400 for a body that is no such table.
    """
    media, parameters = _media(content_type)
    if media not in ("application/json", "text/csv") or parameters not in ("", "charset=utf-8"):
        raise BadInput(
            f"the content type is {content_type!r}" if content_type else "there is no content type",
            where="header content-type",
            do="send application/json or text/csv, in UTF-8",
            status=415,
        )
    return _json_table(body) if media == "application/json" else _csv_table(body, signature)


def encode(predictions: list[float]) -> bytes:
    """The answer's body."""
    return _encode({"predictions": predictions})


def encode_error(error: BadInput) -> bytes:
    """An error's body: ours, with the two keys that MLflow's clients read."""
    return _encode(
        {
            "error": {"what": error.what, "where": error.where, "do": error.do},
            "error_code": error.code,
            "message": str(error),
        }
    )


def _media(content_type: str) -> tuple[str, str]:
    media, _, parameters = content_type.lower().partition(";")
    return media.strip(), parameters.strip().replace('"', "")


def _json_table(body: bytes) -> Table:
    try:
        request = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadInput(
            f"the body is not JSON: {error}", where="body", do="send one JSON object in UTF-8"
        ) from error
    if not isinstance(request, dict):
        raise BadInput("the body is JSON but not an object", where="body", do=_ONE_OF)
    found = [name for name in _READERS if name in request]
    if len(found) != 1:
        given = ", ".join(found) or ", ".join(str(key) for key in request)[:200] or "no keys"
        raise BadInput(f"the body has {given}", where="body", do=_ONE_OF)
    return _READERS[found[0]](request[found[0]], found[0])


def _split(value: Any, key: str) -> Table:
    if not isinstance(value, dict):
        raise BadInput(f"{key} is not an object", where=key, do='send {"columns": .., "data": ..}')
    columns, data = value.get("columns"), value.get("data")
    if not _is_list_of(columns, str) or len(set(columns)) != len(columns):
        raise BadInput(
            "columns is not a list of different names", where=f"{key}.columns", do="name each once"
        )
    if not _is_list_of(data, list):
        raise BadInput("data is not a list of rows", where=f"{key}.data", do="send [[..], ..]")
    for row, cells in enumerate(data):
        if len(cells) != len(columns):
            raise BadInput(
                f"row {row} has {len(cells)} values for {len(columns)} columns",
                where=f"{key}.data[{row}]",
                do="send one value per column in every row",
            )
    # No rows still have columns; the signature says what is wrong with that.
    cells_of = zip(*data, strict=True) if data else ((),) * len(columns)
    return dict(zip(columns, map(list, cells_of), strict=True))


def _records(value: Any, key: str) -> Table:
    if not _is_list_of(value, dict):
        raise mismatch(
            f"{key} is not a list of objects", where=key, do='send [{"column": value, ..}, ..]'
        )
    names = value[0].keys() if value else ()
    for row, record in enumerate(value):
        if record.keys() != names:
            name = sorted(record.keys() ^ names)[0]
            raise mismatch(
                f"column {name} is in some rows and not in others",
                where=f"{key}[{row}], column {name}",
                do="send the same columns in every row; null stands for a missing value",
            )
    return {name: [record[name] for record in value] for name in names}


def _columns(value: Any, key: str) -> Table:
    if isinstance(value, list):
        return _records(value, key)
    if not isinstance(value, dict) or not _is_list_of(list(value.values()), list):
        raise BadInput(
            f"{key} does not map columns to lists", where=key, do='send {"column": [..], ..}'
        )
    return _even(value, key)


def _even(table: Table, where: str) -> Table:
    lengths = {name: len(values) for name, values in table.items()}
    if len(set(lengths.values())) > 1:
        raise BadInput(
            f"the columns differ in length: {lengths}"[:300],
            where=where,
            do="send one value per row in every column",
        )
    return table


def _is_list_of(value: Any, kind: type) -> TypeGuard[list[Any]]:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


_READERS: dict[str, Callable[[Any, str], Table]] = {
    "dataframe_split": _split,
    "dataframe_records": _records,
    "inputs": _columns,
    "instances": _records,
}
_ONE_OF = f"send exactly one of: {', '.join(_READERS)}"


def _csv_table(body: bytes, signature: Signature) -> Table:
    import csv
    import io

    try:
        lines = list(csv.reader(io.StringIO(body.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInput(f"the body is not CSV: {error}", where="body", do="send UTF-8") from error
    lines = [line for line in lines if line]
    if not lines:
        raise BadInput("the body is empty", where="body", do="send a header line and rows")
    table = _split({"columns": lines[0], "data": lines[1:]}, "csv")
    numbers = {c.name for c in signature.columns if c.kind == "number"}
    return {
        name: [_number(name, row, cell) for row, cell in enumerate(cells)]
        if name in numbers
        else [cell or None for cell in cells]
        for name, cells in table.items()
    }


def _number(name: str, row: int, cell: str) -> float | None:
    if not cell:
        return None
    try:
        if "_" in cell:  # Python's digit grouping is no number elsewhere
            raise ValueError
        return float(cell)
    except ValueError:
        raise mismatch(
            f"column {name} holds numbers, but row {row} has text: {cell[:60]!r}",
            where=f"column {name}, row {row}",
            do="send a number, or nothing where it is missing",
        ) from None
