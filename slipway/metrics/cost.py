"""cost: what an answer cost."""

from __future__ import annotations


class Cost:
    """The cost of a request, in the policy's currency. An unknown cost is unknown, never zero."""

    name = "cost"
    type = "mean"
    low: float | None = None
    high: float | None = None

    def sql(self) -> str:
        """The cost; NULL where it is not known."""
        return "cost"
