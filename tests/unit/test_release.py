"""The chain of frozen values: canonical JSON, digests, and the binding of a release."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.release import (
    Check,
    Column,
    Release,
    Report,
    bind,
    canonical,
    digest,
    digest_bytes,
    digest_file,
    digest_tree,
    short,
)
from slipway.testing import chain, release

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
LINKS = ("snapshot", "candidate", "bundle", "report", "version", "image")


@given(JSON)
def test_canonical_json_reads_back_the_same(value: Any) -> None:
    """Nothing is lost or rounded on the way to the canonical text and back."""
    assert json.loads(canonical(value)) == value


@given(JSON)
def test_canonical_json_is_a_fixed_point(value: Any) -> None:
    """A value read back from its canonical text has that very text."""
    assert canonical(json.loads(canonical(value))) == canonical(value)


@given(st.dictionaries(TEXTS, NUMBERS, max_size=6), st.randoms())
def test_the_order_of_keys_does_not_matter(value: dict[str, Any], random: Any) -> None:
    """Two maps that hold the same pairs have one digest."""
    pairs = list(value.items())
    random.shuffle(pairs)
    assert digest(dict(pairs)) == digest(value)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_no_json_are_refused(number: float) -> None:
    """NaN and the infinities have no JSON text, so they have no digest."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"value": number})


def test_what_is_no_json_at_all_is_refused() -> None:
    """An object without a JSON form is an error, never its repr."""
    with pytest.raises(TypeError):
        canonical({"value": {1, 2}})


def test_digests_of_bytes_files_and_trees_agree(tmp_path: Path) -> None:
    """A file's digest is that of its bytes; a tree's is that of the map of its files."""
    (tmp_path / "a").write_bytes(b"slipway")
    assert digest_bytes(b"slipway") == "sha256:" + hashlib.sha256(b"slipway").hexdigest()
    assert digest_file(tmp_path / "a") == digest_bytes(b"slipway")
    assert digest_tree(tmp_path, ["a"]) == digest({"a": digest_bytes(b"slipway")})


def test_a_tree_is_named_by_its_content_and_its_names(tmp_path: Path) -> None:
    """The order of the files does not matter; a changed byte or a new name does."""
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    before = digest_tree(tmp_path, ["a", "b"])
    assert digest_tree(tmp_path, ["b", "a"]) == before
    assert digest_tree(tmp_path, ["a"]) != before
    (tmp_path / "b").write_bytes(b"3")
    assert digest_tree(tmp_path, ["a", "b"]) != before


def test_short_is_the_first_twelve_digits() -> None:
    """A person reads twelve hex digits aloud, without the algorithm's name."""
    assert short("sha256:0123456789abcdef") == "0123456789ab"
    assert short("0123456789abcdef") == "0123456789ab"


@pytest.mark.parametrize(
    ("link", "place"),
    [(link, f.name) for link, v in chain().items() for f in dataclasses.fields(v)
     if f.metadata.get("locator")],
)  # fmt: skip
def test_where_a_thing_lies_does_not_change_what_it_is(link: str, place: str) -> None:
    """Another path, run or tag gives the same digest and the same release id."""
    moved = chain(**{link: {place: "elsewhere"}})
    assert moved[link].digest == chain()[link].digest
    assert bind(**moved).id == release().id


CHANGED: dict[type, Any] = {str: "x", int: 9, tuple: ("x",), dict: {"new": "sha256:0"}}


@pytest.mark.parametrize(
    ("link", "part"),
    [(link, f.name) for link, v in chain().items() for f in dataclasses.fields(v)
     if not f.metadata.get("locator")
     and f.name not in ("checks", "snapshot", "candidate", "bundle", "report")],
)  # fmt: skip
def test_every_part_of_every_link_changes_the_id_of_the_release(link: str, part: str) -> None:
    """Change one thing anywhere in the chain, and the release is another one."""
    old = getattr(chain()[link], part)
    changed = chain(**{link: {part: CHANGED[type(old)]}})
    assert changed[link].digest != chain()[link].digest
    assert bind(**changed).id != release().id


def test_the_image_is_part_of_the_release() -> None:
    """A release without an image is another release than one with it."""
    links = {**chain(), "image": None}
    assert bind(**links).image == ""
    assert bind(**links).id != release().id


@pytest.mark.parametrize("link", LINKS)
def test_a_link_of_another_chain_is_refused(link: str) -> None:
    """A release cannot be bound from links that name other parents."""
    mixed = {**chain("a"), link: chain("b")[link]}
    with pytest.raises(ValueError, match="names another parent"):
        bind(**mixed)


def test_a_version_of_another_candidate_is_refused() -> None:
    """The registered version must be of the very candidate that is bound."""
    with pytest.raises(ValueError, match="the version names another parent"):
        bind(**chain(version={"candidate": digest("another")}))


@pytest.mark.parametrize("outcome", ["fail", "not_measured"])
def test_an_unblessed_report_is_refused(outcome: str) -> None:
    """One check that failed or did not run is enough to refuse the candidate."""
    checks = (Check("auc", "pass"), Check("brier", outcome, "too high"))
    links = chain(report={"checks": checks})
    assert links["report"].refusals == (checks[1],)
    with pytest.raises(ValueError, match="does not bless"):
        bind(**links)


def test_a_report_without_checks_blesses_nothing() -> None:
    """Fail closed: an empty report is no blessing."""
    assert not chain(report={"checks": ()})["report"].blessed


@given(st.floats(0, 1), TEXTS, TEXTS)
def test_a_report_is_named_by_figures_not_by_timings(value: float, reason: str, seen: str) -> None:
    """Reasons and timings differ on every run, so two runs of one check give one digest."""
    report: Report = chain()["report"]
    first = dataclasses.replace(report, checks=(Check("auc", "pass", "", value),))
    again = dataclasses.replace(report, checks=(Check("auc", "pass", reason, value, seen),))
    assert first.digest == again.digest


def test_the_id_is_the_digest_of_the_manifest_without_locators() -> None:
    """Anyone can recompute an id from the stored record."""
    record = release().record()
    assert record.pop("locators")["bundle"] == "/bundle"
    assert digest(record) == release().id


def test_a_manifest_reads_back_with_its_id_and_places() -> None:
    """A stored manifest is the same release, locators included."""
    stored = json.loads(canonical(release().record()))
    assert Release.from_record(stored).record() == release().record()
    assert Release.from_record(stored).id == release().id


def test_a_manifest_with_an_unknown_key_is_refused() -> None:
    """A manifest is exact: nothing may be added to it."""
    with pytest.raises(TypeError):
        Release.from_record({**release().record(), "note": "x"})


def test_values_are_frozen() -> None:
    """Nobody changes a link after it was digested."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Column("distance", "number").name = "x"  # type: ignore[misc]
