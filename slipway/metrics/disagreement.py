"""disagreement: the shadow's answer is another than the one that its user got."""

from __future__ import annotations


class Disagreement:
    """1 where two answers to one request differ.

    Args:
        threshold: scores are taken for the classes on its two sides; without one they differ where
            they are further apart than ``tolerance``.
        tolerance: in the score's own units.
    """

    name = "disagreement"
    type = "rate"
    low: float | None = 0.0
    high: float | None = 1.0

    def __init__(self, threshold: float | None = None, tolerance: float = 1e-6) -> None:
        self.threshold = None if threshold is None else float(threshold)
        self.tolerance = float(tolerance)

    def sql(self) -> str:
        """1 or 0; NULL where either did not answer. A score against a text differs."""
        scores = f"abs(score - peer_score) > {self.tolerance!r}"
        if self.threshold is not None:
            scores = f"(score >= {self.threshold!r}) <> (peer_score >= {self.threshold!r})"
        told = "coalesce(prediction::VARCHAR, score::VARCHAR)"
        theirs = "coalesce(peer_prediction::VARCHAR, peer_score::VARCHAR)"
        return (
            f"CASE WHEN NOT (ok AND peer_ok) OR status BETWEEN 400 AND 499 THEN NULL "
            f"WHEN score IS NOT NULL AND peer_score IS NOT NULL THEN CAST({scores} AS INTEGER) "
            f"ELSE CAST({told} <> {theirs} AS INTEGER) END"
        )
