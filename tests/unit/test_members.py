"""A league's members: their arms, their shares, and users who stay where they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.controller import how_it_ended
from slipway.errors import RolloutError
from slipway.league import LeagueVerdict
from slipway.lifecycle import Event, State
from slipway.members import Member, after, require_place, seen_on, table_of
from slipway.rehearsal import MODEL, Rehearsal
from slipway.routing import RouteTable
from slipway.testing import plan
from slipway.verdict import Verdict

CHANGES = st.lists(st.booleans(), min_size=1, max_size=8)


def members(*releases: str) -> tuple[Member, ...]:
    """Members that joined in this order."""
    made: tuple[Member, ...] = ()
    for release in releases:
        made = after(made, Event.JOINED, release)
    return made


def table(number: int, *made: Member) -> RouteTable:
    """Their route table."""
    return RouteTable("m", number, "salt", table_of("A", made, 0.2), 60.0, {})


@given(CHANGES, st.floats(0.01, 0.5))
def test_stable_keeps_as_many_times_a_member_s_users(joins: list[bool], portion: float) -> None:
    """However many join and go out: shares are whole, and the odds of any two arms stay."""
    made = members("first")
    for number, joining in enumerate(joins):
        inside = [m.release for m in made if not m.out]
        if joining or len(inside) < 2:
            made = after(made, Event.JOINED, f"r{number}")
        else:
            made = after(made, Event.ELIMINATED, inside[0])
        stable, *arms = table_of("A", made, portion)
        assert stable.share + sum(a.share for a in arms) == pytest.approx(1.0)
        served = {a.release for a in arms if a.share}
        assert served == {m.release for m in made if not m.out}
        for arm in arms:
            if arm.share:
                assert arm.share / stable.share == pytest.approx(portion / (1.0 - portion))


def test_nobody_moves_between_arms_that_stay() -> None:
    """A newcomer takes users from all; who goes out leaves its own; nobody else is moved."""
    two, three = members("B", "C"), members("B", "C", "D")
    left = after(three, Event.ELIMINATED, "B")
    for unit in map(str, range(2000)):
        before, joined, alone = (
            table(1, *made).assign(unit).name for made in (two, three, left)
        )  # fmt: skip
        assert joined in (before, "member-3")
        assert alone == joined or joined == "member-1"


def test_a_member_is_seen_from_the_first_route_that_serves_it() -> None:
    """Not before, and not anew with every route."""
    made = seen_on(members("B"), table(4, *members("B")))
    assert [m.since for m in made] == [4]
    joined = after(made, Event.JOINED, "C")
    assert [m.since for m in joined] == [4, 0]
    assert [m.since for m in seen_on(joined, table(6, *joined))] == [4, 6]
    out = after(joined, Event.ELIMINATED, "C")
    assert [m.since for m in seen_on(out, table(6, *out))] == [4, 0]


def test_a_league_has_only_so_many_places_and_none_for_who_was_out() -> None:
    """From first to last: alpha is shared over all that it may have."""
    made = after(members("B", "C"), Event.ELIMINATED, "B")
    require_place(made, "D", 3, "m")
    for release, most, told in (("D", 2, "has had the 2 members"), ("B", 3, "was in the league")):
        with pytest.raises(RolloutError, match=told):
            require_place(made, release, most, "m")


def _league() -> Rehearsal:
    """A league of B and C, both with users, beside A."""
    played = Rehearsal(plan([0.2], strategy="league", league={"most": 3}))
    played.release("A")
    played.tick()
    for name in ("B", "C"):
        played.release(name)
    played.tick()
    return played


def test_whose_launch_ended_how_is_told() -> None:
    """By its own entry, or by the one that closed the league."""
    played = _league()
    played.tick("fail", release="B")
    played.tick("pass", release="C")
    entries = played.ledger.entries(MODEL)
    assert how_it_ended(entries, "B").event is Event.ELIMINATED
    assert how_it_ended(entries, "C").event is Event.PROMOTED
    played = _league()
    played.tick("pass", release="B")
    lost = how_it_ended(played.ledger.entries(MODEL), "C")
    assert (lost.event, lost.body["release"]) == (Event.PROMOTED, "B")
    played = _league()
    played.release("D")
    played.tick()  # whose users it gets is told under the release that leads the rollout
    played.tick("pass", release="D")
    lost = how_it_ended(played.ledger.entries(MODEL), "B")
    assert (lost.event, lost.body["release"]) == (Event.PROMOTED, "D")


def test_a_member_that_is_out_needs_no_replicas() -> None:
    """The others do, and the entry keeps its way back."""
    played = _league()
    assert played.state.needed == ("A", "B", "C")
    entry = played.tick("fail", release="B")
    assert entry is not None
    assert played.state.needed == ("A", "C")
    assert played.state.rollout is not None
    assert played.state.rollout.release == "C"
    assert entry.body["way_back"] == {
        "release": "B", "command": "", "note": entry.body["way_back"]["note"],
    }  # fmt: skip


def _waiting() -> Rehearsal:
    """A league of B and C, of which C has passed and waits for a person."""
    played = Rehearsal(plan([0.2], strategy="league", league={"most": 3}, approval=True))
    for name in ("A", "B", "C"):
        played.release(name)
        if name == "A":
            played.tick()
    played.tick()
    played.tick("pass", release="C")
    assert played.state.state is State.HELD
    return played


def test_the_end_of_another_member_is_no_word_on_the_one_that_waits() -> None:
    """It goes on waiting, beyond its step's time, until a person says."""
    played = _waiting()
    entry = played.tick(broken="B")
    assert entry is not None
    assert entry.event is Event.ELIMINATED
    for _ in range(100):
        played.clock.advance(10.0)
        assert played.tick("inconclusive", release="C") is None
    assert played.state.state is State.HELD
    played.approve()
    assert played.served() == {"C": 1.0}


def test_nor_is_it_while_the_lease_is_out() -> None:
    """Users stay with stable until a person lets the one that waits go on."""
    played = _waiting()
    played.clock.advance(61.0)
    assert [e.event for e in (played.tick(), played.tick(broken="B")) if e] == [
        Event.EXPIRED,
        Event.ELIMINATED,
    ]
    assert played.tick("pass", release="C") is None
    assert played.served() == {"A": 1.0}


def test_a_hold_ends_with_the_one_that_was_held() -> None:
    """The others go on, as before it."""
    played = _waiting()
    played.tick("fail", release="C")
    assert played.state.state is State.LIVE
    assert played.state.rollout is not None
    assert not played.state.rollout.held


def test_a_league_s_verdict_is_read_back_as_any_other() -> None:
    """The standings are in the record beside it."""
    played = _league()
    played.tick("fail", release="B")
    told = played.ledger.entries(MODEL)[-1].body["verdict"]
    assert told["standings"] == []
    assert type(Verdict.from_record(told)) is Verdict
    assert issubclass(LeagueVerdict, Verdict)


def test_others_get_their_time_when_the_one_that_was_held_goes() -> None:
    """They waited for a person's word on it, and are not out of time for that."""
    played = _waiting()
    for _ in range(100):
        played.clock.advance(10.0)
        played.tick(release="C")
    played.tick(broken="C")
    played.clock.advance(10.0)
    assert played.tick(release="B") is None
    assert played.state.state is State.LIVE


def test_a_pass_that_was_approved_later_is_reviewed_though_another_went_out() -> None:
    """What was said of the one that is held is not lost with the other's end."""
    played = _waiting()
    played.tick(broken="B")
    assert played.state.rollout is not None
    assert played.state.rollout.said is not None
    assert played.state.rollout.said[0]["outcome"] == "pass"
