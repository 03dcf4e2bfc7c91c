"""slow: the answer took longer than a bound."""

from __future__ import annotations


class Slow:
    """1 where an answer took longer than the bound.

    Args:
        over_ms: the bound in milliseconds.
    """

    name = "slow"
    type = "rate"
    low: float | None = 0.0
    high: float | None = 1.0

    def __init__(self, over_ms: float = 100.0) -> None:
        self.over_ms = float(over_ms)

    def sql(self) -> str:
        """1 or 0; NULL for the caller's own faults, whose answers cost no work."""
        late = f"CASE WHEN latency_ms > {self.over_ms!r} THEN 1 ELSE 0 END"
        return f"CASE WHEN status BETWEEN 400 AND 499 THEN NULL ELSE {late} END"
