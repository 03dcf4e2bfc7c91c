"""Nested sections of plain values, read into frozen dataclasses, with every fault named by path.

A dataclass says what is allowed in its field's metadata (see `item`), so that a key, its default
and its check stand on one line. Small, and imported where pydantic would take longer than the rest
of the program.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

Check = Callable[[Any], str]
"""Says what is allowed where a value is not, and nothing where it is."""


@dataclass(frozen=True, slots=True)
class MapOf:
    """A section whose keys are the reader's own names, each with a section or value of one kind."""

    kind: type | Check


@dataclass(frozen=True, slots=True)
class Maybe:
    """A section that may be left out: None then."""

    kind: type


Kind = Check | type | MapOf | Maybe


def item(kind: Kind, default: Any = None, *, key: str = "") -> Any:
    """A field: what is allowed, its default, and its key where Python keeps the word for itself."""
    if isinstance(kind, type):
        return field(default_factory=kind, metadata={"kind": kind, "key": key})
    if isinstance(kind, MapOf):
        return field(default_factory=dict, metadata={"kind": kind, "key": key})
    return field(default=default, metadata={"kind": kind, "key": key})


def number(low: float = -math.inf, high: float = math.inf) -> Check:
    """A finite number of at least ``low`` and at most ``high``."""

    def check(value: Any) -> str:
        real = isinstance(value, (int, float)) and not isinstance(value, bool)
        if real and math.isfinite(value) and low <= value <= high:
            return ""
        lower = f" of at least {low:g}" if low > -math.inf else ""
        upper = f" and at most {high:g}" if high < math.inf else ""
        return f"a finite number{lower}{upper}"

    return check


def whole(low: int) -> Check:
    """A whole number of at least ``low``."""

    def check(value: Any) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= low
        return "" if good else f"a whole number of at least {low}"

    return check


def optional(check: Check) -> Check:
    """What ``check`` allows, or null."""
    return lambda value: "" if value is None else check(value)


def one_of(*allowed: str) -> Check:
    """One of some names."""
    return lambda value: "" if value in allowed else f"one of {', '.join(allowed)}"


def list_of(check: Check, *, unique: bool = True) -> Check:
    """A list of allowed values."""

    def check_all(value: Any) -> str:
        if not isinstance(value, (list, tuple)):
            return f"a list, each {check(None) or 'any value'}"
        allowed = next((a for v in value if (a := check(v))), "")
        if allowed:
            return f"a list, each {allowed}"
        return "a list without repetition" if unique and _repeats(value) else ""

    return check_all


def _repeats(values: Any) -> bool:
    return any(value in values[:at] for at, value in enumerate(values))


def text(value: Any) -> str:
    """A text that is not empty."""
    return "" if isinstance(value, str) and value else "a text that is not empty"


def matching(pattern: str, name: str) -> Check:
    """A text that a regular expression matches whole."""
    matches = re.compile(pattern).fullmatch
    return lambda value: "" if isinstance(value, str) and matches(value) else name


def flag(value: Any) -> str:
    """Yes or no."""
    return "" if isinstance(value, bool) else "true or false"


def scalar(value: Any) -> str:
    """A number, a text, or true or false."""
    good = isinstance(value, (str, int, float)) and value == value  # noqa: PLR0124  not NaN
    return "" if good else "a number, a text, or true or false"


Section = TypeVar("Section")


def read(kind: type[Section], record: Any, path: str = "") -> tuple[Section, list[str]]:
    """Read a section.

    Returns:
        The section, defaults standing in for faulty values, and the faults: path, what was found,
        what is allowed.
    """
    reader = _Reader([])
    return reader.section(kind, record, path), reader.faults


@dataclass(frozen=True, slots=True)
class _Reader:
    faults: list[str]

    def section(self, kind: type[Section], record: Any, path: str) -> Section:
        if not isinstance(record, Mapping):
            self._fault(path or "the section", record, "a section of keys and values")
            return kind()
        known = {f.metadata["key"] or f.name: f for f in fields(kind)}  # type: ignore[arg-type]
        for key in record:
            if key not in known:
                self._fault(_join(path, key), record[key], f"only the keys {', '.join(known)}")
        values = {
            f.name: self._value(f.metadata["kind"], record[key], _join(path, key))
            for key, f in known.items()
            if key in record
        }
        good = {name: value for name, value in values.items() if value is not _WRONG}
        made = kind(**good)
        across = getattr(made, "fault", None)  # the section's own rule across its fields
        if across and len(good) == len(values) and (fault := across()):
            self.faults.append(f"{path}: {fault}")
        return made

    def _value(self, kind: Kind, value: Any, path: str) -> Any:
        if isinstance(kind, Maybe):
            return None if value is None else self.section(kind.kind, value, path)
        if isinstance(kind, MapOf):
            return self._map(kind, value, path)
        if isinstance(kind, type):
            return self.section(kind, value, path)
        if allowed := kind(value):
            self._fault(path, value, allowed)
            return _WRONG
        return tuple(value) if isinstance(value, list) else value

    def _map(self, kind: MapOf, value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            self._fault(path, value, "a section of your own names and their values")
            return _WRONG
        read_all = {str(k): self._value(kind.kind, v, _join(path, k)) for k, v in value.items()}
        return {k: v for k, v in read_all.items() if v is not _WRONG}

    def _fault(self, path: str, found: Any, allowed: str) -> None:
        shown = repr(found)
        shown = shown if len(shown) <= 60 else shown[:57] + "..."
        self.faults.append(f"{path}: found {shown}, allowed is {allowed}")


_WRONG = object()


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
