"""A model's state is folded from its ledger, and every change of it is one draft."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.drafts import ANEW, open_rollout, return_to, take
from slipway.errors import RolloutError
from slipway.ledger import seal
from slipway.lifecycle import Event, State
from slipway.plan import Plan
from slipway.rehearsal import MODEL, Rehearsal
from slipway.release import canonical
from slipway.rollout import NO_BASELINE, Step, ended, fold, live_at, went_back
from slipway.routing import CANDIDATE, STABLE
from slipway.testing import draft, plan, verdict


def launched(*releases: str) -> Rehearsal:
    """A model whose releases were stable one after the other."""
    played = Rehearsal(plan([0.5]))
    for name in releases:
        played.release(name)
        for _ in range(2):  # the one share, then everyone; the first release needs one tick only
            played.tick("pass")
    return played


def test_a_model_without_entries_is_idle_and_serves_nobody() -> None:
    """Nothing is live before the first promotion."""
    state = fold(MODEL, ())
    assert (state.state, state.stable, state.past, state.route) == (State.IDLE, "", (), None)
    assert state.needed == ()


def test_opening_moves_no_traffic() -> None:
    """An opened rollout has a release and a plan, and no users."""
    played = launched("A")
    before = played.state.route
    played.release("B")
    state = played.state
    assert (state.state, state.route) == (State.OPENED, before)
    assert state.rollout is not None
    assert (state.rollout.release, state.rollout.stable) == ("B", "A")
    assert (state.rollout.step, state.rollout.share) == (-1, 0.0)
    assert state.needed == ("A", "B")


def test_the_first_release_is_marked_no_baseline() -> None:
    """In those words, in its first entry and in its way back."""
    opened = Rehearsal(plan()).release("A")
    assert opened.body["baseline"] == NO_BASELINE == "no baseline"
    assert opened.body["way_back"] == {"release": "", "command": "", "note": NO_BASELINE}


def test_every_later_entry_names_the_way_back() -> None:
    """The release to return to, and the command that does it."""
    opened = launched("A").release("B")
    assert opened.body["baseline"] == "A"
    command = "slipway rollback flights --to A --reason WHY"
    assert opened.body["way_back"] == {"release": "A", "command": command}


def test_what_users_were_taken_from_has_no_way_back_but_a_new_rollout() -> None:
    """A command that would be refused is not told: neither after a rollback nor after a return."""
    played = launched("A", "B")
    played.release("C")
    played.tick()
    back = played.tick("fail")
    assert back is not None
    assert back.body["way_back"] == {"release": "C", "command": "", "note": ANEW}
    returned = return_to(played.state, "A", now=1e6, actor="ada", reason="wrong answers")
    assert returned.body["way_back"] == {"release": "B", "command": "", "note": ANEW}


def test_a_granted_share_is_leased_and_numbered() -> None:
    """The entry of a change of traffic carries the whole table before and after it."""
    played = launched("A")
    played.release("B")
    entry = played.tick()
    route = played.state.route
    assert entry is not None
    assert route is not None
    assert entry.body["before"]["number"] + 1 == entry.body["route"]["number"] == route.number
    arms = [(a.name, a.release, a.share, a.leased) for a in route.arms]
    assert arms == [(STABLE, "A", 0.5, False), (CANDIDATE, "B", 0.5, True)]


def test_each_rollout_has_its_own_salt() -> None:
    """The same users are not the first ones every time: the opening entry's hash is the salt."""
    played = launched("A")
    salts = []
    for name in ("B", "C"):
        played.release(name)
        played.tick()
        route = played.state.route
        assert route is not None
        salts.append(route.salt)
        played.tick("fail")
    assert salts[0] != salts[1]


def test_the_salt_stays_while_a_rollout_lasts() -> None:
    """Users who got the candidate keep it at the next step."""
    played = Rehearsal(plan([0.1, 0.5]))
    played.release("A")
    played.tick()
    played.release("B")
    salts = set()
    for _ in range(2):
        played.tick("pass")
        route = played.state.route
        assert route is not None
        salts.add(route.salt)
    assert len(salts) == 1


def test_promotion_gives_everyone_the_release_without_a_lease() -> None:
    """After promotion nothing expires: the release is stable."""
    played = launched("A", "B")
    route = played.state.route
    assert route is not None
    assert [(a.name, a.release, a.share, a.leased) for a in route.arms] == [
        (STABLE, "B", 1.0, False)
    ]
    assert (played.state.stable, played.state.past) == ("B", ("A",))


