"""The controller: whole rollouts played through, with lists of verdicts and of times."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.controller import RESTARTS, decide, lease_ran_out, leased, review_due
from slipway.errors import RolloutError
from slipway.ledger import Entry
from slipway.lifecycle import Event, State
from slipway.plan import Plan
from slipway.rehearsal import MODEL, Rehearsal
from slipway.rollout import Step, fold
from slipway.routing import Lease
from slipway.testing import plan, verdict
from slipway.verdict import Outcome

LADDER = (0.01, 0.05, 0.25, 0.5)


def opened(how: Plan | None = None) -> Rehearsal:
    """A model with a stable release A, and B just opened."""
    played = Rehearsal(how or plan(LADDER))
    played.release("A")
    played.tick()
    played.release("B")
    return played


def events(entries: tuple[Entry, ...]) -> list[str]:
    """The story in the words of the lifecycle."""
    return [str(e.event) for e in entries]


def test_nothing_is_decided_where_no_rollout_is_open() -> None:
    """And the judge is not even asked."""
    step, said = decide(fold(MODEL, ()), None, never, 1_000.0)
    assert (step.event, said) == (None, None)


def never() -> None:  # type: ignore[return]
    """A judge that must not be asked."""
    raise AssertionError("the judge was asked where no share is live")


def test_a_candidate_that_does_not_run_is_rolled_back() -> None:
    """Nobody waits for a verdict on what cannot answer, and the reason says what it said."""
    played = opened()
    step, said = decide(played.state, None, never, 1_000.0, "replica 0 ended")
    assert (step.event, said) == (Event.ROLLED_BACK, None)
    assert step.reason == "the release does not run: replica 0 ended"


def test_the_first_release_is_promoted_without_a_verdict() -> None:
    """There is nothing to compare with, and the entry says so in those words."""
    played = Rehearsal(plan(LADDER))
    played.release("A")
    step, said = decide(played.state, None, never, 1_000.0)
    assert (step.event, said) == (Event.PROMOTED, None)
    assert step.reason.startswith("no baseline")


def test_an_opened_rollout_starts_at_its_first_share_without_a_verdict() -> None:
    """Nobody has been served yet, so there is no evidence to judge."""
    step, said = decide(opened().state, None, never, 1_000.0)
    assert (step.event, step.share, said) == (Event.STARTED, 0.01, None)


def test_a_healthy_candidate_climbs_every_step_and_is_promoted() -> None:
    """Pass, pass, pass: each share once, in order, then everyone."""
    played = opened()
    shares = []
    for _ in [*LADDER, 1.0]:
        played.tick("pass")
        shares.append(played.served().get("B"))
    assert shares == [*LADDER, 1.0]
    assert events(played.ledger.entries(MODEL)) == (
        ["opened", "promoted", "opened", "started", *["advanced"] * 3, "promoted"]
    )


@pytest.mark.parametrize("steps", range(4))
def test_a_fail_at_any_step_returns_everyone(steps: int) -> None:
    """One tick later nobody has the candidate, and the rollout is closed."""
    played = opened()
    for _ in range(steps + 1):
        played.tick("pass")
    entry = played.tick("fail")
    assert entry is not None
    assert entry.event is Event.ROLLED_BACK
    assert played.served() == {"A": 1.0}
    assert played.state.rollout is None
    assert played.tick("pass") is None


@pytest.mark.parametrize("outcome", ["inconclusive", "not_measured"])
def test_without_a_pass_a_step_ends_with_its_time(outcome: str) -> None:
    """Ten minutes of waiting, renewing the lease at each tick, and then back."""
    played = opened(plan(LADDER, max_seconds=600.0))
    played.tick()
    for _ in range(59):
        played.clock.advance(10.0)
        assert played.tick(outcome) is None
        assert played.served() == {"A": 0.99, "B": 0.01}
    played.clock.advance(10.0)
    entry = played.tick(outcome)
    assert entry is not None
    assert entry.event is Event.ROLLED_BACK


def test_a_lease_that_ran_out_is_recorded_and_the_step_starts_afresh() -> None:
    """The judge comes back, says what the gateways did, and only then goes on."""
    played = opened()
    played.tick()
    played.tick("pass")
    played.clock.advance(60.0)
    assert played.served() == {"A": 1.0}  # by the gateways alone, with nobody else alive
    told = [played.tick("pass"), played.tick("pass")]
    assert events(tuple(e for e in told if e)) == ["expired", "resumed"]
    rollout = played.state.rollout
    assert rollout is not None
    assert (rollout.share, rollout.since) == (0.05, played.clock())
    assert played.served() == {"A": 0.95, "B": 0.05}


def test_neither_expiry_nor_resumption_asks_the_judge() -> None:
    """Evidence of a lapsed share says nothing of the share to come."""
    played = opened()
    played.tick()
    played.clock.advance(61.0)
    lease = played.ledger.lease(MODEL)
    assert decide(played.state, lease, never, played.clock())[0].event is Event.EXPIRED
    played.tick()
    assert played.state.state is State.LAPSED
    assert decide(played.state, lease, never, played.clock())[0].event is Event.RESUMED


def test_only_a_lease_of_the_route_in_force_can_run_out() -> None:
    """One never granted, or of an earlier route, has not run out: it was never there."""
    played = opened()
    state = played.state
    assert state.route is not None
    number = state.route.number
    assert not lease_ran_out(state, None, 1e9)
    assert not lease_ran_out(state, Lease(number - 1, 1, 0.0, 60.0), 1e9)
    assert lease_ran_out(state, Lease(number, 1, 0.0, 60.0), 60.0)
    assert not lease_ran_out(state, Lease(number, 1, 0.0, 60.0), 59.9)


def test_only_a_share_needs_a_lease() -> None:
    """Stable alone is nobody's to expire."""
    played = opened()
    assert not leased(played.state)
    played.tick()
    assert leased(played.state)


