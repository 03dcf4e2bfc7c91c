"""Routing: sticky, monotone, true shares, and the published vectors."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.errors import UsageError
from slipway.routing import (
    CANDIDATE,
    FALLBACK,
    HASH_VERSION,
    SHADOW,
    STABLE,
    Arm,
    Lease,
    RouteTable,
    assign,
    draws,
    salt_key,
)
from slipway.testing import table

VECTORS = Path(__file__).parents[2] / "docs" / "routing-vectors.json"
UNITS = st.text(min_size=1, max_size=12)
WEIGHTS = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=12)
MANY = [f"N{number}" for number in range(6_000)]


def published() -> dict[str, Any]:
    """The vectors of this version of the hash: units, salts and weights of every awkward kind.

    Another implementation (a sidecar, a mobile client) is right when it gives these arms and,
    to the last bit, these draws. To publish a new version of the hash, print this as JSON.
    """
    units = ["N14228", "", "user-1", "naïve ☂", "a" * 300, "\x00"]
    salts = ["rollout-1", "", "s" * 65]
    weights = [[1.0], [0.99, 0.01], [0.5, 0.5], [0.0, 1.0], [1, 2, 3], [0.1] * 10]
    cases = [
        {"unit": unit, "salt": salt, "weights": w, "arm": assign(unit, salt, w)}
        for unit in units
        for salt in salts
        for w in weights
    ]
    first = [
        {"unit": unit, "salt": salt, "draws": draws(unit.encode(), salt_key(salt), 9)}
        for unit in units
        for salt in salts
    ]
    return {"hash": HASH_VERSION, "draws": first, "assignments": cases}


def test_the_published_vectors_hold() -> None:
    """The hash is a promise to other implementations: changing a vector is a new version."""
    assert json.loads(VECTORS.read_text()) == published()


@given(UNITS, UNITS, WEIGHTS)
def test_assignment_is_sticky(unit: str, salt: str, weights: list[float]) -> None:
    """The same unit, salt and weights give the same arm, as text or as bytes."""
    arm = assign(unit, salt, weights)
    assert arm == assign(unit.encode(), salt_key(salt), tuple(weights))
    assert 0 <= arm < len(weights)


@given(UNITS, WEIGHTS, st.floats(0.1, 1_000.0))
def test_only_the_ratios_of_weights_matter(unit: str, weights: list[float], by: float) -> None:
    """Shares written as percentages or as fractions assign alike, but for rounding at a tie."""
    times = [-math.log(d) / w for d, w in zip(draws(unit.encode(), b"", 12), weights, strict=False)]
    first, second = (*sorted(times), math.inf)[:2]
    if second - first > 1e-9 * first:
        assert assign(unit, b"", weights) == assign(unit, b"", [w * by for w in weights])


@given(WEIGHTS, st.data())
def test_raising_a_weight_only_moves_units_into_that_arm(
    weights: list[float], data: st.DataObject
) -> None:
    """Nobody is moved who need not be: every unit that moves, moves into the raised arm."""
    raised = data.draw(st.integers(0, len(weights) - 1))
    higher = list(weights)
    higher[raised] += data.draw(st.floats(0.0, 1.0))
    for unit in MANY[:40]:
        before, after = assign(unit, "salt", weights), assign(unit, "salt", higher)
        assert after in (before, raised)


def test_a_canary_that_rises_keeps_the_users_it_has() -> None:
    """Along a whole ladder of shares nobody leaves the candidate once in it."""
    held: set[str] = set()
    for share in (0.01, 0.05, 0.25, 0.5, 1.0):
        route = table(candidate=share)
        now = {u for u in MANY[:1_000] if route.assign(u).name == CANDIDATE}
        assert held <= now
        held = now
    assert len(held) == 1_000


@given(UNITS, st.integers(1, 12), st.integers(0, 11))
def test_an_arm_without_weight_never_wins(unit: str, arms: int, only: int) -> None:
    """Where one arm has all the weight it has every unit."""
    weights = [0.0] * arms
    weights[only % arms] = 1e-9
    assert assign(unit, "salt", weights) == only % arms


@pytest.mark.parametrize("weights", [[0.99, 0.01], [0.5, 0.5], [0.2, 0.3, 0.5], [1] * 10])
def test_shares_are_true(weights: list[float]) -> None:
    """Chi-square over many units: the counts are what the weights say (p above 0.001)."""
    counts = [0] * len(weights)
    for unit in MANY:
        counts[assign(unit, "true shares", weights)] += 1
    expected = [len(MANY) * w / sum(weights) for w in weights]
    statistic = sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True))
    limit = {1: 10.83, 2: 13.82, 9: 27.88}[len(weights) - 1]  # chi-square's 0.999 quantiles
    assert statistic < limit


def test_rollouts_draw_their_first_users_independently() -> None:
    """Under two salts a unit's arms are independent: nobody is always the guinea pig."""
    both = [(assign(u, "one", [1, 1]), assign(u, "two", [1, 1])) for u in MANY]
    expected = len(MANY) / 4
    cells = [both.count(pair) for pair in [(0, 0), (0, 1), (1, 0), (1, 1)]]
    assert sum((c - expected) ** 2 / expected for c in cells) < 16.27  # 3 degrees, 0.999


