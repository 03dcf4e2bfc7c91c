"""The standings of an open league, from a log and a ledger, without any server."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from test_evidence_of_the_log import Log

from slipway.errors import RolloutError
from slipway.rehearsal import MODEL, Rehearsal
from slipway.standings import standings
from slipway.testing import plan

GOAL = {"metric": "error", "kind": "goal", "type": "rate", "direction": "lower",
        "margin": {"relative": 0.0}}  # fmt: skip
FAULTY = {"A": 0.3, "B": 0.02, "C": 0.6, "D": 0.3}


def ask(played: Rehearsal, writer: Log, users: range) -> None:
    """One request of each user, to the arm that the route in force gives it."""
    route, rng = played.state.route, random.Random(users.start)
    assert route is not None
    for i in users:
        arm = route.assign(f"u{i}")
        writer.request(
            users.stop * 10_000 + i, at=played.clock(), model=MODEL, unit=f"u{i}", arm=arm.name,
            release=arm.release, route=route.number, ok=rng.random() > FAULTY[arm.release],
        )  # fmt: skip
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
