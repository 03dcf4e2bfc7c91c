"""The hash chain: any change, removal or swap is found, and named."""

import json
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from slipway.ledger import GENESIS, Draft, Entry, content, faults, head, seal
from slipway.lifecycle import Event
from slipway.release import digest
from slipway.testing import draft

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
BODIES = st.fixed_dictionaries({"release": WORDS, "share": st.floats(0, 1)})
DRAFTS = st.builds(draft, event=st.sampled_from(Event), reason=WORDS, body=BODIES)
CHAINS = st.lists(DRAFTS, min_size=1, max_size=6)


def chained(drafts: list[Draft]) -> list[Entry]:
    """Seal drafts one after the other."""
    entries: list[Entry] = []
    for each in drafts:
        entries.append(seal(each, entries[-1] if entries else None))
    return entries


def reseal(entry: Entry) -> Entry:
    """What a forger does: give a changed entry the hash that its content asks for."""
    return replace(entry, hash=digest(content(entry, entry.seq, entry.prev)))


@given(CHAINS)
def test_a_sealed_chain_is_whole(drafts: list[Draft]) -> None:
    """What was sealed in order has no fault, places 1, 2, 3 ... and the last hash as its head."""
    entries = chained(drafts)
    assert faults(entries, head(entries)) == []
    assert [e.seq for e in entries] == list(range(1, len(drafts) + 1))
    assert [e.prev for e in entries] == [GENESIS, *(e.hash for e in entries[:-1])]


def test_an_empty_chain_is_whole() -> None:
    """A model nobody launched has nothing wrong with it."""
    assert head([]) == GENESIS
    assert faults([], GENESIS) == []


CHANGES: dict[str, Any] = {
    "model": "other",
    "at": 5.0,
    "event": Event.SUPERSEDED,
    "actor": "mallory",
    "reason": "no reason at all",
    "body": {"share": 0.99},
    "prev": digest("elsewhere"),
    "hash": digest("forged"),
}


@given(CHAINS, st.data(), st.sampled_from(sorted(CHANGES)))
def test_a_change_of_any_part_is_found_and_named(
    drafts: list[Draft], data: st.DataObject, part: str
) -> None:
    """Change one field of one entry: the fault names that entry's place."""
    entries = chained(drafts)
    at = data.draw(st.integers(0, len(entries) - 1))
    changed = replace(entries[at], **{part: CHANGES[part]})
    if changed == entries[at]:
        return
    found = faults([*entries[:at], changed, *entries[at + 1 :]], head(entries))
    assert f"entry {at + 1} of {changed.model} was changed" in found[0]


@given(CHAINS, st.data())
def test_a_forged_entry_breaks_the_chain_behind_it(
    drafts: list[Draft], data: st.DataObject
) -> None:
    """An entry changed *and* given a fitting hash still shows: in the next entry, or the head."""
    entries = chained(drafts)
    at = data.draw(st.integers(0, len(entries) - 1))
    forged = reseal(replace(entries[at], reason="forged: nobody wrote this"))
    (found,) = faults([*entries[:at], forged, *entries[at + 1 :]], head(entries))
    if at + 1 < len(entries):
        assert f"entry {at + 2} of flights does not follow the entry before it" in found
    else:
        assert f"ends at entry {at + 1}, which is not the recorded head" in found


@given(CHAINS, st.data())
def test_a_removed_entry_is_named(drafts: list[Draft], data: st.DataObject) -> None:
    """Take one entry out, at the start, in the middle or at the end: its number is told."""
    entries = chained(drafts)
    at = data.draw(st.integers(0, len(entries) - 1))
    (found,) = faults([*entries[:at], *entries[at + 1 :]], head(entries))
    if at + 1 < len(entries):
        assert found == f"entry {at + 1} of flights is missing"
    else:
        assert "later entries are missing" in found


@given(st.lists(DRAFTS, min_size=2, max_size=6), st.data())
def test_swapped_entries_are_named(drafts: list[Draft], data: st.DataObject) -> None:
    """Swap the places of two entries: both are told with the place they were sealed at."""
    entries = chained(drafts)
    first, second = sorted(
        data.draw(st.sets(st.integers(0, len(entries) - 1), min_size=2, max_size=2))
    )
    moved = list(entries)
    moved[first] = replace(entries[second], seq=first + 1)
    moved[second] = replace(entries[first], seq=second + 1)
    found = "\n".join(faults(moved, head(entries)))
    for here, sealed in ((first, second), (second, first)):
        assert (
            f"entry {here + 1} of flights is out of order: it was sealed as entry {sealed + 1}"
            in found
        )


def test_an_entry_that_follows_another_one_says_which() -> None:
    """A later entry copied in with a fitting number and hash shows by the hash it follows."""
    entries = chained([draft(reason=str(n)) for n in range(3)])
    copied = reseal(replace(entries[2], prev=entries[0].hash))
    found = faults([*entries[:2], copied], copied.hash)
    assert found == ["entry 3 of flights is out of order: it follows entry 1"]


def test_a_gap_of_several_entries_is_told_as_one() -> None:
    """Entries 2 to 4 taken out are told in one sentence."""
    entries = chained([draft(reason=str(n)) for n in range(5)])
    found = faults([entries[0], entries[4]], head(entries))
    assert found == ["entries 2 to 4 of flights are missing"]


@given(DRAFTS)
def test_an_entry_survives_json(each: Draft) -> None:
    """A stored record, read back, still gives its hash."""
    entry = seal(each, None)
    record = json.loads(json.dumps(entry.record()))
    again = Entry(**{**record, "event": Event(record["event"])})
    assert again == entry
    assert faults([again], entry.hash) == []


def test_a_time_in_whole_seconds_is_the_same_time_as_a_number_with_a_point() -> None:
    """A database gives 1000 back as 1000.0: the hash must not care."""
    assert seal(draft(at=1_000), None).hash == seal(draft(at=1_000.0), None).hash
