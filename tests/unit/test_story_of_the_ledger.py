"""What status tells beside the ledger: whether a candidate's share is still in force."""

import pytest

from slipway import show
from slipway.rehearsal import MODEL, Rehearsal
from slipway.rollout import ModelState
from slipway.routing import Lease
from slipway.story import at, iso, lease, standings
from slipway.testing import plan


def test_copies_of_requests_are_not_told_as_users() -> None:
    """A shadow's share is beside those of users, not among them."""
    told = [
        {"arm": "stable", "release": "", "share": 1.0},
        {"arm": "shadow", "release": "", "share": 0.3},
    ]
    assert show.arms(told, {}).startswith("100 % ")
    assert "; copies of requests: 30 % " in show.arms(told, {})


def test_an_arm_without_users_is_not_told() -> None:
    """An eliminated member keeps its arm in the table; stable is told whatever it has."""
    told = [
        {"arm": "stable", "release": "", "share": 0.0},
        {"arm": "member-1", "release": "", "share": 0.0},
        {"arm": "member-2", "release": "", "share": 1.0},
    ]
    assert show.arms(told, {}) == "0 % -, 100 % -"


def test_standings_are_told_best_first(capsys: pytest.CaptureFixture[str]) -> None:
    """Each member with its share, its place, and why."""
    row = {"member": "member-2", "release": "", "share": 0.0833, "place": "wins", "reason": "best"}
    show.standings([row, {**row, "member": "member-1", "place": "out", "reason": "worse"}], {})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["1", "member-2", "-", "8.33", "%", "of", "users", "wins"]
    assert lines[1:] == [["best"], ["2", "member-1", "-", *lines[0][3:7], "out"], ["worse"]]


def _live() -> tuple[ModelState, int]:
    """A rollout with a leased share, and the number of its route."""
    played = Rehearsal(plan([0.5]))
    for name in ("A", "B"):
        played.release(name)
        played.tick()
    assert played.state.route is not None
    assert played.state.model == MODEL
    return played.state, played.state.route.number


def test_the_seconds_left_of_a_lease_are_told() -> None:
    """Counted from the last renewal."""
    state, number = _live()
    told = lease(state, Lease(number, 3, 100.0, 60.0), 130.0)
    assert told == {"renewed": iso(100.0), "left_seconds": 30.0}


def test_a_lease_that_ran_out_is_told_before_any_entry_says_so() -> None:
    """The judge died: the ledger still says that the candidate has users, and it has none."""
    state, number = _live()
    told = lease(state, Lease(number, 3, 100.0, 60.0), 1_000.0)
    assert told == {"renewed": iso(100.0), "left_seconds": 0.0}


def test_a_lease_of_another_route_is_none_of_this_one() -> None:
    """A share whose lease was not granted yet serves nobody."""
    state, number = _live()
    for held in (None, Lease(number - 1, 3, 100.0, 60.0)):
        assert lease(state, held, 101.0) == {"renewed": None, "left_seconds": 0.0}


def test_without_a_candidate_there_is_no_lease() -> None:
    """Stable's share is nobody's to renew."""
    played = Rehearsal(plan([0.5]))
    played.release("A")
    played.tick()
    assert lease(played.state, None, 0.0) is None


def test_between_a_lease_and_its_entry_users_are_told_to_be_on_stable() -> None:
    """The judge came back an hour late; the past tells what users got meanwhile."""
    played = Rehearsal(plan([0.5], lease_seconds=60.0))
    for name in ("A", "B"):
        played.release(name)
        played.tick()
    granted = played.clock()
    played.clock.advance(3600.0)
    expired = played.tick()
    assert expired is not None
    assert expired.body["happened_at"] == granted + 60.0
    told = {
        after: at(MODEL, played.ledger.entries(MODEL), granted + after, {})
        for after in (59.0, 60.0, 3599.0)
    }
    assert [len(told[after]["arms"]) for after in told] == [2, 1, 1]
    assert told[60.0]["arms"] == [{"arm": "stable", "release": "A", "share": 1.0}]
    assert told[60.0]["state"] == "lapsed"


def test_all_who_are_or_were_in_a_league_have_a_standing() -> None:
    """Those judged as they stand, then who has no users yet, then who is out, and why."""
    played = Rehearsal(plan([0.2], strategy="league", league={"most": 4}))
    for name in ("A", "B", "C"):
        played.release(name)
        if name != "B":
            played.tick()
    played.tick("fail", release="C")
    played.release("D")
    judged = [
        {"member": "member-1", "release": "B", "place": "in", "reason": "early", "against": {}}
    ]
    told = standings(played.state, played.ledger.entries(MODEL), judged)
    rows = [(row["release"], row["place"], round(row["share"], 2)) for row in told]
    assert rows == [("B", "in", 0.2), ("D", "in", 0.0), ("C", "out", 0.0)]
    assert [row["reason"] for row in told] == [
        "early", "joined; the judge's next tick gives it its first users", "the judge says fail",
    ]  # fmt: skip
