"""A league: several members beside stable, each judged against it and against the others.

A member that is surely worse than stable, or on the goal surely worse than another member, is
*out*. One that passes every gate against stable, and on the goal is surely no worse than any other
member that is still in, *wins*. Alpha holds for the whole league: half of it is spent on
comparisons with stable, half on those among members, and either half is shared over as many
members as the league may have. So neither does a member that is not worse go out, nor one win
that is no better than stable, with a larger chance than alpha, however many looks are taken and
however shares follow what was seen (with evidence that was put ``together`` from cohorts).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from statistics import NormalDist
from typing import Any

from slipway.errors import UsageError
from slipway.evidence import Evidence
from slipway.gates import Gate, Gates
from slipway.slices import spread
from slipway.verdict import STABLE, Finding, GateResult, Outcome, Verdict, judge

HALF_WIDTH = 3.0
"""About how many standard errors an interval reaches to either side, where ``next_shares`` needs
to know how sure a figure is. A wrong one makes shares follow the figures faster or slower."""

GRAIN = 0.05
"""Chances are told in steps of this, so that shares change seldom: every change begins a new
cohort."""

POINTS = 100
"""How finely ``next_shares`` works out chances."""

_SURE = (Finding.BETTER, Finding.NO_WORSE)


class Place(StrEnum):
    """Where a member stands."""

    WINS = "wins"  # to be promoted
    IN = "in"
    OUT = "out"  # to be eliminated


@dataclass(frozen=True, slots=True)
class Standing:
    """One member's place, and what it rests on; ``record`` leaves the verdict to its own.

    Args:
        verdict: of all gates, against stable.
        against: the goal against each other member, whose name it is under.
        reason: one sentence.
    """

    member: str
    place: Place
    verdict: Verdict
    against: Mapping[str, GateResult]
    reason: str

    @property
    def outcome(self) -> Outcome:
        """What its place comes to: a pass for the winner alone, a failure for who is out."""
        if self.place is not Place.IN:
            return Outcome.PASS if self.place is Place.WINS else Outcome.FAIL
        measured = self.verdict.outcome is not Outcome.NOT_MEASURED
        return Outcome.INCONCLUSIVE if measured else Outcome.NOT_MEASURED

    def record(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "member": self.member,
            "place": str(self.place),
            "reason": self.reason,
            "against": {other: found.record() for other, found in self.against.items()},
        }


@dataclass(frozen=True, slots=True)
class LeagueVerdict(Verdict):
    """What the standings ask for: a verdict on the one member that it concerns.

    *Fail* says that the member is out, *pass* that it wins; else it is on the one that is ahead.

    Args:
        release: the member's.
        standings: all of them, as plain values, each with its ``release``.
        chances: each member's chance of being the best, where shares follow it.
    """

    release: str = ""
    standings: tuple[Mapping[str, Any], ...] = ()
    chances: Mapping[str, float] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Plain JSON values, for the ledger."""
        told = {"chances": dict(self.chances)} if self.chances else {}
        return {**Verdict.record(self), "standings": [dict(s) for s in self.standings], **told}


def conclude(
    standings: Sequence[Standing],
    releases: Mapping[str, str],
    chances: Mapping[str, float] | None = None,
) -> LeagueVerdict:
    """One verdict from the standings: first who is out, then who wins, else who is ahead.

    Args:
        releases: each member's.
        chances: see ``LeagueVerdict``.
    """
    out = [s for s in standings if s.place is Place.OUT]
    of = out[0] if out else standings[0]
    said = of.verdict
    return LeagueVerdict(
        of.outcome,
        f"{of.member}: {of.reason}",
        said.gates,
        said.look,
        said.units,
        release=releases[of.member],
        standings=tuple({**s.record(), "release": releases[s.member]} for s in standings),
        chances=chances or {},
    )


Judge = Callable[[str, str, Gates, float], Verdict]
"""The verdict on (member, baseline, gates, part of alpha)."""


def contested(gates: Gates) -> bool:
    """Whether members can compete by these gates: there is one goal, a rate or mean."""
    return [g.type != "quantile" for g in gates.gates if g.kind == "goal"] == [True]


def goal_of(gates: Gates) -> Gate:
    """What members compete for: the one gate of kind ``goal``.

    Raises:
        UsageError: there is none, or more than one, or it is a quantile.
    """
    if not contested(gates):
        raise UsageError(
            "a league needs one goal, a rate or mean, that its members compete for",
            where="gates.toml",
            do="give that gate, and no other, kind = 'goal'",
        )
    return next(g for g in gates.gates if g.kind == "goal")


def parts(most: int) -> tuple[float, float]:
    """The parts of alpha of each comparison with stable, and of each of one member with another.

    Args:
        most: how many members the league may have, from first to last.
    """
    if most < 2:
        return 1.0, 0.0
    return 0.5 / most, 0.5 / (most * (most - 1))


def judge_evidence(evidence: Evidence, look: int = 1) -> Judge:
    """Judges by evidence that covers all arms."""

    def judge_pair(member: str, baseline: str, gates: Gates, part: float) -> Verdict:
        return judge(evidence, gates, part=part, look=look, candidate=member, baseline=baseline)

    return judge_pair


