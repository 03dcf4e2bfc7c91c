"""One look at all arms of a file together: each one's verdict, and whose outcome that settles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from slipway.evidence import Evidence
from slipway.gates import Gates
from slipway.league import Place, Standing, contested, parts, stand
from slipway.verdict import Outcome, Verdict, judge

_OPEN = (Outcome.INCONCLUSIVE, Outcome.NOT_MEASURED, Place.IN)


@dataclass(frozen=True, slots=True)
class Look:
    """One look at one candidate.

    Args:
        number: which, from 1.
        at: when.
        verdict: against the baseline.
        settled: the outcome, if it is decided; of an arm that competes its place.
    """

    number: int
    at: float
    verdict: Verdict
    settled: Outcome | Place | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """One look at all arms.

    Args:
        looks: at each candidate whose outcome was open.
        standings: of those, best first, where they compete.
        beside: looks at the others, for a picture.
    """

    looks: Mapping[str, Look]
    standings: tuple[Standing, ...] = ()
    beside: Mapping[str, Look] = field(default_factory=dict)

    @property
    def open(self) -> list[str]:
        """Whose outcome is still open after it: no one's, once somebody has won."""
        if any(s.place is Place.WINS for s in self.standings):
            return []
        return [arm for arm, look in self.looks.items() if look.settled is None]


@dataclass(frozen=True, slots=True)
class Trial:
    """What stays the same over all looks.

    Several arms compete where there is one goal that they can compete for. Elsewhere they share
    alpha equally, since each could be called worse by chance.

    Args:
        gates: chosen in advance.
        baseline: the arm that all are compared with.
        members: the others, all of them.
    """

    gates: Gates
    baseline: str
    members: Sequence[str]

    @property
    def competes(self) -> bool:
        """Whether the arms have standings."""
        return len(self.members) > 1 and contested(self.gates)

    def look(
        self,
        evidence: Evidence,
        at: float,
        *,
        number: int = 1,
        inside: Sequence[str] | None = None,
        intervals: bool = True,
        beside: bool = False,
    ) -> Round:
        """Judge all arms whose outcome is open.

        Args:
            inside: those; all of them by default.
            intervals: whether every verdict has its intervals, or only those of a look that settles
                something.
            beside: whether the other arms are looked at, too.
        """
        inside = self.members if inside is None else inside

        def judge_pair(member: str, against: str, gates: Gates, part: float) -> Verdict:
            return judge(
                evidence, gates, part=part, look=number, candidate=member, baseline=against,
                intervals=intervals,
            )  # fmt: skip

        def verdicts(members: Sequence[str]) -> dict[str, Verdict]:
            return {m: judge_pair(m, self.baseline, self.gates, self._part) for m in members}

        if self.competes:
            most = len(self.members)
            standings = stand(inside, self.gates, judge_pair, most=most, baseline=self.baseline)
            told = {s.member: (s.verdict, _settled(s.place)) for s in standings}
        else:
            standings = ()
            told = {m: (v, _settled(v.outcome)) for m, v in verdicts(inside).items()}
        looks = {m: Look(number, at, verdict, settled) for m, (verdict, settled) in told.items()}
        if not intervals and any(look.settled for look in looks.values()):
            return self.look(evidence, at, number=number, inside=inside, beside=beside)
        others = [m for m in self.members if beside and m not in inside]
        return Round(
            looks, standings, {m: Look(number, at, v) for m, v in verdicts(others).items()}
        )

    @property
    def _part(self) -> float:
        """Of alpha, for each comparison with the baseline."""
        return parts(len(self.members))[0] if self.competes else 1.0 / len(self.members)


def _settled(said: Outcome | Place) -> Outcome | Place | None:
    return None if said in _OPEN else said
