"""The serving policy: every fault named at once, by path, and nothing half understood."""

import pytest

from slipway.errors import SpecError
from slipway.policy import Policy, faults

WHOLE = {
    "protocol": "scoring",
    "unit": {"from": "json", "name": "tailnum"},
    "budget_ms": 500,
    "budgets_ms": {"candidate": 200},
    "hedge_ms": 50,
    "answer": {"min": 0, "max": 1, "finite": True, "type": "number"},
    "guard": {
        "columns": {"hour": {"required": True, "min": 0, "max": 23}},
        "deny": ["distance > 6000 and carrier == 'ZZ'"],
        "rate": {"per_second": 5, "burst": 10},
    },
    "fallbacks": ["stable", "fallback", "rule", "cache"],
    "rule": {"column": "carrier", "table": {"UA": 0.2}, "default": 0.1},
    "cache": {"by": "unit", "seconds": 60},
    "breaker": {"failures": 3},
    "prices": {"*": {"per_call": 0.001}, "candidate": {"tokens_in": {"per_1k": 1, "field": "u.i"}}},
    "log": {"sample": 0.5, "features": False, "keep_days": 30},
    "access": {"allow": {"tester": "candidate"}},
}


def test_nothing_declared_is_a_whole_policy():
    """Every key has a default."""
    assert Policy.from_record({}) == Policy()
    assert faults({}) == []


def test_everything_declared_is_read():
    """Sections, maps and lists land where they belong."""
    policy = Policy.from_record(WHOLE)
    assert policy.unit.source == "json"
    assert policy.guard.columns["hour"].max == 23
    assert policy.budget_seconds("candidate") == 0.2
    assert policy.budget_seconds("stable") == 0.5
    assert policy.prices_of("stable").per_call == 0.001
    assert policy.prices_of("candidate").tokens_in.field == "u.i"
    assert policy.fallbacks == ("stable", "fallback", "rule", "cache")


def test_all_faults_are_told_at_once():
    """Each fault says its path, what was found and what is allowed."""
    found = faults(
        {
            "unit": {"from": "body"},
            "budget_ms": 0,
            "answer": {"min": "low"},
            "guard": {"columns": {"hour": {"max": None, "most": 3}}, "deny": ["a.b", "1 +"]},
            "sampel": 1,
        }
    )
    told = "\n".join(found)
    assert "unit.from: found 'body', allowed is one of header, cookie, query, json" in told
    assert "budget_ms: found 0, allowed is a finite number of at least 1" in told
    assert "answer.min: found 'low'" in told
    assert "guard.columns.hour.most: found 3, allowed is only the keys" in told
    assert "Attribute is not allowed" in told
    assert "sampel: found 1, allowed is only the keys protocol, unit" in told
    assert len(found) == 6


def test_an_error_names_the_section():
    """What a route table carries is read or refused whole."""
    with pytest.raises(SpecError, match=r"serving\.budget_ms"):
        Policy.from_record({"budget_ms": -1})


@pytest.mark.parametrize(
    ("record", "path"),
    [
        ({"budget_ms": True}, "budget_ms"),
        ({"budget_ms": float("nan")}, "budget_ms"),
        ({"max_rows": 1.5}, "max_rows"),
        ({"fallbacks": ["stable", "stable"]}, "fallbacks"),
        ({"fallbacks": "stable"}, "fallbacks"),
        ({"unit": "header"}, "unit"),
        ({"guard": {"columns": ["hour"]}}, "guard.columns"),
        ({"rule": {}}, "rule"),
        ({"rule": {"value": 1, "expression": "1"}}, "rule"),
        ({"rule": {"expression": "__import__('os')"}}, "rule.expression"),
        ({"prices": {"*": {"tokens_in": {"per_1k": 1}}}}, "prices.*.tokens_in"),
        ({"prices": {"*": {"per_call": -1}}}, "prices.*.per_call"),
        ({"access": {"keys": ["secret"]}}, "access.keys"),
        ({"access": {"beta": {"me": "password"}}}, "access.beta.me"),
        ({"log": {"sample": 2}}, "log.sample"),
        ({3: 4}, "3"),
    ],
)
def test_each_of_these_is_a_fault(record, path):
    """A value of the wrong kind is named by its path."""
    assert [fault.partition(":")[0] for fault in faults(record)] == [path]
