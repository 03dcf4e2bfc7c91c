"""The gateway's small parts: ids, shared memory, last resorts, prices, access."""

import hashlib
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.policy import Access, Cache, Prices, Rule, Tokens
from slipway.serving.access import Door, sign, verify
from slipway.serving.fallback import Kept, LastGood, compile_rule, predict
from slipway.serving.feedback import CONFLICT, RECORDED, REPEATED, Memory, read
from slipway.serving.prices import cost_of
from slipway.serving.request_id import Minter, load_key
from slipway.serving.shared import Table

KEY = b"k" * 32


def test_ids_vouch_for_themselves():
    """An id is known for its own model, to every maker with the same key, and to no other."""
    minter = Minter(KEY, b"aaaa")
    request_id = minter.mint(b"flights", 1_700_000_000.0)
    assert Minter(KEY, b"bbbb").knows(request_id, b"flights")
    assert not Minter(KEY, b"aaaa").knows(request_id, b"other")
    assert not Minter(b"x" * 32, b"aaaa").knows(request_id, b"flights")


@given(st.integers(0, 43), st.sampled_from("0123456789abcdef"))
def test_a_changed_id_is_not_known(place, digit):
    """Changing any digit of an id makes it unknown."""
    minter = Minter(KEY, b"aaaa")
    request_id = minter.mint(b"flights", 1_700_000_000.0)
    changed = request_id[:place] + digit + request_id[place + 1 :]
    assert minter.knows(changed, b"flights") == (changed == request_id)


@given(st.text(max_size=50))
def test_no_text_is_a_known_id_by_chance(text):
    """Arbitrary text is unknown, and breaks nothing."""
    assert not Minter(KEY, b"aaaa").knows(text, b"flights")


def test_ids_sort_by_time_and_differ():
    """Later ids sort after earlier ones, and no two are the same."""
    minter = Minter(KEY, b"aaaa")
    ids = [minter.mint(b"m", 1e9 + i // 10) for i in range(1000)]
    assert sorted(ids) == ids
    assert len(set(ids)) == 1000


def test_a_key_is_made_once_and_kept_private(tmp_path):
    """The key file is made for its owner only, and read the same afterwards."""
    path = tmp_path / "key"
    key = load_key(path)
    assert load_key(path) == key
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_shared_table_remembers_and_forgets():
    """What was put is got back; a place is lost to a newer key, never mixed up with it."""
    table = Table(4)
    for number in range(100):
        table.put(b"key %d" % number, float(number), -1.0)
        assert table.get(b"key %d" % number) == (float(number), -1.0)
    kept = [n for n in range(100) if table.get(b"key %d" % n) == (float(n), -1.0)]
    lost = [n for n in range(100) if table.get(b"key %d" % n) is None]
    assert len(kept) <= 4
    assert len(kept) + len(lost) == 100


def test_feedback_is_told_from_a_repeat_and_a_contradiction():
    """News, repeat and contradiction of one (request, kind) are told apart."""
    memory = Memory(Table(64))
    assert memory.note("r", "label", 1) == RECORDED
    assert memory.note("r", "label", 1) == REPEATED
    assert memory.note("r", "label", 0) == CONFLICT
    assert memory.note("r", "rating", 0) == RECORDED
    assert memory.note("s", "label", {"a": [1]}) == RECORDED


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"3",
        b'{"request_id": "a"}',
        b'{"request_id": 1, "kind": "label", "value": 1}',
        b'{"request_id": "a", "kind": "", "value": 1}',
        b'{"request_id": "a", "kind": "label", "value": 1, "more": 2}',
    ],
)
def test_other_bodies_are_no_feedback(body):
    """Feedback is an object of three keys, or a list of them."""
    with pytest.raises(ValueError, match=r"\w"):
        read(body)


def test_rules_answer_for_every_row():
    """A value, a table and an expression each give a prediction per row."""
    rows = [{"carrier": "UA", "hour": 18}, {"carrier": "ZZ", "hour": 3}]
    table = Rule(column="carrier", table={"UA": 0.4}, default=0.1)
    assert predict(compile_rule(Rule(value=0.2)), rows) == [0.2, 0.2]
    assert predict(compile_rule(table), rows) == [0.4, 0.1]
    assert predict(compile_rule(Rule(expression="hour / 100")), rows) == [0.18, 0.03]


