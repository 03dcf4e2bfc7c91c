"""docs/spec.md and the code that reads slipway.yaml say the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from slipway import policy, schema
from slipway.spec import Part, Spec

PAGE = Path(__file__).parents[2] / "docs" / "spec.md"
ROW = re.compile(r"^\| `([\w.*\[\]]+)` \| (.+?) \| (.+?) \|$", re.MULTILINE)


def _keys(part: type[Part], path: str = "") -> Iterator[tuple[str, str]]:
    """Every key of a section and of those inside it, with its default as the page writes it."""
    for name, field in part.model_fields.items():
        if field.exclude:
            continue
        key = f"{path}{field.alias or name}"
        inner, listed = _inner(field.annotation)
        if inner:
            yield from _keys(inner, f"{key}[]." if listed else f"{key}.")
        elif key == "serving":
            yield from _policy(policy.Policy, "serving.")
        else:
            default = field.get_default(call_default_factory=True)
            yield key, "none" if field.is_required() else _written(default)


def _inner(annotation: Any) -> tuple[type[Part] | None, bool]:
    """The section that a key holds, and whether it holds a list of them."""
    kind = next(iter(get_args(annotation)), annotation)
    section = isinstance(kind, type) and issubclass(kind, Part)
    return (kind if section else None), kind is not annotation


def _policy(kind: type, path: str) -> Iterator[tuple[str, str]]:
    """The same for the serving section, which is made of dataclasses with checks."""
    made = kind()
    for field in fields(kind):
        key, inner = path + (field.metadata["key"] or field.name), field.metadata["kind"]
        named = isinstance(inner, schema.MapOf)
        section = inner.kind if isinstance(inner, schema.MapOf | schema.Maybe) else inner
        if isinstance(section, type):
            yield from _policy(section, f"{key}.*." if named else f"{key}.")
        else:
            yield key, _written(getattr(made, field.name))


def _written(default: Any) -> str:
    """A default as the page writes it."""
    if default is None:
        return "none given"
    if default == "":
        return "empty"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float):
        return f"`{default:g}`" if default < 1e4 else f"`{default:.0f}`"
    if isinstance(default, tuple):
        return f"`[{', '.join(default)}]`"
    return f"`{default}`"


def test_the_page_lists_every_key_with_its_default():
    """A key or default that is changed in the code must be changed on the page, and back."""
    told = {key: default for key, default, _ in ROW.findall(PAGE.read_text(encoding="utf-8"))}
    assert told == dict(_keys(Spec))


def test_the_walk_sees_lists_and_sections():
    """The walk that the test above rests on finds nested and listed keys."""
    found = dict(_keys(Spec))
    assert found["data.features[].kind"] == "none"
    assert found["serving.unit.from"] == "`header`"
    assert "folder" not in found
