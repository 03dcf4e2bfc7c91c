"""Input guardrails and the rate of a unit."""

import math

import pytest

from slipway.policy import ColumnGuard, Guard, Rate
from slipway.serving.content import BadRequestError
from slipway.serving.guard import InputGuard
from slipway.serving.shared import Table

COLUMNS = {
    "hour": ColumnGuard(required=True, min=0, max=23),
    "carrier": ColumnGuard(one_of=("AA", "UA")),
    "stops": ColumnGuard(one_of=(0, 1)),
}


def guard(**parts):
    """A guard with a memory of its own."""
    return InputGuard("flights", Guard(**parts), Table(64))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"hour": 24}, "row 0, column hour: found 24, allowed is a number from 0 to 23"),
        ({"hour": None}, "allowed is a value"),
        ({}, "column hour: found None"),
        ({"hour": "noon"}, "found 'noon'"),
        ({"hour": 3, "carrier": "ZZ"}, "allowed is one of AA, UA"),
        ({"hour": 3, "stops": 7}, "column stops: found 7, allowed is one of 0, 1"),
        ({"hour": 3, "stops": math.inf}, "column stops: found inf"),
        ([3], "does not name its columns"),
    ],
)
def test_a_row_beyond_its_bounds_is_refused(row, told):
    """The refusal names the row, the column, what was found and what is allowed."""
    with pytest.raises(BadRequestError, match="row 0") as error:
        guard(columns=COLUMNS).check_rows([row])
    assert error.value.status == 422
    assert told in error.value.what


def test_good_rows_pass():
    """A row within its bounds passes, with or without what is not required."""
    guard(columns=COLUMNS).check_rows([{"hour": 0, "carrier": "AA"}, {"hour": 23.0}])


def test_a_deny_rule_refuses_and_fails_closed():
    """A row that the rule matches is refused, and so is one that it cannot judge."""
    denies = guard(deny=("distance > 6000",))
    denies.check_rows([{"distance": 100}])
    for row in ({"distance": 9999}, {"distance": "far"}, {}):
        with pytest.raises(BadRequestError, match="rule"):
            denies.check_rows([row])
    with pytest.raises(BadRequestError, match="it has no column 'distance'"):
        denies.check_rows([{}])


def test_rows_of_unknown_shape_are_refused():
    """What the guard cannot read it does not let pass."""
    with pytest.raises(BadRequestError, match="no rows"):
        guard(columns=COLUMNS).check_rows(None)


def test_nothing_declared_costs_nothing():
    """A guard without rules says that it need not be asked."""
    assert guard().idle
    assert not guard(rate=Rate()).idle


def test_a_unit_may_ask_at_its_rate():
    """A burst goes through, the next is refused, and time fills the bucket again."""
    limited = guard(rate=Rate(per_second=2.0, burst=3.0))
    for _ in range(3):
        limited.check_rate(limited.bucket(b"a"), 100.0)
    with pytest.raises(BadRequestError, match="more often") as error:
        limited.check_rate(limited.bucket(b"a"), 100.1)
    assert error.value.status == 429
    limited.check_rate(limited.bucket(b"b"), 100.1)
    limited.check_rate(limited.bucket(b"a"), 100.6)
