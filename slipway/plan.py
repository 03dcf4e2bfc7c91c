"""How a release is launched: what its spec and pack declare, frozen into the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Plan:
    """How a release is launched, chosen in advance and frozen into the rollout's first entry.

    Args:
        strategy: a built-in strategy's name or ``package.module:Class``.
        steps: ``{share, min_seconds, max_seconds}`` per step, shares rising, the last below 1
            (promotion is the step to 1). One with a true ``mirror`` copies requests, as below.
        auto: whether only the first step is planned: each next share is then the largest that
            the evidence supports, for the same times.
        gates: the live part of ``gates.toml`` as plain values.
        serving: the gateway's policy while and after this launch.
        on_inconclusive: ``rollback``, ``hold`` or ``extend`` at the end of a step's time.
        approval: whether promotion waits for a person.
        lease_seconds: how long a share lasts without a renewal.
        mirror: whether the share is of copied requests, whose answers no user gets.
        review: ``{after, then}``: when the decision is held against later labels, and whether a
            contradicted promotion is undone (``return``) or only told (``alert``). Empty: never.
        window: ``{releases, days}``: which earlier releases may be returned to without a ramp.
        runtime: where and how it runs, as ``terms.Terms`` records it.
        league: ``{most, floor, shift_seconds}``: how many members the league that this opens may
            have, from first to last; the least share of each where shares follow what was seen
            (None: all are alike), and how long they stay at least. Empty: it is none.
    """

    strategy: str
    steps: tuple[Mapping[str, float], ...]
    gates: Mapping[str, Any]
    serving: Mapping[str, Any]
    on_inconclusive: str = "rollback"
    approval: bool = False
    lease_seconds: float = 60.0
    auto: bool = False
    mirror: bool = False
    review: Mapping[str, Any] = field(default_factory=dict)
    window: Mapping[str, Any] = field(default_factory=dict)
    runtime: Mapping[str, Any] = field(default_factory=dict)
    league: Mapping[str, Any] = field(default_factory=dict)

    def mirrors(self, step: int) -> bool:
        """Whether a step's share is of copied requests, whose answers no user gets."""
        return self.mirror or bool(self.steps[step].get("mirror"))

    def record(self) -> dict[str, Any]:
        """The plan as plain JSON values."""
        return {
            "strategy": self.strategy,
            "steps": [dict(s) for s in self.steps],
            "gates": dict(self.gates),
            "serving": dict(self.serving),
            "on_inconclusive": self.on_inconclusive,
            "approval": self.approval,
            "lease_seconds": self.lease_seconds,
            "auto": self.auto,
            "mirror": self.mirror,
            "review": dict(self.review),
            "window": dict(self.window),
            "runtime": dict(self.runtime),
            "league": dict(self.league),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Plan:
        """Read a recorded plan back."""
        return cls(**{**record, "steps": tuple(record["steps"])})