def test_a_rule_that_cannot_tell_gives_nothing():
    """A rule answers for all rows or for none."""
    rule = compile_rule(Rule(expression="hour / 100"))
    assert predict(rule, [{"hour": 1}, {}]) is None
    assert predict(rule, None) is None
    assert predict(compile_rule(Rule(column="c", table={"a": 1})), [{"c": "b"}]) is None


def test_last_good_answers_age_and_are_bounded():
    """An answer is found until it is too old or the oldest of too many."""
    last = LastGood(Cache(by="input", seconds=10, entries=2))
    keys = [last.key(b"/p", b"body %d" % n, b"u") for n in range(3)]
    for n, key in enumerate(keys):
        last.keep(key, Kept(float(n), b"answer", b"t"))
    assert last.find(keys[0], 3.0) is None
    assert last.find(keys[1], 3.0) == Kept(1.0, ANY, b"t")
    assert last.find(keys[1], 11.5) is None


def test_last_good_answers_by_unit_ignore_the_body():
    """By unit, whatever was asked, the unit's last answer on that path is found."""
    last = LastGood(Cache(by="unit"))
    assert last.key(b"/p", b"a", b"u") == last.key(b"/p", b"b", b"u")
    assert last.key(b"/p", b"a", b"u") != last.key(b"/q", b"a", b"u")


ANSWER = {"usage": {"in": 2000, "out": 500, "seconds": 3}}


@pytest.mark.parametrize(
    ("prices", "answer", "cost"),
    [
        (None, ANSWER, None),
        (Prices(), ANSWER, None),
        (Prices(per_call=0.5), None, 0.5),
        (Prices(per_second=2.0), None, 8.0),
        (Prices(per_second=2.0, seconds_field="usage.seconds"), ANSWER, 6.0),
        (Prices(per_second=2.0, seconds_field="usage.nowhere"), ANSWER, None),
        (Prices(tokens_in=Tokens(1.0, "usage.in")), ANSWER, 2.0),
        (Prices(tokens_in=Tokens(1.0, "usage.in"), tokens_out=Tokens(4.0, "usage.out")), ANSWER, 4),
        (Prices(per_call=1.0, tokens_in=Tokens(1.0, "usage.gone")), ANSWER, None),
        (Prices(per_call=0.0), ANSWER, 0.0),
        (Prices(tokens_in=Tokens(1.0, "usage")), ANSWER, None),
    ],
)
def test_a_cost_is_known_whole_or_not_at_all(prices, answer, cost):
    """Any unknown part makes the cost unknown, never zero."""
    assert cost_of(prices, answer, 4.0) == cost


def door(**access):
    """The door of a model."""
    return Door("flights", Access(**access), KEY)


def test_an_open_door_admits_everybody():
    """Without keys and passwords nothing is asked for."""
    assert door().admits({}, 0.0)


def test_keys_open_the_door():
    """A key is taken as bearer or in its own header; only its hash is stored."""
    closed = door(keys=(hashlib.sha256(b"secret").hexdigest(),))
    assert closed.admits({b"authorization": b"Bearer secret"}, 0.0)
    assert closed.admits({b"x-api-key": b"secret"}, 0.0)
    for headers in ({}, {b"x-api-key": b"guess"}, {b"authorization": b"Bearer "}):
        assert not closed.admits(headers, 0.0)


def test_testers_are_given_their_arm():
    """The allow-list names units; a signed header names the arm until it expires."""
    testers = door(allow={"ann": "candidate"})
    header = sign(KEY, "flights", "candidate", 1000)
    assert testers.override({}, "ann", 0.0) == "candidate"
    assert testers.override({}, "bob", 0.0) == ""
    assert testers.override({b"x-slipway-override": header.encode()}, None, 999.0) == "candidate"
    assert testers.override({b"x-slipway-override": header.encode()}, None, 1001.0) == ""


@pytest.mark.parametrize(
    "header", ["", "candidate", "candidate;9999", "candidate;9999;00", "stable;x;y", ";;"]
)
def test_forged_overrides_are_nothing(header):
    """A header that nobody signed chooses no arm."""
    assert verify(KEY, "flights", header, 0.0) == ""


def test_an_override_is_for_one_model_and_arm():
    """A signature does not carry over to another model or arm."""
    header = sign(KEY, "flights", "candidate", 1000)
    assert verify(KEY, "other", header, 0.0) == ""
    assert verify(KEY, "flights", header.replace("candidate", "stable"), 0.0) == ""