class Reckless:
    """A strategy that moves forward whatever the judge says."""

    name = "reckless"

    def next(self, *_: object) -> Step:
        """Half of the users, please."""
        return Step(Event.ADVANCED, "trust me", 0.5)


class Eager:
    """A strategy that climbs on every pass, held or not."""

    name = "eager"

    def next(self, *_: object) -> Step:
        """The next share, please."""
        return Step(Event.ADVANCED, "it passed", LADDER[1])


class Backwards:
    """A strategy that advances to less, which is the next step to the ladder."""

    name = "backwards"

    def next(self, *_: object) -> Step:
        """Fewer users, please, and one step on."""
        return Step(Event.ADVANCED, "carefully", 0.001)


class Shifty:
    """A strategy that shifts shares where there are no members."""

    name = "shifty"

    def next(self, *_: object) -> Step:
        """Other shares, please."""
        return Step(Event.SHIFTED, "as I like it", 0.01)


class Hasty:
    """A strategy that promotes whatever the judge says, and names no share."""

    name = "hasty"

    def next(self, *_: object) -> Step:
        """Everyone, please."""
        return Step(Event.PROMOTED, "trust me")


@pytest.mark.parametrize("kind", [Reckless, Hasty, Backwards, Shifty])
@pytest.mark.parametrize("outcome", list(Outcome))
def test_no_strategy_gets_past_the_verdict(kind: type, outcome: str) -> None:
    """A team's own strategy cannot raise a share without a pass, nor skip a step with one."""
    played = opened(plan(LADDER, strategy=f"{__name__}:{kind.__name__}"))
    played.tick()
    with pytest.raises(RolloutError, match=r"the strategy .* wants"):
        played.tick(outcome)
    assert played.served() == {"A": 0.99, "B": 0.01}


def test_users_after_copies_are_a_move_forward() -> None:
    """A strategy cannot call half of the users less than copies of nearly all requests."""
    users = plan([0.5], strategy=f"{__name__}:Reckless")
    copies = {**users.steps[0], "share": 0.9, "mirror": True}
    played = opened(replace(users, steps=(copies, *users.steps)))
    played.tick()
    with pytest.raises(RolloutError, match=r"the strategy .* wants"):
        played.tick("inconclusive")
    assert played.served() == {"A": 1.0}
    played.tick("pass")
    assert played.served() == {"A": 0.5, "B": 0.5}