def test_past_releases_are_told_newest_first() -> None:
    """Each once, without the one that is stable now."""
    assert launched("A", "B", "C").state.past == ("B", "A")
    assert launched("A", "B", "A").state.past == ("B",)


def test_what_was_returned_from_is_no_place_to_return_to() -> None:
    """After a return to A, C is not offered again: a person went away from it."""
    played = launched("A", "B", "C")
    played.give_back("A")
    assert (played.state.stable, played.state.past) == ("A", ("B",))


@pytest.mark.parametrize(
    ("window", "allowed"),
    [
        ({}, "DCBA"),
        ({"releases": 2}, "DC"),
        ({"days": 13}, "DCB"),
        ({"releases": 3, "days": 1}, "D"),
    ],
)
def test_only_recent_releases_are_returned_to(window: dict[str, float], allowed: str) -> None:
    """The window counts releases, and days since one was stable; the last one is always in it."""
    played = Rehearsal(plan([0.5], window=window))
    for name in "ABCDE":
        played.release(name)
        played.tick()
        if name != "A":
            played.tick("pass")
        played.clock.advance(4 * 86_400.0)
    now = played.clock()
    assert "".join(played.state.may_return_to(now)) == allowed
    for name in set("ABCD") - set(allowed):
        with pytest.raises(RolloutError, match="beyond the rollback window"):
            return_to(played.state, name, now=now, actor="anna", reason="x")


def test_a_return_to_a_release_that_was_never_stable_is_refused() -> None:
    """The releases that may be returned to are listed."""
    played = launched("A", "B")
    with pytest.raises(RolloutError, match="X is no earlier stable release") as caught:
        played.give_back("X")
    assert caught.value.do == "releases that may be returned to: A"


def test_a_return_while_a_rollout_is_open_is_refused() -> None:
    """Roll the open one back instead: that is the nearer way."""
    played = launched("A", "B")
    played.release("C")
    with pytest.raises(RolloutError, match="'returned' cannot happen"):
        return_to(played.state, "A", now=2_000.0, actor="anna", reason="x")


def test_without_an_open_rollout_no_step_can_be_taken() -> None:
    """The error says how to open one."""
    state = launched("A").state
    with pytest.raises(RolloutError, match="no rollout of flights is open") as caught:
        take(state, Step(Event.PROMOTED, "x", 1.0), now=2_000.0, actor="anna")
    assert "slipway release" in caught.value.do


def test_waiting_is_no_entry() -> None:
    """A step without an event is never written."""
    played = launched("A")
    played.release("B")
    with pytest.raises(RolloutError, match="waiting is not an entry"):
        take(played.state, Step(None, "x"), now=2_000.0, actor="anna")


def test_the_verdict_is_part_of_the_entry_that_rests_on_it() -> None:
    """Why a share moved can be read from its entry alone."""
    played = launched("A")
    played.release("B")
    played.tick()
    entry = played.tick("fail")
    assert entry is not None
    assert entry.body["verdict"] == verdict("fail").record()
    assert entry.reason == verdict("fail").reason


def test_time_in_the_ledger_never_runs_backwards() -> None:
    """A writer whose clock is behind writes the time of the entry before."""
    played = launched("A")
    last = played.state.last
    assert last is not None
    made = open_rollout(played.state, "B", plan(), now=0.0, actor="anna", reason="x")
    assert made.at == last.at


def test_a_ledger_that_breaks_the_lifecycle_cannot_be_folded() -> None:
    """An entry that could not have happened is told, not swallowed."""
    with pytest.raises(RolloutError, match="'promoted' cannot happen while the model is idle"):
        fold(MODEL, [seal(draft(event=Event.PROMOTED), None)])


def test_a_plan_reads_back_from_its_record() -> None:
    """The plan of a rollout is frozen in its first entry, and is the same when read."""
    made = plan(approval=True, on_inconclusive="hold", lease_seconds=7.0)
    assert Plan.from_record(json.loads(canonical(made.record()))) == made


def test_the_next_share_of_the_last_step_is_promotion() -> None:
    """The step after the last rung is everyone."""
    played = Rehearsal(plan([0.1, 0.5]))
    played.release("A")
    played.tick()
    played.release("B")
    seen = []
    for _ in range(3):
        rollout = played.state.rollout
        assert rollout is not None
        seen.append(rollout.next_share)
        played.tick("pass")
    assert seen == [0.1, 0.5, 1.0]


