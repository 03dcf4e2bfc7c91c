"""judge(evidence, gates) -> Verdict: what the evidence says, at any look.

Each gate asks two questions of its metric: is the candidate worse than allowed, and is it surely
no worse? Each is answered by e-processes (``slipway.sequential``) at the gate's part of alpha, so
neither answer comes wrongly with a larger chance, however often one looks. Fail closed: what was
not measured is never a pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from slipway.alone import compare_alone
from slipway.cohorts import compare_cohorts
from slipway.errors import UsageError
from slipway.evidence import Cohorts, Evidence, Measured, Tails
from slipway.gates import Gate, Gates
from slipway.inference import Comparison, Pair, compare
from slipway.quantiles import compare_quantiles
from slipway.sequential import mismatch
from slipway.unmeasured import due, unmeasured

STABLE, CANDIDATE = "stable", "candidate"

NOTHING = 1e-12
"""A figure below it is told as 0: values are summed about a centre, and zeros leave a trace."""
SHORT_OF_ALL = 0.999
CROSSED = 0.01
"""The part of units seen in two arms from which nothing can be compared."""


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
            None where it has an open end.
        e_value: the evidence that the candidate is worse than allowed. 1/alpha decides; a rate
            that is compared by counts may be decided from half of that (``sequential.refuted``).
        units: (stable, candidate) with the metric measured.
        margin: how much worse is still allowed at the next share, in the metric's units.
        alpha: the gate's part.
        more_units: how many more units of the candidate a decision needs, by estimate; None
            where it is decided or nothing can be said.
        share: the largest share of users at which the evidence keeps harm within the budget; for
            a gate without one, 1 if it lets the rollout move on, or 0; for a goal that is not
            reached yet, just short of 1.
        resolution: how far the effect of a quantile may be off, since values are counted in bins
            of 1 %; the interval includes it.
        ratio: the confidence sequence of the candidate's rate over stable's, for a rate with a
            relative margin whose events are rare; None elsewhere, and where it has an open end.
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
    more_units: int | None = None
    share: float = 0.0
    resolution: float = 0.0
    ratio: tuple[float, float] | None = None

    def record(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain = {name: getattr(self, name) for name in self.__slots__}
        interval = list(self.interval) if self.interval else None
        # An e-value can outgrow a float; JSON has no infinity.
        return {
            **plain,
            "outcome": str(self.outcome),
            "interval": interval,
            "ratio": list(self.ratio) if self.ratio else None,
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
                "ratio": tuple(record["ratio"]) if record.get("ratio") else None,
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
        next_share: the share that it was judged for.
    """

    outcome: Outcome
    reason: str
    gates: tuple[GateResult, ...]
    look: int
    units: tuple[int, int]
    more_units: int | None = None
    next_share: float = 1.0

    @property
    def share(self) -> float:
        """The largest share of users that the evidence supports: what ``steps: auto`` moves to."""
        if self.outcome in (Outcome.FAIL, Outcome.NOT_MEASURED):
            return 0.0
        return min(g.share for g in self.gates)

    @property
    def holds(self) -> bool:
        """Whether nothing is missing but a person's word on a signal that is worse."""
        worse = any(g.outcome is Finding.WORSE for g in self.gates)
        return self.outcome is Outcome.INCONCLUSIVE and worse

    def record(self) -> dict[str, Any]:
        """Plain JSON values, for the ledger."""
        return {
            "outcome": str(self.outcome),
            "reason": self.reason,
            "gates": [g.record() for g in self.gates],
            "look": self.look,
            "units": list(self.units),
            "more_units": self.more_units,
            "next_share": self.next_share,
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
            next_share=record.get("next_share", 1.0),  # entries before 0.2 do not tell
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
    intervals: bool = True,
) -> Verdict:
    """What the evidence says of the gates.

    Args:
        evidence: of one route, or of several as cohorts (``evidence.together``).
        gates: chosen in advance.
        next_share: the share that a pass would lead to; budgets are divided by it, and goals
            are demanded only of a promotion (1.0).
        part: the part of the policy's alpha that this experiment may spend (1 / number of steps,
            say); the parts of all the steps of a rollout sum to at most 1.
        look: which look it is, from 1; for the record only, since any number of looks is allowed.
        intervals: whether to work out the intervals, which no decision needs.

    Raises:
        UsageError: the next share or the part is outside (0, 1].
    """
    for name, value in (("next_share", next_share), ("part", part)):
        if not 0.0 < value <= 1.0:
            raise UsageError(f"{name} is {value:g}, and must lie above 0 and at most at 1")
    shares = {} if evidence.cohorts else evidence.shares or gates.policy.shares
    pair = Pair(baseline, candidate, _chance(shares or evidence.units, baseline, candidate))
    units = _units(evidence, pair)
    split_is_known = all(shares.get(arm, 0.0) > 0.0 for arm in (baseline, candidate))
    split = _Split(pair if split_is_known else None, gates.policy.srm_alpha)
    results = tuple(
        _judge_gate(
            evidence,
            g,
            gates.alpha(g) * part,
            next_share,
            pair,
            split,
            intervals,
        )
        for g in gates.gates
    )
    outcome, reason = _overall(results, _doubt(evidence, pair, split), next_share)
    more = max((g.more_units or 0 for g in results), default=0)
    waits = outcome is Outcome.INCONCLUSIVE and more > 0
    return Verdict(outcome, reason, results, look, units, more if waits else None, next_share)


