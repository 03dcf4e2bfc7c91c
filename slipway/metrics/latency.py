"""latency: how long an answer took."""

from __future__ import annotations


class Latency:
    """Milliseconds from the request's last byte to the answer's first."""

    name = "latency"
    type = "mean"
    low: float | None = None
    high: float | None = None

    def sql(self) -> str:
        """Milliseconds; NULL for the caller's own faults, whose answers cost no work."""
        return "CASE WHEN status BETWEEN 400 AND 499 THEN NULL ELSE latency_ms END"
