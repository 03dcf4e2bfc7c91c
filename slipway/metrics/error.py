"""error: the assigned arm failed to answer."""

from __future__ import annotations


class Error:
    """1 where the assigned arm itself gave no good answer, whoever answered in its place.

    A request refused for the caller's fault (status 4xx) says nothing of the arm.
    """

    name = "error"
    type = "rate"
    low: float | None = 0.0
    high: float | None = 1.0

    def sql(self) -> str:
        """1 or 0; NULL for the caller's own faults."""
        return "CASE WHEN status BETWEEN 400 AND 499 THEN NULL WHEN ok THEN 0 ELSE 1 END"