def _chance(weights: Mapping[str, float], baseline: str, candidate: str) -> float:
    """The chance of a unit of either arm to be the candidate's; 0.5 where nothing was seen."""
    mine, theirs = weights.get(candidate, 0.0), weights.get(baseline, 0.0)
    return mine / (mine + theirs) if mine > 0.0 and theirs > 0.0 else 0.5


@dataclass(frozen=True, slots=True)
class _Split:
    """The declared split of units, and the chance of doubting it wrongly."""

    pair: Pair | None
    alpha: float

    def doubt(self, units: tuple[int, int], what: str) -> str:
        """Why the units do not fit the shares, or nothing."""
        if self.pair is None or not any(units):
            return ""
        share = self.pair.share
        if mismatch(units, (1.0 - share, share)) < math.log(1.0 / self.alpha):
            return ""
        return (
            f"sample-ratio mismatch: {what} are {units[0]} of {self.pair.baseline} and {units[1]} "
            f"of {self.pair.candidate}, where the candidate's share is {share:.4g}"
        )


def _doubt(evidence: Evidence, pair: Pair, split: _Split) -> str:
    """Why nothing can be compared at all, or nothing."""
    units = _units(evidence, pair)
    if not any(units):
        return "there was no traffic"
    if evidence.crossed > CROSSED * (sum(units) + evidence.crossed):
        return f"{evidence.crossed} units were seen in more than one arm"
    return _doubt_cohorts(evidence, pair, split) or split.doubt(units, "units")


def _units(evidence: Evidence, pair: Pair) -> tuple[int, int]:
    return evidence.units.get(pair.baseline, 0), evidence.units.get(pair.candidate, 0)


def _doubt_cohorts(evidence: Evidence, pair: Pair, split: _Split) -> str:
    """Why the units of cohorts do not fit their shares: what each says of it multiplies."""
    log_e = 0.0
    for cohort in evidence.cohorts:
        shares = [cohort.shares.get(arm, 0.0) for arm in (pair.baseline, pair.candidate)]
        if min(shares) > 0.0:
            log_e += mismatch(_units(cohort, pair), [s / sum(shares) for s in shares])
    if log_e < math.log(1.0 / split.alpha):
        return ""
    return (
        f"sample-ratio mismatch: the units of {pair.baseline} and {pair.candidate} do not fit the "
        f"shares of their {len(evidence.cohorts)} route tables"
    )


def _overall(results: tuple[GateResult, ...], doubt: str, next_share: float) -> tuple[Outcome, str]:
    """The overall outcome: the worst news first."""
    worse = [g for g in results if g.outcome is Finding.WORSE]
    harmful = [g for g in worse if g.kind != "signal"]
    if harmful:
        return Outcome.FAIL, harmful[0].reason
    if doubt:
        return Outcome.NOT_MEASURED, doubt
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
    evidence: Evidence,
    gate: Gate,
    alpha: float,
    next_share: float,
    pair: Pair,
    split: _Split,
    intervals: bool,
) -> GateResult:
    seen = evidence.metrics.get(gate.name)
    if isinstance(seen, Cohorts):
        seen = seen.having(pair.baseline, pair.candidate)
    level = seen if seen is None or isinstance(seen, Measured) else seen.level
    arms = level.arms if level else {}
    stable, candidate = (
        arms[arm].units if arm in arms else 0 for arm in (pair.baseline, pair.candidate)
    )
    units = (stable, candidate)
    missing = unmeasured(seen, level, gate, units, pair)
    uneven = "" if gate.limit is not None else split.doubt(units, f"units with {gate.name}")
    if seen is None or missing or uneven:
        failed = bool(missing) and gate.missing == "fail" and due(evidence, level, gate, pair)
        empty = missing or uneven
        reason = f"{empty}, which this gate counts as worse" if failed else empty
        outcome = Finding.WORSE if failed else Finding.NOT_MEASURED
        return GateResult(gate.name, gate.kind, outcome, None, None, 1.0, units, 0.0, alpha, reason)
    if gate.limit is not None and isinstance(seen, Measured):
        result = compare_alone(seen, gate, pair.candidate, alpha, intervals)
        outcome, told = _finding(gate, result, candidate, next_share)
    else:
        result = _compare(seen, gate, pair, alpha, next_share, intervals)
        outcome, told = _finding(gate, result, min(units), next_share)
    answer = GateResult(
        metric=gate.name,
        kind=gate.kind,
        outcome=outcome,
        effect=result.effect,
        interval=result.interval,
        e_value=math.exp(min(result.log_e, 690.0)),
        units=units,
        margin=_margin(gate, result.figures[0], next_share),
        alpha=alpha,
        resolution=result.resolution,
        ratio=result.ratio,
        reason=f"{_figures(gate, result, units, pair.baseline)}: {told}",
        more_units=_more(gate, result, candidate, next_share)
        if outcome is Finding.UNDECIDED
        else None,
    )
    return replace(answer, share=_share(answer, gate, next_share))


