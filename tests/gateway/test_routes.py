"""Routes change under load without an error, and every gateway gives a unit the same arm."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from arm import Farm
from rig import Gateway, Place, load, release, unit_of, until

from slipway.stores.sql_ledger import open_ledger


def test_a_route_change_moves_only_who_must_move(gateway: Gateway, farm: Farm) -> None:
    """From 10 to 50 % and back under load: no error, and the units of the smaller share stay."""
    ports = {"stable": [farm.arm(0.25).port], "candidate": [farm.arm(0.75).port]}

    def share(candidate: float) -> int:
        arms = {"stable": (1 - candidate, ports["stable"])}
        return gateway.serve("moving", {**arms, "candidate": (candidate, ports["candidate"])})

    share(0.1)
    with load(gateway.port, "moving", units=200) as running:
        running.more(400)
        share(0.5)
        running.more(400)
        share(0.1)
        running.more(400)
    assert running.faults == []
    assert running.failed == []
    arms: dict[str, dict[str, set[str]]] = {"1": {}, "2": {}, "3": {}}
    for unit, answer in running.answers:
        assert not answer.fallback
        found = arms[answer.headers["x-slipway-route"]].setdefault(
            answer.headers["x-slipway-arm"], set()
        )
        found.add(unit)
    assert all(len(route["stable"] | route["candidate"]) == 200 for route in arms.values())
    assert arms["1"] == arms["3"]
    assert arms["1"]["candidate"] < arms["2"]["candidate"]  # nobody who had it has lost it
    assert all(not route["stable"] & route["candidate"] for route in arms.values())
    assert 8 <= len(arms["1"]["candidate"]) <= 35
    assert 75 <= len(arms["2"]["candidate"]) <= 125


def test_a_policy_with_a_fault_leaves_the_last_route(gateway: Gateway, farm: Farm) -> None:
    """A route that cannot be served is not: it is told, not acknowledged, and users see nothing."""
    arms = {"stable": (1.0, [farm.arm(0.25).port])}
    gateway.serve("sound", arms)
    gateway.place.route("sound", arms, {"budget": 3})
    until(lambda: "route 2 of sound cannot be served" in gateway.said, "the refusal")
    answer = gateway.predict("sound")
    assert (answer.status, answer.headers["x-slipway-route"]) == (200, "1")
    assert open_ledger(gateway.place.url).acknowledged("sound")["gateway"][0] == 1


def test_a_lease_runs_out_by_the_gateways_own_clock(place: Place, farm: Farm) -> None:
    """With the ledger gone, the candidate's users go back to stable when the lease is out."""
    arms = {"stable": (0.5, [farm.arm(0.25).port]), "candidate": (0.5, [farm.arm(0.75).port])}
    with place.gateway() as gateway:
        unit = unit_of("leased", 1, (0.5, 0.5))
        began = time.time()
        gateway.serve("leased", arms, seconds=3.0)
        assert gateway.predict("leased", unit).prediction == 0.75
        with closing(sqlite3.connect(place.url.removeprefix("sqlite:///"))) as database:
            database.execute("DROP TABLE slipway_entries")
        until(lambda: gateway.metric("slipway_ledger_failures_total") > 0, "the ledger's failure")
        answer = until(
            lambda: (a := gateway.predict("leased", unit)).fallback and a, "the lease's end"
        )
        assert 2.9 <= time.time() - began <= 5
        assert (answer.fallback, answer.prediction) == ("lease_expired", 0.25)
        assert answer.served_by == release("leased", "stable")
        assert gateway.metric("slipway_lease_seconds_left", model="leased") == 0
        assert gateway.metric("slipway_lease_expiries_total", model="leased") >= 1


def test_a_renewed_lease_goes_on(place: Place, farm: Farm) -> None:
    """A candidate whose lease is renewed keeps its users beyond the first lease's end."""
    arms = {"stable": (0.5, [farm.arm(0.25).port]), "candidate": (0.5, [farm.arm(0.75).port])}
    with place.gateway() as gateway:
        unit = unit_of("leased", 1, (0.5, 0.5))
        number = gateway.serve("leased", arms, seconds=1.5)
        ends = time.time() + 1.5
        open_ledger(place.url).renew("leased", number, 60.0, time.time())
        found = until(
            lambda: (a := gateway.predict("leased", unit)) and a.at > ends and a, "the first's end"
        )
        assert (found.prediction, found.fallback) == (0.75, "")


def test_workers_and_gateways_agree(place: Place, farm: Farm) -> None:
    """Two gateways of two workers each give every unit the same arm, whichever process answers."""
    arms = {"stable": (0.7, [farm.arm(0.25).port]), "candidate": (0.3, [farm.arm(0.75).port])}
    with place.gateway("one", workers=2) as one, place.gateway("two", workers=2) as two:
        number = one.serve("agreed", arms)
        two.await_route("agreed", number)
        told: dict[str, set[float]] = {}
        for _ in range(3):  # a new connection each: any worker may get it
            for gateway in (one, two):
                for at in range(40):
                    answer = gateway.predict("agreed", f"u{at}")
                    told.setdefault(f"u{at}", set()).add(answer.prediction)
        children = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text()
        assert len(children.split()) == 2
    assert all(len(predictions) == 1 for predictions in told.values())
    assert {p for found in told.values() for p in found} == {0.25, 0.75}
    rows = place.rows("agreed")
    assert len(rows) == 240
    assert len(list((place.log / "requests").iterdir())) == 4  # every worker has answered some
