"""Live metrics: one number per request, as SQL over the inference log; one metric per file."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from slipway.errors import ExpectationError

if TYPE_CHECKING:
    from slipway.ports import Metric

BUILT_IN = {
    "brier": "slipway.metrics.brier:Brier",
    "cost": "slipway.metrics.cost:Cost",
    "error": "slipway.metrics.error:Error",
    "latency": "slipway.metrics.latency:Latency",
    "slow": "slipway.metrics.slow:Slow",
    "wrong": "slipway.metrics.wrong:Wrong",
}


def resolve(name: str) -> Metric:
    """The metric of a built-in name or a ``package.module:Class``.

    Raises:
        ExpectationError: there is none of that name; the known ones are listed.
    """
    module, _, attribute = BUILT_IN.get(name, name).partition(":")
    try:
        made: Metric = getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ExpectationError(
            f"there is no metric '{name}': {error}",
            where="gates.toml",
            do=f"built in: {', '.join(sorted(BUILT_IN))}; or your own as 'package.module:Class'",
        ) from error
    return made
