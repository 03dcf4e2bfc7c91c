"""The laws of a ledger store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from slipway.conformance import require, require_raises
from slipway.errors import Busy, LedgerConflict, LedgerError
from slipway.ledger import GENESIS, Draft, Entry, head
from slipway.lifecycle import Event
from slipway.ports import LedgerStore
from slipway.testing import draft, release, table

Law = Callable[[LedgerStore], None]


def check_ledger_store(make: Callable[[], LedgerStore]) -> None:
    """Every law that a ledger store must keep.

    Args:
        make: gives a new, empty store at each call.

    Raises:
        AssertionError: a law is broken; it says which.
    """
    for law in LAWS:
        law(make())


def _append(store: LedgerStore, each: Draft) -> Entry:
    return store.append(each, expect=head(store.entries(each.model)))


def empty_at_first(store: LedgerStore) -> None:
    """A new store knows no model, and says so without an error."""
    require(isinstance(store, LedgerStore), "the store lacks a method of the LedgerStore port")
    require(store.models() == (), "a new store must know no models")
    require(store.entries("flights") == (), "a model without entries must have an empty history")
    require(store.faults("flights") == [], "an empty chain must be whole")
    require(store.route("flights") is None, "a model never launched must have no route")
    require(store.lease("flights") is None, "a model never launched must have no lease")
    require(not store.acknowledged("flights"), "no gateway can have acknowledged anything yet")


def entries_chain(store: LedgerStore) -> None:
    """Entries come back as they were returned, in order, each after the one before."""
    made = [_append(store, draft(reason=str(number), at=float(number))) for number in range(3)]
    require(store.entries("flights") == tuple(made), "entries must come back as append gave them")
    require([e.seq for e in made] == [1, 2, 3], "places must be 1, 2, 3")
    require(made[0].prev == GENESIS, "the first entry must follow the genesis hash")
    require(store.faults("flights") == [], "a chain made by append must be whole")


def second_writer_is_refused(store: LedgerStore) -> None:
    """Whoever decided on an older head is told so, and nothing is written."""
    first = _append(store, draft())
    law = "append after a head that has moved must raise LedgerConflict"
    require_raises(LedgerConflict, law, lambda: store.append(draft(), expect=GENESIS))
    require(store.entries("flights") == (first,), "a refused append must leave nothing behind")
    law = "append after a head that never was must raise LedgerConflict"
    require_raises(LedgerConflict, law, lambda: store.append(draft("other"), expect=first.hash))
    require(store.models() == ("flights",), "a refused append must not make a model known")


def one_of_many_wins(store: LedgerStore) -> None:
    """Of several writers that decided on one head at once, exactly one gets the place."""
    writers, rounds = 4, 5
    barrier = threading.Barrier(writers)

    def write(name: int) -> int:
        won = 0
        for _ in range(rounds):
            expect = head(store.entries("flights"))
            barrier.wait()
            try:
                store.append(draft(actor=str(name)), expect=expect)
                won += 1
            except LedgerConflict:
                pass  # another writer was first, which is the law
            barrier.wait()
        return won

    with ThreadPoolExecutor(writers) as pool:
        won = sum(pool.map(write, range(writers)))
    require(won == rounds, f"each place must have one winner; {rounds} places had {won}")
    require(len(store.entries("flights")) == rounds, "only winners may be in the history")
    require(store.faults("flights") == [], "writers at once must leave a whole chain")


def models_are_apart(store: LedgerStore) -> None:
    """Each model has its own chain."""
    for name in ("flights", "fares", "flights"):
        _append(store, draft(name))
    require(store.models() == ("fares", "flights"), "models must come in order of their names")
    require([e.seq for e in store.entries("fares")] == [1], "each model must count for itself")
    require(len(store.entries("flights")) == 2, "each model must have its own entries")


def any_json_survives(store: LedgerStore) -> None:
    """Whatever JSON can say comes back the same, and still gives its hash."""
    body = {
        "text": 'naïve ☂ \u0000 \'; drop table "x" -- %s {}',
        "numbers": [0.1 + 0.2, 1e300, -0.0, 10**15, True, None],
        "plan": {"route": {"not": "a route table"}, "steps": [{"share": 0.01}]},
    }
    made = _append(store, draft(body=body, reason="naïve ☂", at=1_000))
    require(made.body == body, "append must give the body back as it was")
    require(store.entries("flights") == (made,), "a body must come back as it was")
    require(store.faults("flights") == [], "an entry must still give its hash after storage")
    require(store.route("flights") is None, "only the key 'route' of a body itself is a route")


def entries_are_copies(store: LedgerStore) -> None:
    """What a caller does to a body afterwards changes nothing."""
    body = {"steps": [1]}
    _append(store, draft(body=body))
    body["steps"].append(2)
    require(store.entries("flights")[0].body == {"steps": [1]}, "the store must keep a copy")
    require(store.faults("flights") == [], "the store must keep a copy")


def manifests_by_id(store: LedgerStore) -> None:
    """A manifest is found by its id or an unambiguous beginning; the first record stays."""
    one, two = release("a"), release("b")
    for each in (one, two, one):
        store.put_manifest(each)
    require(store.manifest(one.id).record() == one.record(), "a manifest must come back whole")
    require(store.manifest(one.id[:20]).id == one.id, "a beginning must find its manifest")
    bare = two.id.removeprefix("sha256:")[:12]
    require(store.manifest(bare).id == two.id, "a beginning without 'sha256:' must do as well")
    law = "an id that no manifest has must raise LedgerError"
    require_raises(LedgerError, law, store.manifest, "sha256:" + "0" * 64)
    require_raises(LedgerError, law, store.manifest, "%")
    law = "a beginning that several manifests have must raise LedgerError"
    require_raises(LedgerError, law, store.manifest, "sha256:")


def route_is_the_last_recorded(store: LedgerStore) -> None:
    """Gateways get the table of the last entry that has one, placed."""
    first, second = table(number=1), table(number=2, candidate=0.05)
    stable, candidate = (a.release for a in second.arms)
    _append(store, draft(body={"route": first.record()}))
    _append(store, draft(body={"route": second.record()}))
    _append(store, draft(event=Event.HELD, body={"plan": {"route": {}}}))
    store.place(stable, ["127.0.0.1:1", "127.0.0.1:2"])
    store.place(candidate, ["127.0.0.1:3"])
    require(store.placed(candidate) == ("127.0.0.1:3",), "a placement must be told again")
    route = store.route("flights")
    require(route is not None and route.table == second, "the last table recorded must be served")
    assert route is not None
    placed = {stable: ("127.0.0.1:1", "127.0.0.1:2"), candidate: ("127.0.0.1:3",)}
    require(dict(route.endpoints) == placed, "a route must say where its releases answer")
    require(route.lease is None, "a route whose lease was never granted must have none")
    store.place(stable, ["127.0.0.1:9"])
    store.place(candidate, [])
    require(store.placed(candidate) == (), "a release placed nowhere must be forgotten")
    route = store.route("flights")
    require(
        route is not None and dict(route.endpoints) == {stable: ("127.0.0.1:9",)},
        "a release placed anew must answer there, and one placed nowhere must be forgotten",
    )


def standing_by_ends(store: LedgerStore) -> None:
    """What is being started is needed until its time is over; the last word on it counts."""
    require(store.standing_by(0.0) == frozenset(), "in a new store nothing can stand by")
    store.stand_by("sha256:a", 100.0)
    store.stand_by("sha256:b", 100.0)
    store.stand_by("sha256:b", 50.0)
    require(store.standing_by(49.0) == {"sha256:a", "sha256:b"}, "what stands by must be told")
    require(store.standing_by(50.0) == {"sha256:a"}, "what stood by until now does so no more")


def leases_renew(store: LedgerStore) -> None:
    """Every renewal has the next number, and a lease is only served with its own route."""
    _append(store, draft(body={"route": table(number=7, candidate=0.05).record()}))
    leases = [store.renew("flights", 7, 60.0, float(now)) for now in (100, 110)]
    require(leases[0].renewal < leases[1].renewal, "every renewal must have a higher number")
    require(store.lease("flights") == leases[1], "the last renewal must be the lease")
    route = store.route("flights")
    require(route is not None and route.lease == leases[1], "a route must carry its lease")
    other = store.renew("flights", 6, 60.0, 120.0)
    route = store.route("flights")
    require(route is not None and route.lease is None, "a lease of another route is worth nothing")
    require(other.renewal > leases[1].renewal, "numbers must grow across routes as well")
    require(store.lease("fares") is None, "each model must have its own lease")


def gateways_acknowledge(store: LedgerStore) -> None:
    """The last word of each gateway on each model is kept."""
    store.acknowledge("one", "flights", 1, 100.0)
    store.acknowledge("two", "flights", 1, 101.0)
    store.acknowledge("one", "flights", 2, 102.0)
    store.acknowledge("one", "fares", 5, 103.0)
    said = {"one": (2, 102.0), "two": (1, 101.0)}
    require(dict(store.acknowledged("flights")) == said, "each gateway's last word must be kept")


def stamps_tell_of_writes(store: LedgerStore) -> None:
    """Whoever looks at the stamp alone misses no entry, renewal, placement or acknowledgement."""
    writes: dict[str, Callable[[], object]] = {
        "an entry": lambda: _append(store, draft()),
        "a renewal": lambda: store.renew("flights", 1, 60.0, 100.0),
        "a placement": lambda: store.place("sha256:a", ["127.0.0.1:1"]),
        "an acknowledgement": lambda: store.acknowledge("one", "flights", 1, 100.0),
    }
    for what, write in writes.items():
        before = store.stamp()
        write()
        require(before is None or store.stamp() != before, f"a stamp must change with {what}")


def renewals_at_once(store: LedgerStore) -> None:
    """Several judges and gateways at once neither fail nor lose a renewal."""

    def work(name: int) -> list[int]:
        numbers = []
        for turn in range(5):
            numbers.append(store.renew("flights", 1, 60.0, float(turn)).renewal)
            store.place("sha256:a", [f"127.0.0.1:{name}"])
            store.acknowledge("one", "flights", turn, float(turn))
        return numbers

    with ThreadPoolExecutor(4) as pool:
        given = [n for numbers in pool.map(work, range(4)) for n in numbers]
    require(len(set(given)) == len(given), "no two renewals may have one number")


def one_lock_per_model(store: LedgerStore) -> None:
    """A second holder is refused; the lock is free again after the first, however it ended."""
    with store.lock("flights"):
        law = "a second holder of a model's lock must be refused with Busy"
        require_raises(Busy, law, store.lock("flights").__enter__)
        with store.lock("fares"):
            pass  # another model's lock is free
    try:
        with store.lock("flights"):
            raise KeyError("the release failed")
    except KeyError:
        pass  # as raised above: the lock must let it through and be free afterwards
    with store.lock("flights"):
        pass


LAWS: tuple[Law, ...] = (
    empty_at_first,
    entries_chain,
    second_writer_is_refused,
    one_of_many_wins,
    models_are_apart,
    any_json_survives,
    entries_are_copies,
    manifests_by_id,
    route_is_the_last_recorded,
    standing_by_ends,
    leases_renew,
    gateways_acknowledge,
    stamps_tell_of_writes,
    renewals_at_once,
    one_lock_per_model,
)
