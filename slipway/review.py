"""Whether a closed decision still stands, once labels that came later are counted.

A decision is made on the labels that came within their ``maturity``. Others come afterwards, and
may contradict it. A review judges the same requests again with a longer window. It is an
experiment of its own, with an alpha of its own, and may be repeated as often as labels come.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from slipway.errors import UsageError
from slipway.evidence import Evidence
from slipway.gates import Gates
from slipway.verdict import CANDIDATE, STABLE, Finding, Outcome, Verdict, judge


@dataclass(frozen=True, slots=True)
class Review:
    """What later labels say of a closed decision.

    Args:
        stands: whether nothing contradicts it; None where nothing could be measured any more.
        reason: one sentence.
        verdict: the same gates, judged on all labels so far.
    """

    stands: bool | None
    reason: str
    verdict: Verdict


def labelled(gates: Gates, until: float) -> Gates:
    """The gates whose values come late, waiting longer for them: what a review gathers and judges.

    Args:
        until: seconds after a request up to which its label counts; the ``maturity`` of a gate
            that has one becomes this.

    Raises:
        UsageError: no gate waits for labels, or one waits longer already.
    """
    late = tuple(g for g in gates.gates if g.maturity > 0.0)
    if not late:
        raise UsageError(
            "no gate waits for labels, so none can come late", do="give a gate a maturity"
        )
    longest = max(g.maturity for g in late)
    if until <= longest:
        raise UsageError(
            f"a review after {until:g} seconds sees nothing new: a gate's maturity is {longest:g}",
            do="review later",
        )
    return Gates(gates.policy, tuple(replace(g, maturity=until) for g in late))


def review(
    closed: Verdict,
    evidence: Evidence,
    gates: Gates,
    *,
    next_share: float = 1.0,
    candidate: str = CANDIDATE,
    baseline: str = STABLE,
) -> Review:
    """Whether a closed decision stands.

    A pass is contradicted where the candidate is now found worse. A failure is contradicted where
    a gate that was worse is now found no worse; what another gate found still stands.

    Args:
        closed: the verdict that decided.
        evidence: of the same requests, gathered for ``labelled(gates, ...)``.
        gates: those gates.
        next_share: as it was given to the verdict that decided.

    Raises:
        UsageError: the verdict decided nothing.
    """
    if closed.outcome not in (Outcome.PASS, Outcome.FAIL):
        raise UsageError(f"a verdict that is {closed.outcome} decided nothing to review")
    told = {"candidate": candidate, "baseline": baseline, "next_share": next_share}
    verdict = judge(evidence, gates, look=closed.look, **told)  # type: ignore[arg-type]
    if verdict.outcome is Outcome.NOT_MEASURED:
        unknown = f"whether the {closed.outcome} stands was not measured: {verdict.reason}"
        return Review(None, unknown, verdict)
    now = {g.metric: g for g in verdict.gates}
    if closed.outcome is Outcome.PASS:
        against = [g for g in now.values() if g.outcome is Finding.WORSE]
        stands = not against
    else:
        worse = [g for g in closed.gates if g.outcome is Finding.WORSE and g.kind != "signal"]
        sound = (Finding.BETTER, Finding.NO_WORSE)
        against = [now[g.metric] for g in worse if g.metric in now]
        stands = len(against) < len(worse) or any(g.outcome not in sound for g in against)
    if stands:
        return Review(True, f"the {closed.outcome} stands: {verdict.reason}", verdict)
    return Review(
        False, f"later labels contradict the {closed.outcome}: {against[0].reason}", verdict
    )
