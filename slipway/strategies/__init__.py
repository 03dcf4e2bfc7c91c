"""Strategies: (state, verdict, now) -> next step, one per file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from slipway.errors import SpecError

if TYPE_CHECKING:
    from slipway.ports import Strategy

BUILT_IN = {
    "blue_green": "slipway.strategies.blue_green:BlueGreen",
    "canary": "slipway.strategies.canary:Canary",
    "league": "slipway.strategies.league:League",
    "shadow": "slipway.strategies.shadow:Shadow",
}


def resolve(name: str) -> Strategy:
    """The strategy of a built-in name or a ``package.module:Class``.

    Raises:
        SpecError: there is none of that name; the known ones are listed.
    """
    module, _, attribute = BUILT_IN.get(name, name).partition(":")
    try:
        made: Strategy = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError) as error:
        raise SpecError(
            f"there is no strategy '{name}': {error}",
            where="rollout.strategy",
            do=f"built in: {', '.join(sorted(BUILT_IN))}; or your own as 'package.module:Class'",
        ) from error
    return made