def _compare(
    seen: Measured | Tails | Cohorts,
    gate: Gate,
    pair: Pair,
    alpha: float,
    next_share: float,
    intervals: bool,
) -> Comparison:
    if isinstance(seen, Tails):
        return compare_quantiles(seen, gate, pair, alpha, next_share, intervals)
    if isinstance(seen, Measured):
        return compare(seen, gate, pair, alpha, next_share, intervals)
    arms = (pair.baseline, pair.candidate)
    told = [(m, replace(pair, share=_chance(shares, *arms))) for m, shares in seen.each]
    return compare_cohorts(told, gate, alpha, next_share, intervals)


def _share(result: GateResult, gate: Gate, next_share: float) -> float:
    """The largest share at which harm, at the far end of its interval, is within the budget."""
    if result.kind == "goal":  # demanded of a promotion only: any share below it is supported
        return 1.0 if result.outcome is Finding.BETTER else SHORT_OF_ALL
    if gate.budget is None or gate.kind != "guardrail":
        return 1.0 if _satisfied(result, next_share) else 0.0
    if result.interval is None or min(result.units) < gate.min_units:
        return 0.0
    harm = result.interval[1] if gate.lower_is_better else -result.interval[0]
    return 1.0 if harm <= gate.budget else gate.budget / harm


def _margin(gate: Gate, stable: float, next_share: float) -> float:
    """How much worse is still allowed, in the metric's units; none beyond a limit."""
    if gate.relative is not None:
        return gate.relative * abs(stable)
    return gate.absolute if gate.absolute is not None else (gate.budget or 0.0) / next_share


def _figures(gate: Gate, seen: Comparison, units: tuple[int, int], baseline: str) -> str:
    interval, figures = seen.interval, [0.0 if abs(f) < NOTHING else f for f in seen.figures]
    blur = f" to within {seen.resolution:.2g}" if seen.resolution else ""
    span = f", in [{interval[0]:+.3g}, {interval[1]:+.3g}]" if interval else ""
    if gate.limit is not None:
        return (
            f"{gate.name} {figures[1]:.4g} at a limit of {gate.limit:g} "
            f"({seen.effect:+.3g}{span}; {units[1]} units)"
        )
    return (
        f"{gate.name} {figures[1]:.4g} against {baseline}'s {figures[0]:.4g} "
        f"({seen.effect:+.3g}{blur}{span}; {units[1]} against {units[0]} units)"
    )


def _finding(gate: Gate, seen: Comparison, units: int, next_share: float) -> tuple[Finding, str]:
    if gate.limit is not None:
        return _finding_alone(gate, seen, units)
    margin = _margin(gate, seen.figures[0], next_share)
    allowed = f"a margin of {margin:.4g}"
    if gate.budget is not None:
        allowed += f" (the budget {gate.budget:g} at the next share {next_share:g})"
    if units < gate.min_units:
        return Finding.UNDECIDED, f"an arm has fewer than {gate.min_units} units"
    if seen.worse:
        beyond = gate.budget if gate.budget is not None else margin
        return Finding.WORSE, f"worse by more than {beyond:.4g}"
    if seen.better:
        return Finding.BETTER, "better"
    if seen.no_worse:
        return Finding.NO_WORSE, f"no worse within {allowed}"
    return Finding.UNDECIDED, _lacks(seen) or f"undecided at {allowed}"


def _finding_alone(gate: Gate, seen: Comparison, units: int) -> tuple[Finding, str]:
    if units < gate.min_units:
        return Finding.UNDECIDED, f"fewer than {gate.min_units} units"
    if seen.worse:
        return Finding.WORSE, "surely beyond it"
    if seen.no_worse:
        return Finding.NO_WORSE, "surely within it"
    return Finding.UNDECIDED, _lacks(seen) or "undecided"


def _lacks(seen: Comparison) -> str:
    if seen.lacks is None:
        return ""
    have, need = seen.lacks
    return (
        f"undecided: without bounds (low, high) it takes {need:.0f} effective units of an arm, "
        f"and there are {have:.0f}: few units, or a few very large ones"
    )


def _more(gate: Gate, seen: Comparison, units: int, next_share: float) -> int | None:
    """The candidate's units still needed, if the effect stays as it is.

    The interval narrows as one over the root of the units; a decision needs its half-width to
    be no more than the distance of the effect from the border.
    """
    if seen.interval is None:
        return None
    sign = 1.0 if gate.lower_is_better else -1.0
    harm = sign * seen.effect
    margin = _margin(gate, seen.figures[0], next_share)
    half = (seen.interval[1] - seen.interval[0]) / 2.0
    gap = abs(margin - harm)
    return math.ceil(units * ((half / gap) ** 2 - 1.0)) if half > gap > 0.0 else None