VERDICTS = st.lists(
    st.tuples(st.sampled_from(list(Outcome)), st.sampled_from([1.0, 30.0, 61.0, 700.0])),
    max_size=20,
)
PLANS = st.builds(
    plan,
    st.sampled_from([(0.5,), (0.1, 0.5), LADDER]),
    min_seconds=st.sampled_from([0.0, 20.0]),
    on_inconclusive=st.sampled_from(["rollback", "hold", "extend"]),
    approval=st.booleans(),
)


@given(PLANS, VERDICTS)
def test_whatever_the_judge_says_a_share_rises_only_on_a_pass(
    how: Plan, verdicts: list[tuple[Outcome, float]]
) -> None:
    """Any plan, any verdicts, any silences: no step is skipped, and after a fail stable stays."""
    played = opened(how)
    ladder = [0.0, *(s["share"] for s in how.steps), 1.0]
    climbed, failed = 0.0, False
    for outcome, seconds in verdicts:
        entry = played.tick(outcome)
        now = played.served().get("B", 0.0)
        if now > climbed:
            started = entry is not None and entry.event in (Event.STARTED, Event.RESUMED)
            assert outcome is Outcome.PASS or started
            assert (climbed, now) in pairwise(ladder)
            climbed = now
        if failed:
            assert now == 0.0
        failed = failed or (entry is not None and entry.event is Event.ROLLED_BACK)
        played.clock.advance(seconds)
        if played.state.rollout and seconds >= 60.0:
            assert played.served() == {"A": 1.0}
    assert played.ledger.faults(MODEL) == []
    assert all(e.body.get("verdict", {}).get("outcome") == "pass"
               for e in played.ledger.entries(MODEL) if e.event is Event.ADVANCED)  # fmt: skip


@given(PLANS, VERDICTS, st.data())
def test_a_kill_at_any_point_of_a_tick_changes_nothing_of_the_story(
    how: Plan, verdicts: list[tuple[Outcome, float]], data: st.DataObject
) -> None:
    """Killed before an entry or after it, the next tick goes on; nothing happens twice."""
    played = opened(how)
    for outcome, _ in verdicts:
        before = len(played.ledger.entries(MODEL))
        killed = data.draw(st.sampled_from(["", "before entry", "before renewal"]))
        played.tick(outcome, killed=killed)
        written = len(played.ledger.entries(MODEL)) - before
        assert written == 0 if killed == "before entry" else written in (0, 1)
        assert set(played.served()) <= {"A", "B"}
    assert played.ledger.faults(MODEL) == []
    promoted = [e for e in played.ledger.entries(MODEL) if e.event is Event.PROMOTED]
    assert len(promoted) <= 2


def test_a_verdict_is_kept_in_the_entry_it_moved() -> None:
    """What decide gives back is what the judge said."""
    played = opened()
    played.tick()
    _, said = decide(played.state, None, lambda: verdict("pass"), played.clock())
    assert said == verdict("pass")


def test_a_step_that_starts_anew_spends_what_its_first_try_left_of_alpha() -> None:
    """However often the judge is away, all tries of all steps together spend no more than alpha."""
    played = opened()
    played.tick()
    parts = []
    for _ in range(RESTARTS):
        assert played.state.rollout is not None
        parts.append(played.state.rollout.part)
        played.clock.advance(60.0)
        assert [played.tick("pass"), played.tick("pass")] != [None, None]  # expired, resumed
    assert parts == sorted(parts, reverse=True)
    assert min(parts) > 0.0
    assert sum(parts) <= 1.0 / len(LADDER)
    played.tick("pass")
    assert played.state.rollout is not None
    assert played.state.rollout.part == parts[0]


