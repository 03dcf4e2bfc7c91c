"""MLflow's scoring protocol: ``POST /invocations``.

A JSON object with one of ``dataframe_split``, ``dataframe_records``, ``inputs``, ``instances``,
or CSV with a header line; the answer is ``{"predictions": [...]}``. Other keys beside the one are
left alone, as MLflow's own server does (https://mlflow.org/docs/latest/ml/deployment).

Stricter than MLflow's server: a column too many is refused, and so is a number sent as text.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from slipway.serving.signature import BadInput, Signature, Table, mismatch

_encode = msgspec.json.Encoder().encode


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


@lru_cache(maxsize=64)
def _media(content_type: str) -> tuple[str, str]:
    media, _, parameters = content_type.lower().partition(";")
    return media.strip(), parameters.strip().replace('"', "")


class _Split(msgspec.Struct):
    columns: list[str]
    data: list[list[Any]]


_Records = list[dict[str, Any]]
_Columns = dict[str, list[Any]]


class _Body(msgspec.Struct):
    """A request's JSON: one of these keys, and any others."""

    dataframe_split: _Split | UnsetType = UNSET
    dataframe_records: _Records | UnsetType = UNSET
    inputs: _Columns | _Records | UnsetType = UNSET
    instances: _Records | UnsetType = UNSET


_decode = msgspec.json.Decoder(_Body).decode
_FORMS = _Body.__struct_fields__


def _json_table(body: bytes) -> Table:
    try:
        request = _decode(body)
    except msgspec.ValidationError as error:
        raise mismatch(f"the body is no table: {error}", where="body", do=_FORMS_SHOWN) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(
            f"the body is not JSON: {error}", where="body", do="send one JSON object in UTF-8"
        ) from error
    given = [form for form in _FORMS if getattr(request, form) is not UNSET]
    if len(given) != 1:
        raise BadInput(
            f"the body has {' and '.join(given) or 'no table'}", where="body", do=_FORMS_SHOWN
        )
    table = getattr(request, given[0])
    if isinstance(table, _Split):
        return _from_rows(table.columns, table.data, given[0])
    if isinstance(table, list):
        return _from_records(table, given[0])
    return _even(table, given[0])


_FORMS_SHOWN = (
    'send one of: {"dataframe_split": {"columns": [..], "data": [[..], ..]}}, '
    '{"dataframe_records": [{..}, ..]}, {"instances": [{..}, ..]}, {"inputs": {"column": [..]}}'
)


def _from_rows(columns: list[str], data: list[list[Any]], where: str) -> Table:
    if len(set(columns)) != len(columns):
        raise BadInput("a column is named twice", where=f"{where}.columns", do="name each once")
    for row, cells in enumerate(data):
        if len(cells) != len(columns):
            raise BadInput(
                f"row {row} has {len(cells)} values for {len(columns)} columns",
                where=f"{where}, row {row}",
                do="send one value per column in every row",
            )
    # No rows still have columns; the signature says what is wrong with that.
    cells_of = zip(*data, strict=True) if data else ((),) * len(columns)
    return dict(zip(columns, map(list, cells_of), strict=True))


def _from_records(records: _Records, where: str) -> Table:
    names = records[0].keys() if records else ()
    for row, record in enumerate(records):
        if record.keys() != names:
            name = sorted(record.keys() ^ names)[0]
            raise mismatch(
                f"column {name} is in some rows and not in others",
                where=f"{where}, row {row}, column {name}",
                do="send the same columns in every row; null stands for a missing value",
            )
    return {name: [record[name] for record in records] for name in names}


def _even(table: Table, where: str) -> Table:
    lengths = {name: len(values) for name, values in table.items()}
    if len(set(lengths.values())) > 1:
        raise BadInput(
            f"the columns differ in length: {lengths}"[:300],
            where=where,
            do="send one value per row in every column",
        )
    return table


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
    table = _from_rows(lines[0], lines[1:], "csv")
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
