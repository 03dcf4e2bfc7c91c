"""Live metrics: one number per request, as SQL over the inference log; one metric per file."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import compress
from typing import TYPE_CHECKING, Any

from slipway.errors import ExpectationError
from slipway.evidence import Measure, QuantileMeasure

if TYPE_CHECKING:
    from slipway.gates import Gate, Gates
    from slipway.ports import Metric

BUILT_IN = {
    "brier": "slipway.metrics.brier:Brier",
    "cost": "slipway.metrics.cost:Cost",
    "delay": "slipway.metrics.delay:Delay",
    "disagreement": "slipway.metrics.disagreement:Disagreement",
    "error": "slipway.metrics.error:Error",
    "latency": "slipway.metrics.latency:Latency",
    "shift": "slipway.metrics.shift:Shift",
    "slow": "slipway.metrics.slow:Slow",
    "wrong": "slipway.metrics.wrong:Wrong",
}


def resolve(name: str, options: Mapping[str, Any] | None = None) -> Metric:
    """The metric of a built-in name or a ``package.module:Class``.

    Args:
        options: arguments of its class.

    Raises:
        ExpectationError: there is none of that name, or it does not take the options; the known
            names are listed.
    """
    module, _, attribute = BUILT_IN.get(name, name).partition(":")
    try:
        made: Metric = getattr(importlib.import_module(module), attribute)(**(options or {}))
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ExpectationError(
            f"there is no metric '{name}': {error}",
            where="gates.toml",
            do=f"built in: {', '.join(sorted(BUILT_IN))}; or your own as 'package.module:Class'",
        ) from error
    return made


def measures(gates: Gates, next_share: float = 1.0) -> tuple[Measure, ...]:
    """What an evidence source must gather for these gates.

    Args:
        next_share: as it will be given to ``judge``.

    Raises:
        ExpectationError: a metric is unknown, or is not of its gate's type.
    """
    return tuple(_measure(gate, next_share) for gate in gates.gates)


def is_paired(gate: Gate) -> bool:
    """Whether a gate's metric compares a request's two answers, which only a shadow gives."""
    return re.search(r"\bpeer_", resolve(gate.metric, gate.options).sql()) is not None


def of_step(gates: Gates, mirrors: bool) -> Gates:
    """The gates that a step can answer.

    Where requests are copied, nobody is given the candidate: those with a limit. Where users are:
    all but those that compare two answers to one request.
    """
    fit = [g.limit is not None if mirrors else not is_paired(g) for g in gates.gates]
    return replace(gates, gates=tuple(compress(gates.gates, fit)))


def _measure(gate: Gate, next_share: float) -> Measure:
    if gate.query is not None:
        raise ExpectationError(
            f"the gate of '{gate.metric}' has a query, and no rollout asks a Prometheus: its "
            "windows say nothing of units",
            where="gates.toml",
            do="judge it by 'slipway judge --prometheus', in a gates file of its own",
        )
    metric = resolve(gate.metric, gate.options)
    if (metric.type == "rate") != (gate.type == "rate"):
        raise ExpectationError(
            f"the metric '{gate.metric}' is a {metric.type}, and its gate takes it for a "
            f"{gate.type}",
            where="gates.toml",
            do="a rate takes a gate of type rate; any other metric one of type mean or quantile",
        )
    low = metric.low if gate.low is None else gate.low
    high = metric.high if gate.high is None else gate.high
    return measure_of(gate, next_share, metric.sql(), low, high)


def measure_of(
    gate: Gate, next_share: float, expression: str, low: float | None, high: float | None
) -> Measure:
    """The measure of a gate whose metric is an SQL expression with these bounds."""
    plain = (gate.name, expression, gate.type, low, high, gate.maturity)
    if gate.q is None:
        return Measure(*plain)
    worse, no_worse = ((b.slope, b.shift) for b in gate.borders(next_share))
    return QuantileMeasure(*plain, q=gate.q, worse=worse, no_worse=no_worse)
