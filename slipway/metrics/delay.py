"""delay: how much longer the shadow took for a request than what its user got."""

from __future__ import annotations


class Delay:
    """Milliseconds of the shadow less those of the answer that its user got."""

    name = "delay"
    type = "mean"
    low: float | None = None
    high: float | None = None

    def sql(self) -> str:
        """Milliseconds, below 0 where the shadow was faster; NULL where either failed."""
        answered = "ok AND peer_ok AND status BETWEEN 200 AND 299"
        return f"CASE WHEN {answered} THEN latency_ms - peer_latency_ms END"
