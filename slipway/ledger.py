"""The ledger: what changed in users' traffic, who or what rule changed it, why, and the way back.

Entries are append-only and hash-chained per model: each holds the hash of the one before it, so
that a changed, missing or reordered entry shows. Stores keep entries; this file makes them and
checks them, and knows no database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slipway.errors import LedgerError
from slipway.lifecycle import Event
from slipway.release import digest

GENESIS = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry before it has a place in the chain.

    Args:
        at: seconds since 1970 UTC, given by the caller.
        event: what happened, a word of the lifecycle.
        actor: the person or the rule that did it.
        reason: one sentence: why.
        body: what the event carries: ``release``, ``route`` (the table after it), ``before`` (the
            table before it), ``plan``, ``verdict``, ``way_back``.
    """

    model: str
    at: float
    event: Event
    actor: str
    reason: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A sealed entry: its place, its predecessor's hash and its own."""

    model: str
    seq: int
    at: float
    event: Event
    actor: str
    reason: str
    body: Mapping[str, Any]
    prev: str
    hash: str

    def record(self) -> dict[str, Any]:
        """The entry as plain JSON values, hash included."""
        return {**content(self, self.seq, self.prev), "hash": self.hash}


def content(draft: Draft | Entry, seq: int, prev: str) -> dict[str, Any]:
    """What an entry's hash covers: everything but the hash."""
    return {
        "model": draft.model,
        "seq": seq,
        "at": float(draft.at),  # a database gives 1000 back as 1000.0
        "event": str(draft.event),
        "actor": draft.actor,
        "reason": draft.reason,
        "body": dict(draft.body),
        "prev": prev,
    }


def seal(draft: Draft, last: Entry | None) -> Entry:
    """Give a draft its place after ``last`` (None: it is the model's first entry)."""
    seq = last.seq + 1 if last else 1
    prev = last.hash if last else GENESIS
    return Entry(
        model=draft.model,
        seq=seq,
        at=draft.at,
        event=draft.event,
        actor=draft.actor,
        reason=draft.reason,
        body=draft.body,
        prev=prev,
        hash=digest(content(draft, seq, prev)),
    )


def head(entries: Sequence[Entry]) -> str:
    """The hash that the next entry must follow."""
    return entries[-1].hash if entries else GENESIS


def faults(entries: Sequence[Entry], recorded_head: str) -> list[str]:
    """What is wrong with one model's chain, one sentence each; empty when it is whole.

    Args:
        entries: in the order of their places.
        recorded_head: the head that the store remembers, which shows a chain cut off at its end.
    """
    found: list[str] = []
    place = {e.hash: i for i, e in enumerate(entries, start=1)}
    expected_seq, expected_prev = 1, GENESIS
    for entry in entries:
        where = f"entry {entry.seq} of {entry.model}"
        if entry.hash != digest(content(entry, entry.seq, entry.prev)):
            found.append(f"{where} {_why_unsealed(entry, len(entries))}")
        elif entry.seq != expected_seq:
            found.append(_missing(entry.model, expected_seq, entry.seq - 1))
        elif entry.prev != expected_prev:
            if entry.prev in place:
                found.append(f"{where} is out of order: it follows entry {place[entry.prev]}")
            else:
                found.append(f"{where} does not follow the entry before it")
        expected_seq, expected_prev = entry.seq + 1, entry.hash
    if recorded_head != expected_prev:
        found.append(
            f"the chain of {entries[0].model if entries else 'the model'} ends at entry "
            f"{expected_seq - 1}, which is not the recorded head: later entries are missing, or "
            "it was changed and sealed again"
        )
    return found


def unrecorded(model: str, entries: Sequence[Entry], served: int) -> list[str]:
    """What a whole chain hides that was cut off, or deleted, together with its recorded head.

    Args:
        served: the highest route number that a gateway ever said it serves; 0 for none.
    """
    last = max((e.body["route"]["number"] for e in entries if e.body.get("route")), default=0)
    if served <= last:
        return []
    return [
        f"gateways served route {served} of {model}, and the last on record is {last or 'none'}: "
        f"{'later' if entries else 'all'} entries are missing"
    ]


def broken(faults: Sequence[str]) -> LedgerError:
    """The error that tells faults to a person."""
    return LedgerError(
        "the ledger is broken:\n" + "\n".join(f"    {fault}" for fault in faults),
        do="restore its database from a backup; do not release until it verifies",
    )


def _why_unsealed(entry: Entry, length: int) -> str:
    """Tell a moved entry from a changed one: a moved one is whole at another place."""
    for seq in range(1, length + 2):
        if entry.hash == digest(content(entry, seq, entry.prev)):
            return f"is out of order: it was sealed as entry {seq}"
    return "was changed: its content does not give its hash"


def _missing(model: str, first: int, last: int) -> str:
    if first >= last:
        return f"entry {first} of {model} is missing"
    return f"entries {first} to {last} of {model} are missing"