def test_what_a_person_closes_by_hand_has_no_verdict_to_review() -> None:
    """The pass that led to this share judged another route, and closed nothing."""
    played = opened(plan(LADDER, review={"after": 60.0, "then": "alert"}))
    played.tick()
    played.tick("pass")
    played.roll_back()
    played.clock.advance(100.0)
    assert review_due(played.state, played.clock()) is None


def test_a_judge_that_keeps_losing_its_lease_ends_the_launch() -> None:
    """Each try has the step's whole time, but there are only so many of them."""
    played = opened(plan((0.5,), max_seconds=600.0, on_inconclusive="extend"))
    played.tick()
    for _ in range(RESTARTS):
        played.clock.advance(61.0)
        assert [e.event for e in (played.tick(), played.tick()) if e] == ["expired", "resumed"]
    played.clock.advance(61.0)
    assert [e.event for e in (played.tick(), played.tick()) if e] == ["expired", "rolled_back"]
    assert played.served() == {"A": 1.0}
    assert "ran out 11 times in one step" in played.ledger.entries(MODEL)[-1].reason


def test_a_strategy_moves_nothing_forward_that_is_held() -> None:
    """Whatever it was held for, a person decides: a pass is not enough."""
    played = opened(plan(LADDER, strategy=f"{__name__}:Eager"))
    played.tick()
    played.take(Step(Event.HELD, "look at it"))
    with pytest.raises(RolloutError, match="only a person may"):
        played.tick("pass")


def test_a_switch_after_copies_is_made_and_baked() -> None:
    """Everyone gets the candidate on a lease, for the bake's time, before it is promoted."""
    bake = plan((1.0,), min_seconds=3600.0, max_seconds=7200.0)
    copies = {"share": 1.0, "min_seconds": 0.0, "max_seconds": 600.0, "mirror": True}
    played = opened(replace(bake, strategy="blue_green", steps=(copies, *bake.steps)))
    played.tick()
    entry = played.tick("pass")
    assert entry is not None
    assert (entry.event, entry.body["share"]) == (Event.ADVANCED, 1.0)
    assert played.served() == {"A": 0.0, "B": 1.0}
    for _ in range(359):
        played.clock.advance(10.0)
        assert played.tick("pass") is None
    played.clock.advance(10.0)
    assert [e.event for e in (played.tick("pass"),) if e] == [Event.PROMOTED]
    played = opened(replace(bake, strategy=f"{__name__}:Hasty", steps=(copies, *bake.steps)))
    played.tick()
    with pytest.raises(RolloutError, match="wants 'promoted'"):
        played.tick("pass")


def test_a_person_s_go_on_is_no_lapse() -> None:
    """However often a person lets it go on: only lapses in a row end a launch."""
    played = opened(plan((0.5,), max_seconds=20.0, on_inconclusive="hold"))
    played.tick()
    for _ in range(RESTARTS):
        played.clock.advance(20.0)
        assert [e.event for e in (played.tick(),) if e] == [Event.HELD]
        played.resume()
        played.tick()
    played.clock.advance(61.0)
    assert [e.event for e in (played.tick(), played.tick()) if e] == ["expired", "resumed"]


def test_a_pass_that_a_person_set_aside_is_not_reviewed() -> None:
    """Held for approval, and rolled back by hand: no verdict closed it."""
    played = opened(plan((0.5,), approval=True, review={"after": 60.0, "then": "return"}))
    played.tick()
    played.tick("pass")
    played.roll_back()
    played.clock.advance(100.0)
    assert review_due(played.state, played.clock()) is None


def test_what_still_needs_units_says_how_many() -> None:
    """At the end of a step's time, whoever reads the reason knows what a decision would take."""
    played = opened(plan((0.5,), max_seconds=10.0))
    played.tick()
    told = replace(verdict("inconclusive"), more_units=12_345)
    played.clock.advance(10.0)
    chosen, _ = decide(played.state, played.ledger.lease(MODEL), lambda: told, played.clock())
    assert "by estimate 12,345 more units of the candidate would tell" in chosen.reason
