"""brier: how far probabilities were from what came true."""

from __future__ import annotations


class Brier:
    """The squared distance of a probability and its outcome.

    Source: Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """

    name = "brier"
    type = "mean"
    low: float | None = 0.0
    high: float | None = 1.0

    def sql(self) -> str:
        """0 to 1; NULL until the label comes, and where a fallback answered."""
        return "CASE WHEN fallback = '' THEN (score - label) * (score - label) END"
