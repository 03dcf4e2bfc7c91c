"""wrong: the warning was given in vain, or was not given."""

from __future__ import annotations


class Wrong:
    """1 where the score, cut at a threshold, differs from the label.

    Args:
        threshold: scores from it on count as 1.
    """

    name = "wrong"
    type = "rate"
    low: float | None = 0.0
    high: float | None = 1.0

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = float(threshold)

    def sql(self) -> str:
        """1 or 0; NULL until the label comes, and where a fallback answered."""
        differs = f"(score >= {self.threshold!r}) <> (label >= 0.5)"
        return f"CASE WHEN fallback = '' THEN CAST({differs} AS INTEGER) END"
