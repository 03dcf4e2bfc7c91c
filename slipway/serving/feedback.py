"""Judgements of earlier answers, sent by request id: checked, told apart from repeats, logged."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_REMEMBERED = 200_000


class Memory:
    """The feedback of late, so that a repeat is told from a contradiction.

    Bounded: the oldest is forgotten first. The log's view counts only the first of each (request,
    kind), so what is forgotten here is still never counted twice.
    """

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}

    def note(self, request_id: str, kind: str, value: Any) -> str:
        """``recorded`` for news, ``already recorded`` for a repeat, ``conflict`` otherwise."""
        key = hashlib.blake2b(f"{request_id} {kind}".encode(), digest_size=16).digest()
        digest = hashlib.blake2b(msgspec.json.encode(value), digest_size=8).digest()
        before = self._values.get(key)
        if before is not None:
            return "already recorded" if before == digest else "conflict"
        if len(self._values) >= _REMEMBERED:
            del self._values[next(iter(self._values))]
        self._values[key] = digest
        return "recorded"


def read(body: bytes) -> list[tuple[str, str, Any]]:
    """The feedback in a body: one object, or a list of them, of ``request_id, kind, value``.

    Raises:
        ValueError: the body is something else; the message says what.
    """
    value = msgspec.json.decode(body)
    items = value if isinstance(value, list) else [value]
    if not items:
        raise ValueError("the list of feedback is empty")
    return [_item(item) for item in items]


def _item(item: Any) -> tuple[str, str, Any]:
    if not isinstance(item, dict) or set(item) != {"request_id", "kind", "value"}:
        raise ValueError("feedback is an object of exactly request_id, kind and value")
    request_id, kind = item["request_id"], item["kind"]
    if not isinstance(request_id, str) or not isinstance(kind, str) or not 0 < len(kind) <= 64:
        raise ValueError("request_id and kind are texts, and kind is at most 64 characters long")
    return request_id, kind, item["value"]