ACTS = st.lists(
    st.sampled_from(
        ["release B", "release C", "pass", "fail", "wait", "silence", "roll back", "give back"]
    ),
    max_size=25,
)


def play(acts: list[str]) -> Rehearsal:
    """Do what may be done, one minute after another."""
    played = launched("A")
    for act in acts:
        played.clock.advance(61.0 if act == "silence" else 10.0)
        try:
            if act.startswith("release"):
                played.release(act.split()[1])
            elif act in ("pass", "fail"):
                played.tick(act)
            elif act == "wait":
                played.tick()
            elif act == "roll back":
                played.roll_back()
            elif act == "give back":
                played.give_back("A")
        except RolloutError:
            continue  # not allowed in this state, and so not written
    return played


@given(ACTS)
def test_the_fold_is_a_function_of_the_entries(acts: list[str]) -> None:
    """Read twice, or through JSON, the same entries give the same state; the chain is whole."""
    played = play(acts)
    entries = played.ledger.entries(MODEL)
    again = [replace(e, body=json.loads(canonical(dict(e.body)))) for e in entries]
    assert fold(MODEL, entries) == fold(MODEL, again) == played.state
    assert played.ledger.faults(MODEL) == []


@given(ACTS, st.data())
def test_what_was_live_at_a_time_is_the_fold_up_to_it(acts: list[str], data: st.DataObject) -> None:
    """At, just after and just before any entry's moment."""
    entries = play(acts).ledger.entries(MODEL)
    entry = data.draw(st.sampled_from(entries))
    at = entry.at + data.draw(st.sampled_from([-0.5, 0.0, 0.5]))
    assert live_at(MODEL, entries, at) == fold(MODEL, [e for e in entries if e.at <= at])
    assert live_at(MODEL, entries, 0.0) == fold(MODEL, [])


@given(ACTS)
def test_route_numbers_only_grow_and_every_change_of_users_is_an_entry(acts: list[str]) -> None:
    """Each table has the next number, and holds stable and at most the open rollout's release."""
    entries = play(acts).ledger.entries(MODEL)
    routes = [e.body["route"] for e in entries if e.body.get("route")]
    assert [r["number"] for r in routes] == list(range(1, len(routes) + 1))
    for place in range(1, len(entries) + 1):
        state = fold(MODEL, entries[:place])
        assert state.route is None or {a.release for a in state.route.arms} <= set(state.needed)
        assert state.route is None or state.route.stable.release == state.stable


def test_a_rollback_returns_to_how_things_were_served_too() -> None:
    """A release that brought a faulty serving policy takes it along when it goes."""
    played = launched("A")
    sound = played.state.route
    played.plan = plan([0.5], serving={"budget_ms": 1})
    played.release("B")
    played.tick()
    played.tick("fail")
    route = played.state.route
    assert sound is not None
    assert route is not None
    assert (route.arms, route.policy) == (sound.arms, sound.policy)


@pytest.mark.parametrize("reason", ["", "  "])
def test_a_change_without_a_reason_is_refused(reason: str) -> None:
    """Whoever asks later must find why; a blank is no answer, from a person least of all."""
    played = Rehearsal(plan())
    played.release("A")
    with pytest.raises(RolloutError, match="no reason is given for 'rolled_back'"):
        take(played.state, Step(Event.ROLLED_BACK, reason), now=1.0, actor="anna")


def test_what_a_person_pressed_for_may_have_happened_by_then() -> None:
    """The judge was first: the rollout is over, and everyone has what they had before it."""
    played = launched("A")
    played.release("B")
    pressed = played.state
    assert not ended(pressed, played.state)
    played.tick()
    assert not ended(pressed, played.state)
    played.tick("fail")
    assert ended(pressed, played.state)
    assert went_back(played.state)
    played.release("C")
    assert ended(pressed, played.state)  # C is not what was meant
    assert not went_back(played.state)
    promoted = launched("A", "B").state
    assert not went_back(promoted)
    assert not ended(promoted, promoted)


def test_what_was_promoted_in_between_is_still_to_be_taken_back() -> None:
    """A person who pressed against B wants it gone, also if it was promoted just before."""
    played = launched("A")
    played.release("B")
    played.tick()
    pressed = played.state
    played.tick("pass")
    assert played.state.stable == "B"
    assert not ended(pressed, played.state)
