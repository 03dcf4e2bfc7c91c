"""Runtimes: where replicas run, one per file."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.errors import SpecError
from slipway.terms import Terms

if TYPE_CHECKING:
    from slipway.ports import Runtime

BUILT_IN = {
    "process": "slipway.runtimes.process:ProcessRuntime",
    "docker": "slipway.runtimes.docker:DockerRuntime",
    "swarm": "slipway.runtimes.swarm:SwarmRuntime",
    "kubernetes": "slipway.runtimes.kubernetes:KubernetesRuntime",
}


def in_use(terms: Iterable[Terms], home: Path) -> tuple[tuple[Terms, Runtime], ...]:
    """Each runtime that such terms name, once, and that of processes, which every home has."""
    found: list[tuple[Terms, Runtime]] = []
    for each in (Terms(), *terms):
        if not any(each.shares_runtime(other) for other, _ in found):
            found.append((each, resolve(each.kind, home, each.options)))
    return tuple(found)


def resolve(kind: str, home: Path, options: Mapping[str, Any]) -> Runtime:
    """The runtime of a built-in name or a ``package.module:Class``.

    Args:
        home: the folder below which each runtime has one of its own.
        options: what it is made with.

    Raises:
        SpecError: there is none of that name, or it does not take these options.
    """
    module, _, attribute = BUILT_IN.get(kind, kind).partition(":")
    try:
        made: Callable[..., Runtime] = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise SpecError(
            f"there is no runtime '{kind}': {error}",
            where="runtime.kind",
            do=f"built in: {', '.join(sorted(BUILT_IN))}; or your own as 'package.module:Class'",
        ) from error
    folder = home / (kind if kind in BUILT_IN else kind.replace(":", "."))
    try:
        return made(folder, **options)
    except TypeError as error:
        known = [n for n in inspect.signature(made).parameters if n != "folder"]
        raise SpecError(
            f"the runtime '{kind}' does not take these options: {error}",
            where="runtime.options",
            do=f"it takes: {', '.join(known) or 'none'}",
        ) from error
