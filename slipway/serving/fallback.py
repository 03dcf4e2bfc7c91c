"""The last resorts of the chain: a declared rule, and the last good answers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from slipway.expression import Unfit, compile_expression
from slipway.policy import Cache, Rule


def compile_rule(rule: Rule) -> Callable[[dict[str, Any]], Any]:
    """A rule as a function of a row; it may raise `slipway.expression.Unfit`."""
    if rule.expression:
        return compile_expression(rule.expression)
    if rule.table:
        table, column, default = rule.table, rule.column, rule.default
        return lambda row: table.get(str(row.get(column)), default)
    return lambda row: rule.value


def predict(rule: Callable[[dict[str, Any]], Any], rows: list[Any] | None) -> list[Any] | None:
    """A rule's predictions; None where it cannot tell for every row."""
    if not rows:
        return None
    try:
        predictions = [rule(row if isinstance(row, dict) else {}) for row in rows]
    except Unfit:
        return None
    return None if any(p is None for p in predictions) else predictions


class Kept(msgspec.Struct, gc=False):
    """A good answer of some while ago."""

    at: float
    body: bytes
    content_type: bytes


class LastGood:
    """The last good answers of one model, oldest forgotten first. Time is given by the caller."""

    def __init__(self, settings: Cache) -> None:
        self.settings = settings
        self._kept: dict[bytes, Kept] = {}

    def key(self, path: bytes, body: bytes, unit: bytes) -> bytes:
        """What an answer is kept under: the path belongs to it, since its protocol does."""
        if self.settings.by == "unit":
            return path + b" " + unit
        return hashlib.blake2b(body, digest_size=16, person=path[:16]).digest()

    def keep(self, key: bytes, kept: Kept) -> None:
        """Keep an answer."""
        self._kept.pop(key, None)
        self._kept[key] = kept
        if len(self._kept) > self.settings.entries:
            del self._kept[next(iter(self._kept))]

    def find(self, key: bytes, now: float) -> Kept | None:
        """An answer that is not too old."""
        kept = self._kept.get(key)
        return kept if kept and now - kept.at <= self.settings.seconds else None
