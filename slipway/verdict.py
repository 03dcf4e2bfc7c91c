"""judge(evidence, gates) -> Verdict: what the evidence says, at any look.

Each gate asks two questions of its metric: is the candidate worse than allowed, and is it surely
no worse? Each is answered by e-processes (``slipway.sequential``) at the gate's part of alpha, so
neither answer comes wrongly with a larger chance, however often one looks. Fail closed: what was
not measured is never a pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from slipway.errors import UsageError
from slipway.evidence import Evidence
from slipway.gates import Gate, Gates
from slipway.inference import Comparison, compare

STABLE, CANDIDATE = "stable", "candidate"


class Outcome(StrEnum):
    """What a verdict says."""

    PASS = "pass"  # noqa: S105
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not_measured"


class Finding(StrEnum):
    """What one gate says."""

    BETTER = "better"
    NO_WORSE = "no_worse"
    WORSE = "worse"
    UNDECIDED = "undecided"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's finding.

    Args:
        effect: candidate's figure less stable's, in the metric's units; None if not measured.
        interval: its confidence sequence; each end holds at all looks with a chance of 1 - alpha.
        e_value: the evidence that the candidate is worse than allowed; 1/alpha decides.
        units: (stable, candidate) with the metric measured.
        margin: how much worse is still allowed at the next share, in the metric's units.
        alpha: the gate's part.
    """

    metric: str
    kind: str
    outcome: Finding
    effect: float | None
    interval: tuple[float, float] | None
    e_value: float
    units: tuple[int, int]
    margin: float
    alpha: float
    reason: str

    def record(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        interval = list(self.interval) if self.interval else None
        # An e-value can outgrow a float; JSON has no infinity.
        return {
            **plain,
            "outcome": str(self.outcome),
            "interval": interval,
            "units": list(self.units),
            "e_value": min(self.e_value, 1e300),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> GateResult:
        """Read a recorded result back."""
        interval = record["interval"]
        return cls(
            **{
                **record,
                "outcome": Finding(record["outcome"]),
                "interval": tuple(interval) if interval else None,
                "units": tuple(record["units"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence says of all gates.

    Args:
        reason: one sentence.
        look: which look it was, from 1.
        units: (stable, candidate) assigned and seen.
        more_units: how many more units of the candidate a decision needs, by estimate; None
            where none is needed or nothing can be said.
    """

    outcome: Outcome
    reason: str
    gates: tuple[GateResult, ...]
    look: int
    units: tuple[int, int]
    more_units: int | None = None

    def record(self) -> dict[str, Any]:
        """Plain JSON values, for the ledger."""
        return {
            "outcome": str(self.outcome),
            "reason": self.reason,
            "gates": [g.record() for g in self.gates],
            "look": self.look,
            "units": list(self.units),
            "more_units": self.more_units,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Verdict:
        """Read a recorded verdict back."""
        return cls(
            outcome=Outcome(record["outcome"]),
            reason=record["reason"],
            gates=tuple(GateResult.from_record(g) for g in record["gates"]),
            look=record["look"],
            units=(record["units"][0], record["units"][1]),
            more_units=record["more_units"],
        )


def judge(
    evidence: Evidence,
    gates: Gates,
    *,
    next_share: float = 1.0,
    part: float = 1.0,
    look: int = 1,
    candidate: str = CANDIDATE,
    baseline: str = STABLE,
) -> Verdict:
    """What the evidence says of the gates.

    Args:
        evidence: of one route.
        gates: chosen in advance.
        next_share: the share that a pass would lead to; budgets are divided by it, and goals
            are demanded only of a promotion (1.0).
        part: the part of the policy's alpha that this experiment may spend (1 / number of steps,
            say); the parts of all the steps of a rollout sum to at most 1.
        look: which look it is, from 1; for the record only, since any number of looks is allowed.

    Raises:
        UsageError: the next share or the part is outside (0, 1].
    """
    for name, value in (("next_share", next_share), ("part", part)):
        if not 0.0 < value <= 1.0:
            raise UsageError(f"{name} is {value:g}, and must lie above 0 and at most at 1")
    results = tuple(
        _judge_gate(evidence, g, gates.alpha(g) * part, next_share, baseline, candidate)
        for g in gates.gates
    )
    units = (evidence.units.get(baseline, 0), evidence.units.get(candidate, 0))
    outcome, reason = _overall(results, units, next_share)
    return Verdict(outcome, reason, results, look, units)


def _overall(
    results: tuple[GateResult, ...], units: tuple[int, int], next_share: float
) -> tuple[Outcome, str]:
    """The overall outcome: the worst news first."""
    worse = [g for g in results if g.outcome is Finding.WORSE]
    harmful = [g for g in worse if g.kind != "signal"]
    if harmful:
        return Outcome.FAIL, harmful[0].reason
    missing = [g for g in results if g.outcome is Finding.NOT_MEASURED]
    if missing:
        return Outcome.NOT_MEASURED, missing[0].reason
    if worse:
        return Outcome.INCONCLUSIVE, f"a signal holds the rollout: {worse[0].reason}"
    waiting = [g for g in results if not _satisfied(g, next_share)]
    if waiting:
        return Outcome.INCONCLUSIVE, waiting[0].reason
    return Outcome.PASS, "; ".join(g.reason for g in results)


def _satisfied(result: GateResult, next_share: float) -> bool:
    """Whether a gate that is not worse lets the rollout move on."""
    if result.kind == "goal":
        return result.outcome is Finding.BETTER or next_share < 1.0
    return result.kind == "signal" or result.outcome in (Finding.BETTER, Finding.NO_WORSE)


def _judge_gate(
    evidence: Evidence, gate: Gate, alpha: float, next_share: float, baseline: str, candidate: str
) -> GateResult:
    measured = evidence.metrics.get(gate.metric)
    arms = measured.arms if measured else {}
    units = tuple(arms[a].units if a in arms else 0 for a in (baseline, candidate))
    counts = (units[0], units[1])

    def result(outcome: Finding, reason: str, seen: Comparison | None = None) -> GateResult:
        return GateResult(
            metric=gate.name,
            kind=gate.kind,
            outcome=outcome,
            effect=seen.effect if seen else None,
            interval=seen.interval if seen else None,
            e_value=math.exp(min(seen.log_e_worse, 690.0)) if seen else 0.0,
            units=counts,
            margin=seen.margin if seen else 0.0,
            alpha=alpha,
            reason=reason,
        )

    if measured is None or not all(counts):
        if gate.missing == "fail":
            return result(
                Finding.WORSE, f"{gate.name} has no data, which this gate counts as worse"
            )
        empty = " and ".join(a for a, n in zip((baseline, candidate), counts, strict=True) if not n)
        return result(Finding.NOT_MEASURED, f"{gate.name} was not measured: no data of {empty}")
    share = _pair_share(evidence, baseline, candidate)
    seen = compare(measured, gate, baseline, candidate, share, alpha, next_share)
    return result(*_finding(gate, seen, counts, alpha, next_share), seen)


def _pair_share(evidence: Evidence, baseline: str, candidate: str) -> float:
    """The chance of a unit of either arm to be the candidate's; as seen, where not declared."""
    weights = evidence.shares or evidence.units
    return weights[candidate] / (weights[candidate] + weights[baseline])


def _finding(
    gate: Gate, seen: Comparison, units: tuple[int, int], alpha: float, next_share: float
) -> tuple[Finding, str]:
    need = math.log(1.0 / alpha)
    figures = (
        f"{gate.name} {seen.figures[1]:.4g} against stable's {seen.figures[0]:.4g}, "
        f"effect {seen.effect:+.4g} in [{seen.interval[0]:.4g}, {seen.interval[1]:.4g}], "
        f"{units[1]} against {units[0]} units"
    )
    if min(units) < gate.min_units:
        return Finding.UNDECIDED, f"{figures}: fewer than {gate.min_units} units"
    if seen.log_e_worse >= need:
        return Finding.WORSE, f"{figures}: worse than allowed"
    if seen.log_e_better >= need:
        return Finding.BETTER, f"{figures}: better"
    if seen.log_e_no_worse >= need:
        told = f"no worse than {seen.margin:.4g}"
        if gate.budget is not None:
            told += f", the budget {gate.budget:g} at the next share {next_share:g}"
        return Finding.NO_WORSE, f"{figures}: {told}"
    return Finding.UNDECIDED, f"{figures}: not decided at a margin of {seen.margin:.4g}"