@given(st.binary(max_size=80), st.binary(max_size=64), st.integers(1, 40))
def test_draws_are_inside_the_open_interval(unit: bytes, key: bytes, slots: int) -> None:
    """Never 0 and never 1, so that a logarithm is finite; more slots never change earlier ones."""
    found = draws(unit, key, slots)
    assert len(found) == slots
    assert all(0.0 < d < 1.0 for d in found)
    assert found[: slots // 2] == draws(unit, key, slots // 2)


def test_a_long_salt_is_hashed_and_not_cut_off() -> None:
    """Two long salts that begin alike are still two salts."""
    assert salt_key("s" * 64) == b"s" * 64
    assert salt_key("s" * 65) != salt_key("s" * 66)


@pytest.mark.parametrize("weights", [[], [0.0], [0.0, 0.0], [-1.0], [float("nan")]])
def test_no_positive_weight_is_refused(weights: list[float]) -> None:
    """There is nobody to assign a unit to."""
    with pytest.raises(UsageError, match="no arm has a positive weight"):
        assign("unit", "salt", weights)


def test_shadows_and_fallbacks_are_assigned_no_users() -> None:
    """They stand in the table with a share, and win nobody."""
    arms = (Arm(STABLE, "a", 1.0), Arm(SHADOW, "b", 1.0), Arm(FALLBACK, "c", 1.0))
    route = RouteTable("flights", 1, "salt", arms, 60.0, {})
    assert {route.assign(unit).name for unit in MANY[:200]} == {STABLE}


@pytest.mark.parametrize(
    "arms",
    [
        (),
        (Arm(CANDIDATE, "a", 1.0),),
        (Arm(STABLE, "a", 0.5),),
        (Arm(STABLE, "a", 0.5), Arm(CANDIDATE, "b", 0.6)),
        (Arm(STABLE, "a", 1.5), Arm(CANDIDATE, "b", -0.5)),
        (Arm(STABLE, "a", float("nan")),),
    ],
)
def test_a_table_that_does_not_add_up_is_refused(arms: tuple[Arm, ...]) -> None:
    """Stable comes first, shares lie between 0 and 1 and sum to 1."""
    with pytest.raises(UsageError):
        RouteTable("flights", 1, "salt", arms, 60.0, {})


def test_a_table_finds_its_arms() -> None:
    """Stable is what everyone falls back to; an arm that is not there is None."""
    route = table(candidate=0.25)
    assert route.stable.name == STABLE
    assert route.arm(CANDIDATE) == route.arms[1]
    assert route.arm(SHADOW) is None


def test_a_table_reads_back_from_its_record() -> None:
    """A recorded table, through JSON, is the same table."""
    route = table(candidate=0.25)
    assert RouteTable.from_record(json.loads(json.dumps(route.record()))) == route


@given(st.lists(st.floats(0.0, 200.0), min_size=2, max_size=6).map(sorted))
def test_a_lease_only_runs_down(moments: list[float]) -> None:
    """What is left never grows with time, and ends after its seconds."""
    lease = Lease(route=1, renewal=1, at=50.0, seconds=60.0)
    left = [lease.left(now) for now in moments]
    assert all(a >= b for a, b in pairwise(left))
    assert all((now < 110.0) == (seconds > 0.0) for now, seconds in zip(moments, left, strict=True))


def test_a_clock_that_runs_behind_cannot_lengthen_a_lease() -> None:
    """A gateway whose clock is an hour slow still lets go after the lease's seconds."""
    assert Lease(1, 1, at=3_600.0, seconds=60.0).left(0.0) == 60.0
