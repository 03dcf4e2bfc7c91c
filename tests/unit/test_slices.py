"""What members have of the users: alike, or by parts above a floor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.errors import UsageError
from slipway.slices import slice_of, spread

PARTS = st.dictionaries(st.sampled_from("abcdef"), st.floats(0.0, 1.0), min_size=1)


@given(PARTS, st.floats(0.1, 0.9), st.floats(0.001, 0.016))
def test_all_is_shared_out_and_nobody_is_below_the_floor(
    parts: dict[str, float], total: float, floor: float
) -> None:
    """And who has the larger part has no smaller share."""
    shares = spread(parts, total, floor)
    assert sum(shares.values()) == pytest.approx(total)
    assert min(shares.values()) >= floor - 1e-12
    told = sorted(parts, key=lambda name: parts[name])
    assert [shares[n] for n in told] == sorted(shares[n] for n in told)


def test_those_without_a_part_are_alike() -> None:
    """At the beginning nothing is known of anyone."""
    assert spread({"a": 0.0, "b": 0.0}, 0.5, 0.1) == {"a": 0.25, "b": 0.25}


def test_floors_fit_into_what_there_is() -> None:
    """Three at a tenth need more than a quarter."""
    with pytest.raises(UsageError, match="3 members at a floor"):
        spread(dict.fromkeys("abc", 1.0), 0.25, 0.1)


def test_stable_has_as_many_times_the_users_of_each() -> None:
    """Nine times as many as one that has a tenth, and as each of three."""
    assert slice_of(0.1, 1) == pytest.approx(0.1)
    assert 1.0 - 3 * slice_of(0.1, 3) == pytest.approx(9 * slice_of(0.1, 3))
