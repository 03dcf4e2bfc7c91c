"""How the gateway serves one model: the ``serving`` section of the spec, frozen.

The section travels inside the route table, so that a change of policy is a numbered, recorded
change of route like any other. Reading it reports every fault at once, by path.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from slipway.errors import SpecError


@dataclass(frozen=True, slots=True)
class Unit:
    """Where a request says who it is for.

    Args:
        source: ``header``, ``cookie``, ``query`` or ``json`` (a column of the first row).
        name: the header's, cookie's, parameter's or column's name.
    """

    source: str = "header"
    name: str = "x-slipway-unit"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a good answer is; anything else counts as the arm's failure.

    Args:
        min, max: bounds of every prediction, or None.
        finite: whether NaN and the infinities are refused.
    """

    min: float | None = None
    max: float | None = None
    finite: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """How one model is served.

    Args:
        unit: where a request says who it is for.
        budget_ms: how long each arm may take before the next in the chain is asked.
        answer: what a good answer is.
        fallbacks: whom to ask, in order, when the assigned arm fails. Stable is always asked first.
        max_body_bytes: larger requests are refused with 413.
        max_rows: requests with more rows are refused with 413; None leaves it to the model server.
    """

    unit: Unit = Unit()
    budget_ms: float = 2000.0
    answer: Answer = Answer()
    fallbacks: tuple[str, ...] = ("stable", "fallback")
    max_body_bytes: int = 8 * 1024 * 1024
    max_rows: int | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Policy:
        """Read a policy.

        Raises:
            SpecError: it has faults; all of them are named.
        """
        reader = Reader()
        policy = reader.read(cls, record, "")
        if reader.faults:
            lines = "\n".join(f"    serving.{fault}" for fault in reader.faults)
            raise SpecError(f"the serving policy has faults:\n{lines}", do="mend each path named")
        assert isinstance(policy, cls)
        return policy


def faults(record: Mapping[str, Any]) -> list[str]:
    """Every fault of a serving section: its path, what was found, what is allowed."""
    reader = Reader()
    reader.read(Policy, record, "")
    return reader.faults


Check = Callable[[Any], str]
"""Says what is allowed where a value is not, and nothing where it is."""


def number(low: float, high: float = math.inf, *, none: bool = False) -> Check:
    """A finite number of at least ``low`` and at most ``high``."""

    def check(value: Any) -> str:
        if none and value is None:
            return ""
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        if real and math.isfinite(value) and low <= value <= high:
            return ""
        upper = f" and at most {high:g}" if high < math.inf else ""
        lower = f" of at least {low:g}" if low > -math.inf else ""
        return f"a finite number{lower}{upper}"

    return check


def whole(low: int, *, none: bool = False) -> Check:
    """A whole number of at least ``low``."""

    def check(value: Any) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= low
        return "" if good or (none and value is None) else f"a whole number of at least {low}"

    return check


def one_of(*allowed: str) -> Check:
    """One of some names."""
    return lambda value: "" if value in allowed else f"one of {', '.join(allowed)}"


def names(*allowed: str) -> Check:
    """A list of distinct names out of some."""

    def check(value: Any) -> str:
        good = isinstance(value, (list, tuple)) and all(v in allowed for v in value)
        if good and len(set(value)) == len(value):
            return ""
        return f"a list without repetition of {', '.join(allowed)}"

    return check


def text(value: Any) -> str:
    """A text that is not empty."""
    return "" if isinstance(value, str) and value else "a text that is not empty"


def flag(value: Any) -> str:
    """Yes or no."""
    return "" if isinstance(value, bool) else "true or false"


CHECKS: dict[type, dict[str, Check | type]] = {
    Unit: {"source": one_of("header", "cookie", "query", "json"), "name": text},
    Answer: {
        "min": number(-math.inf, none=True),
        "max": number(-math.inf, none=True),
        "finite": flag,
    },
    Policy: {
        "unit": Unit,
        "budget_ms": number(1),
        "answer": Answer,
        "fallbacks": names("stable", "fallback"),
        "max_body_bytes": whole(1),
        "max_rows": whole(1, none=True),
    },
}

_SPELT = {"source": "from"}
"""Fields whose key in the spec is a word that Python keeps for itself."""


class Reader:
    """Reads nested sections into frozen dataclasses, collecting every fault by path."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def read(self, kind: type, record: Any, path: str) -> Any:
        """Read one section; faults are added, and the section's defaults stand in for them."""
        if not isinstance(record, Mapping):
            self._fault(path or "policy", record, "a section of keys and values")
            return kind()
        checks = {_SPELT.get(name, name): (name, check) for name, check in CHECKS[kind].items()}
        for unknown in sorted(set(map(str, record)) - set(checks)):
            self._fault(_join(path, unknown), record[unknown], f"only {', '.join(sorted(checks))}")
        values = {
            name: self._value(check, record[key], _join(path, key))
            for key, (name, check) in checks.items()
            if key in record
        }
        return kind(**{name: value for name, value in values.items() if value is not _WRONG})

    def _value(self, check: Check | type, value: Any, path: str) -> Any:
        if isinstance(check, type):
            return self.read(check, value, path)
        if allowed := check(value):
            self._fault(path, value, allowed)
            return _WRONG
        return tuple(value) if isinstance(value, list) else value

    def _fault(self, path: str, found: Any, allowed: str) -> None:
        shown = repr(found)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        self.faults.append(f"{path}: found {shown}, allowed is {allowed}")


_WRONG = object()


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


assert all({f.name for f in fields(kind)} == set(checks) for kind, checks in CHECKS.items())
