"""The ledger among processes: writers at once, locks of the dead, and kills at any moment."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from slipway.errors import Busy, LedgerConflict, LedgerError
from slipway.ledger import head
from slipway.stores.sql_ledger import SqlLedger, open_ledger
from slipway.testing import draft, release, table

# Not "fork": what the tests before have loaded (DuckDB, Arrow) does not survive it.
SPAWN = multiprocessing.get_context("spawn")
NewLedger = Callable[[], str]


def run_all(work: Callable[..., None], arguments: list[tuple[Any, ...]]) -> list[int | None]:
    """Run a function in one process per tuple of arguments; their exit codes."""
    processes = [SPAWN.Process(target=work, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def race(url: str, name: str, rounds: int, barrier: Any, winners: Any) -> None:
    """Append after a head that the other process has seen as well."""
    store = open_ledger(url)
    for _ in range(rounds):
        expect = head(store.entries("flights"))
        barrier.wait(60)
        try:
            store.append(draft(actor=name), expect=expect)
            winners.put(name)
        except LedgerConflict:
            pass  # the other process was first: exactly what is counted
        barrier.wait(60)


def test_of_two_processes_exactly_one_wins_each_place(new_ledger: NewLedger) -> None:
    """Both decided on the same head: one entry is written, the other writer is told."""
    url, rounds = new_ledger(), 10
    barrier, winners = SPAWN.Barrier(2), SPAWN.Queue()
    exits = run_all(race, [(url, name, rounds, barrier, winners) for name in ("one", "two")])
    assert exits == [0, 0]
    assert sum(1 for _ in range(rounds) if winners.get(timeout=5)) == rounds
    assert winners.empty()
    store = open_ledger(url)
    assert [e.seq for e in store.entries("flights")] == list(range(1, rounds + 1))
    assert store.faults("flights") == []


def open_and_append(url: str, name: str, barrier: Any) -> None:
    """Open a new ledger at the same moment as others, and use it."""
    barrier.wait(60)
    open_ledger(url).append(draft(name), expect=head([]))


def test_several_processes_may_open_a_new_ledger_at_once(new_ledger: NewLedger) -> None:
    """A release and a gateway that start together both find the tables, whoever makes them."""
    url, barrier = new_ledger(), SPAWN.Barrier(4)
    names = ["a", "b", "c", "d"]
    assert run_all(open_and_append, [(url, name, barrier) for name in names]) == [0, 0, 0, 0]
    assert open_ledger(url).models() == tuple(names)


def hold(url: str, said: Any) -> None:
    """Take the lock, say so, and hold it until killed."""
    with open_ledger(url).lock("flights"):
        said.set()
        signal.pause()


def test_a_lock_is_refused_while_held_and_freed_when_its_holder_is_killed(
    new_ledger: NewLedger,
) -> None:
    """Busy while another process lives; free at once after SIGKILL, with nobody to clean up."""
    url, said = new_ledger(), SPAWN.Event()
    holder = SPAWN.Process(target=hold, args=(url, said))
    holder.start()
    try:
        assert said.wait(30)
        with pytest.raises(Busy), open_ledger(url).lock("flights"):
            raise AssertionError("two processes hold one lock")
    finally:
        holder.kill()
        holder.join()
    # The operating system frees a file's lock by then; a server may see the lost connection
    # a moment later, so the lock is asked for until it is given.
    store = open_ledger(url)
    for _ in range(10_000):
        try:
            with store.lock("flights"):
                return
        except Busy:
            continue
    raise AssertionError("the lock of a killed process was never freed")


def launch(store: SqlLedger) -> None:
    """What one tick and one release write, in the order they do."""
    opened = store.append(draft(), expect=head([]))
    store.put_manifest(release())
    store.place(release().id, ["127.0.0.1:1"])
    body = {"route": table(candidate=0.01).record()}
    store.append(draft(body=body), expect=opened.hash)
    store.renew("flights", 1, 60.0, 1_000.0)
    store.acknowledge("gateway", "flights", 1, 1_001.0)


def launch_until_killed(url: str, calls: int) -> None:
    """Launch, and end by SIGKILL at the given call to the database: no clean-up, no farewell."""
    store, made = open_ledger(url), 0

    def count(*_: Any) -> None:
        nonlocal made
        made += 1
        if made == calls:
            os.kill(os.getpid(), signal.SIGKILL)

    for moment in ("before_cursor_execute", "after_cursor_execute", "commit"):
        sa.event.listen(store.engine, moment, count)
    launch(store)


def test_a_kill_at_any_call_leaves_a_whole_chain(new_ledger: NewLedger) -> None:
    """Killed before or after any statement or commit, the chain is whole and goes on from there."""
    calls, seen = 1, set()
    while True:
        url = new_ledger()
        (exit_code,) = run_all(launch_until_killed, [(url, calls)])
        store = open_ledger(url)
        entries = store.entries("flights")
        assert store.faults("flights") == []
        assert store.append(draft(), expect=head(entries)).seq == len(entries) + 1
        seen.add(len(entries))
        if exit_code == 0:
            break
        assert exit_code == -signal.SIGKILL
        calls += 1
    assert calls > 15
    assert seen == {0, 1, 2}


TAMPERED = {
    "UPDATE slipway_entries SET reason = 'nothing' WHERE seq = 2": "entry 2 of flights was changed",
    "UPDATE slipway_entries SET event = 'blown_up' WHERE seq = 2": "entry 2 of flights was changed",
    "UPDATE slipway_entries SET body = '{' WHERE seq = 2": "entry 2 of flights was changed",
    "UPDATE slipway_entries SET at = at + 1 WHERE seq = 1": "entry 1 of flights was changed",
    "DELETE FROM slipway_entries WHERE seq = 2": "entry 2 of flights is missing",
    "DELETE FROM slipway_entries WHERE seq = 3": "later entries are missing",
    "DELETE FROM slipway_entries": "later entries are missing",
    "UPDATE slipway_entries SET seq = 9 WHERE seq = 2": "it was sealed as entry 2",
    "DELETE FROM slipway_heads": "which is not the recorded head",
}


@pytest.mark.parametrize("statement", TAMPERED)
def test_tampering_in_the_database_is_found_and_named(
    new_ledger: NewLedger, statement: str
) -> None:
    """Whoever edits the tables by hand is found out, and the entry is told."""
    store = open_ledger(new_ledger())
    for number in range(3):
        store.append(draft(reason=str(number)), expect=head(store.entries("flights")))
    with store.engine.begin() as db:
        db.execute(sa.text(statement))
    assert TAMPERED[statement] in "\n".join(store.faults("flights"))


CUT = {
    "DELETE FROM slipway_entries": "the last on record is none: all entries are missing",
    "DELETE FROM slipway_entries WHERE seq = 3": "is 2: later entries are missing",
}


@pytest.mark.parametrize("statement", CUT)
def test_a_chain_cut_off_with_its_head_is_found_by_what_gateways_served(
    new_ledger: NewLedger, statement: str
) -> None:
    """Whoever sets the head back too, or deletes a whole chain, leaves what gateways told."""
    store = open_ledger(new_ledger())
    for number in (1, 2, 3):
        body = {"route": table(number=number).record()}
        store.append(draft(body=body), expect=head(store.entries("flights")))
    store.acknowledge("g1", "flights", 3, 10.0)
    assert store.faults("flights") == []
    with store.engine.begin() as db:
        db.execute(sa.text(statement))
        db.execute(sa.text("DELETE FROM slipway_heads"))
    if left := store.entries("flights"):
        row = {"model": "flights", "hash": left[-1].hash}
        with store.engine.begin() as db:
            db.execute(sa.text("INSERT INTO slipway_heads VALUES (:model, :hash)"), row)
    assert store.models() == ("flights",)
    (found,) = store.faults("flights")
    assert "gateways served route 3 of flights" in found
    assert CUT[statement] in found


def test_an_unreadable_entry_is_an_error_that_a_person_understands(new_ledger: NewLedger) -> None:
    """Reading a chain with a mangled entry names the entry and what to do."""
    store = open_ledger(new_ledger())
    store.append(draft(), expect=head([]))
    with store.engine.begin() as db:
        db.execute(sa.text("UPDATE slipway_entries SET body = '{'"))
    with pytest.raises(LedgerError, match="entry 1 of flights was changed") as caught:
        store.entries("flights")
    assert "slipway verify" in caught.value.do


def test_a_changed_manifest_is_refused(new_ledger: NewLedger) -> None:
    """A manifest whose content does not give its id is told, never served."""
    store = open_ledger(new_ledger())
    store.put_manifest(release())
    with store.engine.begin() as db:
        db.execute(sa.text("UPDATE slipway_manifests SET body = replace(body, 'c0ffee', 'beef')"))
    with pytest.raises(LedgerError, match="does not give its id"):
        store.manifest(release().id)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://anna:secret@127.0.0.1:1/none",
        "nonsense",
        "sqlite:////proc/none/ledger.db",
    ],
)
def test_a_ledger_that_cannot_be_opened_says_so_without_its_password(url: str) -> None:
    """One clear error: what failed, where, what to do; and no password in it."""
    with pytest.raises(LedgerError) as caught:
        open_ledger(url)
    assert "cannot be opened" in caught.value.what
    assert caught.value.do
    assert "secret" not in str(caught.value)
