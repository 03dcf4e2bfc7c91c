"""What a request cost, from declared prices. What is not known is unknown, never zero."""

from __future__ import annotations

from typing import Any

from slipway.policy import Prices, Tokens


def cost_of(prices: Prices | None, answer: Any, seconds: float) -> float | None:
    """The cost of one answer; None where any part of it is not known.

    Args:
        prices: of the arm that answered; None where none are declared.
        answer: decoded, or None where it could not be.
        seconds: how long the arm took.
    """
    if prices is None:
        return None
    parts: list[float | None] = []
    if prices.per_call is not None:
        parts.append(prices.per_call)
    if prices.per_second is not None:
        told = number_at(answer, prices.seconds_field) if prices.seconds_field else seconds
        parts.append(None if told is None else told * prices.per_second)
    parts += [_tokens(p, answer) for p in (prices.tokens_in, prices.tokens_out) if p is not None]
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None


def _tokens(price: Tokens, answer: Any) -> float | None:
    count = number_at(answer, price.field)
    return None if count is None else count * price.per_1k / 1000.0


def number_at(value: Any, path: str) -> float | None:
    """The number at a dotted path, ``usage.prompt_tokens``; None where there is none."""
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        return None
    try:
        return float(value)
    except OverflowError:  # JSON's whole numbers may have any number of digits
        return None
