"""The standings of an open league, from a log and a ledger, without any server."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_evidence_of_the_log import Log

from slipway.controller import review_due
from slipway.drafts import reviewed
from slipway.errors import RolloutError
from slipway.gates import parse
from slipway.home import Home
from slipway.rehearsal import MODEL, Rehearsal
from slipway.standings import Seen, standings
from slipway.testing import plan
from tasks.observe import look_again

GOAL = {"metric": "error", "kind": "goal", "type": "rate", "direction": "lower",
        "margin": {"relative": 0.0}}  # fmt: skip
FAULTY = {"A": 0.3, "B": 0.02, "C": 0.6, "D": 0.3, "E": 0.1}


def ask(
    played: Rehearsal, writer: Log, users: range, labels: Mapping[str, float] | None = None
) -> None:
    """One request of each user, to the arm that the route in force gives it.

    Args:
        labels: of each release, the part of answers that turn out wrong, five seconds later.
    """
    route, rng = played.state.route, random.Random(users.start)
    assert route is not None
    for i in users:
        arm, number = route.assign(f"u{i}"), users.stop * 10_000 + i
        writer.request(
            number, at=played.clock(), model=MODEL, unit=f"u{i}", arm=arm.name, score=0.9,
            release=arm.release, route=route.number, ok=rng.random() > FAULTY[arm.release],
        )  # fmt: skip
        if labels:
            writer.label(number, played.clock() + 5.0, rng.random() >= labels[arm.release])
    writer.close(str(route.number))


def test_each_is_compared_since_the_newer_has_users(tmp_path: Path) -> None:
    """A member that joins later has less to tell; what is known of the others is not lost."""
    played, writer = Rehearsal(plan([0.4], strategy="league", league={"most": 3},
                                    gates={"gate": [GOAL]})), Log(tmp_path)  # fmt: skip
    played.release("A")
    played.tick()
    with pytest.raises(RolloutError, match="no league of flights has users"):
        standings(tmp_path, played.state, played.clock())
    for name in ("B", "C"):
        played.release(name)
    played.tick()
    ask(played, writer, range(300))
    played.clock.advance(1.0)
    played.release("D")
    played.tick()
    ask(played, writer, range(600))
    played.clock.advance(1.0)
    told = standings(tmp_path, played.state, played.clock())
    places = [(row["release"], row["place"]) for row in told.standings]
    assert places == [("B", "wins"), ("D", "out"), ("C", "out")]
    assert (told.outcome, told.release) == ("fail", "D")
    rows = {row["release"]: row for row in told.standings}
    whole, late = (rows["B"]["against"][arm]["units"] for arm in ("member-2", "member-3"))
    route = played.state.route
    assert route is not None
    told_by = [route.assign(f"u{i}").name for i in range(600)]
    assert late[1] == told_by.count("member-1")  # since D has users: who is with B
    assert whole[1] > late[1]  # and before that, those whom D was given

    played.clock.advance(61.0)  # the judge died: what was seen stays as it was
    assert played.tick() is not None
    assert played.served() == {"A": 1.0}
    again = standings(tmp_path, played.state, played.clock())
    assert [_read(row) for row in again.standings] == [_read(row) for row in told.standings]


def _read(row: Mapping[str, Any]) -> tuple[str, ...]:
    """What a person reads of a standing: sums of floats end differently in their last digits."""
    against = [found["reason"] for found in row["against"].values()]
    return (row["release"], row["place"], row["reason"], *against)


def test_who_has_joined_has_no_standing_before_it_has_users(tmp_path: Path) -> None:
    """Asked between its joining and the judge's next tick, the standings are of the others."""
    played, writer = Rehearsal(plan([0.4], strategy="league", league={"most": 3},
                                    gates={"gate": [GOAL]})), Log(tmp_path)  # fmt: skip
    for name in ("A", "B"):
        played.release(name)
        played.tick()
    ask(played, writer, range(300))
    played.clock.advance(1.0)
    played.release("C")
    told = standings(tmp_path, played.state, played.clock())
    assert [(row["release"], row["place"]) for row in told.standings] == [("B", "wins")]


def test_shares_that_follow_are_judged_by_whom_each_route_was_the_first_to_serve(
    tmp_path: Path,
) -> None:
    """A user counts once, under the first route that it came under, whatever arm it moves to."""
    rules = {"most": 3, "floor": 0.05, "shift_seconds": 0.0}
    played, writer = Rehearsal(plan([0.4], strategy="league", league=rules,
                                    gates={"gate": [GOAL]})), Log(tmp_path)  # fmt: skip
    for name in ("A", "E", "C"):
        played.release(name)
        if name != "E":
            played.tick()
    first = played.state.route
    ask(played, writer, range(300))
    played.clock.advance(1.0)
    played.tick(release="E", chances={"member-1": 1.0, "member-2": 0.0})
    second = played.state.route
    ask(played, writer, range(3000))
    played.clock.advance(1.0)
    assert first is not None
    assert second is not None
    assert played.state.rollout is not None
    gates = parse({"gate": [GOAL]})
    seen = Seen(tmp_path, MODEL, played.state.rollout, gates, played.clock())
    told = seen.of("member-1", "stable")
    came = [first.assign(f"u{i}").name for i in range(300)]
    came += [second.assign(f"u{i}").name for i in range(300, 3000)]
    assert dict(told.units) == {arm: came.count(arm) for arm in ("stable", "member-1", "member-2")}
    assert [c.shares for c in told.cohorts] == [
        {arm.name: arm.share for arm in route.arms} for route in (first, second)
    ]
    verdict = standings(tmp_path, played.state, played.clock())
    places = [(row["release"], row["place"]) for row in verdict.standings]
    assert places == [("E", "wins"), ("C", "out")]
    assert verdict.chances == {"member-1": 1.0}


@pytest.mark.parametrize(("wrong", "stands"), [(0.1, True), (0.6, False)])
def test_a_league_s_decision_is_held_against_labels_that_come_late(
    tmp_path: Path, wrong: float, stands: bool
) -> None:
    """The winner beside stable, on the users of all its routes, though it was not the first."""
    late = {"metric": "wrong", "kind": "guardrail", "type": "rate", "direction": "lower",
            "margin": {"relative": 0.2}, "maturity": 1.0}  # fmt: skip
    how = plan([0.4], strategy="league", league={"most": 3}, gates={"gate": [GOAL, late]},
               review={"after": 20.0, "then": "return"})  # fmt: skip
    home = Home(tmp_path, "")
    played, writer = Rehearsal(how), Log(home.log)
    for name in ("A", "C", "B"):
        played.release(name)
        if name != "C":
            played.tick()
    ask(played, writer, range(900), labels={"A": 0.3, "B": wrong, "C": 0.3})
    played.tick("pass", release="B")
    played.clock.advance(21.0)
    closed = review_due(played.state, played.clock())
    assert closed is not None
    found = look_again(home, played.state, closed, played.clock())
    assert (found.stands, [g.metric for g in found.verdict.gates]) == (stands, ["wrong"])
    made = reviewed(played.state, found, now=played.clock(), actor="judge")
    assert made.body["returns"] == ("" if stands else "A")