def stand(
    members: Sequence[str],
    gates: Gates,
    judge_pair: Judge,
    *,
    most: int = 0,
    baseline: str = STABLE,
) -> tuple[Standing, ...]:
    """The standings: best first, by the goal's figure; those out, and those unmeasured, last.

    Args:
        members: the arms that are in the league.
        gates: with one goal.
        judge_pair: gives the verdict on two arms.
        most: how many members the league may have, from first to last; by default, these.

    Raises:
        UsageError: there is no one goal, or there are more members than there may be.
    """
    goal, most = goal_of(gates), most or len(members)
    if len(members) > most:
        raise UsageError(f"{len(members)} members are in a league that may have {most}")
    for_stable, for_each = parts(most)
    alone = Gates(gates.policy, (goal,))
    verdicts = {m: judge_pair(m, baseline, gates, for_stable) for m in members}
    against = {
        m: {o: judge_pair(m, o, alone, for_each).gates[0] for o in members if o != m}
        for m in members
    }
    out = {m: v.reason for m, v in verdicts.items() if v.outcome is Outcome.FAIL}
    sound = [m for m in members if m not in out]
    measured = [m for m in sound if verdicts[m].outcome is not Outcome.NOT_MEASURED]
    for member in sound:  # what a member does better that fails, or is not measured, is no reason
        beaten = [o for o in measured if o != member and _worse(against[member][o])]
        if beaten:
            out[member] = f"worse than {beaten[0]}: {against[member][beaten[0]].reason}"
    inside = [m for m in sound if m not in out]
    told = [
        Standing(m, Place.OUT, verdicts[m], against[m], out[m])
        if m in out
        else _inside(m, inside, verdicts[m], against[m])
        for m in members
    ]
    return tuple(sorted(told, key=partial(_ahead, goal)))


def _worse(found: GateResult) -> bool:
    return found.outcome is Finding.WORSE


def _result(goal: Gate, standing: Standing) -> GateResult:
    return next(g for g in standing.verdict.gates if g.metric == goal.name)


def _ahead(goal: Gate, standing: Standing) -> tuple[int, bool, float]:
    """What members are ordered by: their place, and the goal's figure."""
    effect = _result(goal, standing).effect
    gain = 0.0 if effect is None else effect if goal.lower_is_better else -effect
    return list(Place).index(standing.place), effect is None, gain


def _inside(
    member: str, inside: Sequence[str], verdict: Verdict, against: Mapping[str, GateResult]
) -> Standing:
    """The place of a member that is not out."""
    others = [o for o in inside if o != member]
    unsure = [o for o in others if against[o].outcome not in _SURE]
    if verdict.outcome is not Outcome.PASS:
        return Standing(member, Place.IN, verdict, against, f"{verdict.outcome}: {verdict.reason}")
    if unsure:
        reason = f"passes against stable; against {unsure[0]}: {against[unsure[0]].reason}"
        return Standing(member, Place.IN, verdict, against, reason)
    over = f"surely no worse than {', '.join(others)}" if others else "no other is in"
    return Standing(member, Place.WINS, verdict, against, f"{verdict.reason}; {over}")


def next_shares(
    standings: Sequence[Standing], gates: Gates, total: float, floor: float
) -> dict[str, float]:
    """Shares of users by each member's chance of being the best, as its figures tell it.

    Args:
        standings: as ``stand`` gives them; those that are out get nothing.
        total: what members have together; stable has the rest.
        floor: what each gets at least, while it is in.

    Raises:
        UsageError: the floors add up to more than the total.

    Source: Thompson, "On the likelihood that one unknown probability exceeds another", 1933: with
    the chance itself, in place of a draw by it.
    """
    inside = [s.member for s in standings if s.place is not Place.OUT]
    parts = chances(standings, gates) or dict.fromkeys(inside, 0.0)
    return spread(parts, total, floor) if inside else {}


def chances(standings: Sequence[Standing], gates: Gates) -> dict[str, float]:
    """Each member's chance of being the best, as its figures tell it, in steps of ``GRAIN``.

    Args:
        standings: as ``stand`` gives them; those that are out have none.

    Returns:
        Nothing while one of them has no interval: nothing is known of it yet.

    Source: as ``next_shares``.
    """
    inside, goal = [s for s in standings if s.place is not Place.OUT], goal_of(gates)
    found = [_result(goal, s) for s in inside]
    if any(g.interval is None for g in found):
        return {}
    told = zip(inside, _chances(found, goal), strict=True)
    return {s.member: round(chance / GRAIN) * GRAIN for s, chance in told}


def _chances(found: Sequence[GateResult], goal: Gate) -> list[float]:
    """Each one's chance of being the best, its figure being normal about what was seen."""
    if len(found) < 2:
        return [1.0] * len(found)
    sign = -1.0 if goal.lower_is_better else 1.0
    errors = [(g.interval[1] - g.interval[0]) / (2 * HALF_WIDTH) for g in found if g.interval]
    laws = [
        NormalDist(sign * (g.effect or 0.0), max(e, 1e-12))
        for g, e in zip(found, errors, strict=True)
    ]
    chances = []
    for mine, law in enumerate(laws):
        others = [other for n, other in enumerate(laws) if n != mine]
        places = [law.inv_cdf((i + 0.5) / POINTS) for i in range(POINTS)]
        chances.append(math.fsum(math.prod(o.cdf(x) for o in others) for x in places) / POINTS)
    return chances
