"""A rehearsal: a whole rollout played in memory, by the very decisions that the flows make.

Nothing is served and nobody waits. Verdicts and the passing of time are told, and the ledger says
what would have happened, so a plan, a strategy or a story of failures is tried in microseconds:

>>> from slipway.testing import plan
>>> played = Rehearsal(plan(steps=[0.1]))
>>> played.release("A").event, played.tick().event
(<Event.OPENED: 'opened'>, <Event.PROMOTED: 'promoted'>)
>>> _ = played.release("B"), played.tick()
>>> played.served()
{'A': 0.9, 'B': 0.1}
>>> played.tick("fail").event, played.served()
(<Event.ROLLED_BACK: 'rolled_back'>, {'A': 1.0})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from slipway.controller import decide, leased, review_due, to_return
from slipway.drafts import open_rollout, return_to, reviewed, take
from slipway.joining import joining
from slipway.ledger import GENESIS, Draft, Entry, head
from slipway.lifecycle import Event
from slipway.plan import Plan
from slipway.review import Review
from slipway.rollout import ModelState, Step, fold
from slipway.terms import Terms
from slipway.testing import ManualClock, MemoryLedger, verdict

Act = Callable[[], object]
MODEL, PERSON, RULE = "flights", "anna", "judge"


class Rehearsal:
    """One model's ledger, a clock, and what people and the judge do.

    Args:
        how: the plan of every release that is launched.
    """

    def __init__(self, how: Plan) -> None:
        self.plan = how
        self.clock = ManualClock()
        self.ledger = MemoryLedger()

    @property
    def state(self) -> ModelState:
        """Folded afresh from the ledger."""
        return fold(MODEL, self.ledger.entries(MODEL))

    def release(self, name: str) -> Entry:
        """Open a release's rollout; one under way is superseded first, but a league is joined."""
        if joins := joining(self.state, name, self.plan):
            return self._append(
                take(self.state, joins, now=self.clock(), actor=PERSON, terms=Terms())
            )
        if self.state.rollout:
            self.take(Step(Event.SUPERSEDED, f"superseded by {name}"))
        opened = open_rollout(
            self.state, name, self.plan, now=self.clock(), actor=PERSON, reason=f"release {name}"
        )
        return self._append(opened)

    def tick(
        self,
        outcome: str = "inconclusive",
        *,
        next_share: float = 1.0,
        release: str = "",
        chances: Mapping[str, float] | None = None,
        broken: str = "",
        killed: str = "",
        meanwhile: Act | None = None,
    ) -> Entry | None:
        """One tick with the verdict that the judge would give; None where it wrote nothing.

        Args:
            next_share: the share that it was judged for, where the plan says ``auto``.
            release: the member of a league that it is on.
            chances: of a league whose shares follow what was seen, by arm.
            broken: the release that does not run.
            killed: ``before entry`` or ``before renewal``: its process ended there.
            meanwhile: what another writer does between the tick's reading and its writing.

        Raises:
            LedgerConflict: another writer was first.
        """
        state, now = self.state, self.clock()
        if state.rollout is None:
            return None
        said_by_judge = verdict(outcome, next_share=next_share, release=release, chances=chances)
        lease, why = self.ledger.lease(MODEL), "it ended" if broken else ""
        chosen, said = decide(state, lease, lambda: said_by_judge, now, why, broken)
        if meanwhile:
            meanwhile()
        if killed == "before entry":
            return None
        entry = None
        if chosen.event is not None:
            made = take(state, chosen, now=now, actor=RULE, verdict=said)
            entry = self.ledger.append(made, expect=state.last.hash if state.last else GENESIS)
        if killed != "before renewal":
            self._renew(now)
        return entry

    def _renew(self, now: float) -> None:
        state = self.state
        if leased(state) and state.route:
            self.ledger.renew(MODEL, state.route.number, state.route.lease_seconds, now)

    def approve(self) -> Entry:
        """A person approves what is held."""
        assert self.state.rollout is not None
        return self.take(self.state.rollout.approved("approved"))

    def resume(self) -> Entry:
        """A person lets what is held go on."""
        rollout = self.state.rollout
        return self.take(Step(Event.RESUMED, "go on", rollout.share if rollout else 0.0))

    def roll_back(self) -> Entry:
        """A person rolls the open rollout back."""
        return self.take(Step(Event.ROLLED_BACK, "pressed"))

    def give_back(self, name: str) -> Entry:
        """A person returns everyone to an earlier stable release."""
        back = return_to(self.state, name, now=self.clock(), actor=PERSON, reason="pressed")
        return self._append(back)

    def review(self, *, stands: bool) -> None:
        """What an idle tick does once labels have come: review, and return if it says so."""
        closed = review_due(self.state, self.clock())
        if closed is not None:
            told = "stands" if stands else "is contradicted"
            found = Review(stands, f"the {closed.outcome} {told}", closed)
            self._append(reviewed(self.state, found, now=self.clock(), actor=RULE))
        if back := to_return(self.state):
            self.give_back(back)

    def served(self) -> dict[str, float]:
        """Release to the share of users that get it now, as gateways give it out."""
        route = self.ledger.route(MODEL)
        if route is None:
            return {}
        valid = route.lease is not None and route.lease.left(self.clock()) > 0.0
        if any(a.leased for a in route.table.arms) and not valid:
            return {route.table.stable.release: 1.0}
        arms = [a for a in route.table.arms if a.takes_users]
        return {a.release: a.share for a in arms if a.leased or a is arms[0]}

    def take(self, chosen: Step) -> Entry:
        """Write down a step as a person's doing, whatever the judge says."""
        return self._append(take(self.state, chosen, now=self.clock(), actor=PERSON))

    def _append(self, made: Draft) -> Entry:
        return self.ledger.append(made, expect=head(self.ledger.entries(MODEL)))
