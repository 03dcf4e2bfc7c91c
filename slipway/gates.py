"""The live part of ``gates.toml``: what a candidate must show on real traffic, chosen in advance.

    [policy]
    alpha = 0.05
    on_inconclusive = "rollback"

    [[gate]]
    metric = "error"
    kind = "guardrail"
    type = "rate"
    direction = "lower"
    budget = 0.02

Parsing reports every fault at once, each by its path. The JSON Schema is
``docs/gates.schema.json``, made from the tables below by ``slipway.gates_schema``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from slipway.errors import ExpectationError, UsageError

KINDS = ("guardrail", "signal", "goal")
TYPES = ("rate", "mean", "quantile")
DIRECTIONS = ("lower", "higher")
MISSING = ("not_measured", "fail")
INCONCLUSIVE = ("rollback", "hold", "extend")


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for all gates together.

    Args:
        alpha: the chance, over all gates and looks together, of calling a candidate worse that
            is not, and equally of passing one that is.
        on_inconclusive: what to do when a step's time is over without a decision.
        srm_alpha: the chance of calling a sound split of units a mismatch.
        shares: arm name to its share of units, where no route table tells it.
    """

    alpha: float = 0.05
    on_inconclusive: str = "rollback"
    srm_alpha: float = 0.001
    shares: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gate:
    """One demand on one metric.

    Args:
        metric: a built-in metric's name, ``package.module:Class``, or a column's name.
        kind: ``guardrail`` (worse rolls back), ``signal`` (worse holds), ``goal`` (must be better
            to be promoted).
        type: ``rate`` (each request 0 or 1), ``mean``, or ``quantile``.
        q: which quantile, in (0, 1), for type ``quantile``.
        direction: which way is better.
        relative: how much worse still counts as no worse, as a share of stable's figure.
        absolute: the same in the metric's own units.
        budget: the harm allowed to all users together, in the metric's own units; a move to
            share w demands that the candidate's harm be below budget / w.
        limit: where the candidate's own figure must surely lie, whatever stable's is. The demand
            of a launch that leaves nobody with stable (blue/green), and of a shadow's answers.
        low, high: bounds of the metric's values, where it has them and is not built in.
        min_units: units that each arm must have before the gate is decided.
        missing: what a gate without data is: ``not_measured``, or ``fail`` as soon as
            ``min_units`` (mature) requests were asked of each arm that it needs.
        maturity: seconds to wait for a request's value (its label, say) before it counts either
            way, so that what comes early does not count for more.
        coverage: the part of each arm's mature requests that must have a value.
        weight: its part of alpha.
        options: arguments of the metric's class.
        query: PromQL of a mean that lives in a Prometheus, one series per arm
            (``slipway judge --prometheus``).
    """

    metric: str
    kind: str = "guardrail"
    type: str = "rate"
    q: float | None = None
    direction: str = "lower"
    relative: float | None = None
    absolute: float | None = None
    budget: float | None = None
    limit: float | None = None
    low: float | None = None
    high: float | None = None
    min_units: int = 1
    missing: str = "not_measured"
    maturity: float = 0.0
    coverage: float = 0.0
    weight: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    query: str | None = None

    @property
    def name(self) -> str:
        """What people, and the evidence, call it: the metric, its options and its quantile."""
        told = ", ".join(f"{k}={v}" for k, v in self.options.items())
        name = f"{self.metric}({told})" if told else self.metric
        return f"{name} p{100 * self.q:g}" if self.q is not None else name

    @property
    def lower_is_better(self) -> bool:
        """The direction, as a truth value."""
        return self.direction == "lower"

    def borders(self, next_share: float) -> tuple[Border, Border]:
        """Where worse begins, and within what the candidate must surely be to move on.

        They differ for a budget only: harm beyond all of it is worse at any share, since such a
        candidate can never be promoted; to move on, harm must be below the budget / next share.
        """
        sign = 1.0 if self.lower_is_better else -1.0
        if self.relative is not None:
            both = Border(1.0 + sign * self.relative, 0.0)
            return both, both
        if self.absolute is not None:
            both = Border(1.0, sign * self.absolute)
            return both, both
        if self.budget is None:
            raise UsageError("a limit has no border to stable", where=f"gate {self.name}")
        return Border(1.0, sign * self.budget), Border(1.0, sign * self.budget / next_share)


@dataclass(frozen=True, slots=True)
class Border:
    """A border between good and bad: candidate = slope * stable + shift."""

    slope: float
    shift: float


EVEN = Border(1.0, 0.0)
"""Neither better nor worse."""


@dataclass(frozen=True, slots=True)
class Gates:
    """All that is demanded on live traffic. Never empty."""

    policy: Policy
    gates: tuple[Gate, ...]

    def alpha(self, gate: Gate) -> float:
        """A gate's part of the policy's alpha, by its weight."""
        return self.policy.alpha * gate.weight / sum(g.weight for g in self.gates)


Rule = tuple[Callable[[Any], bool], str, dict[str, Any]]


LARGEST = 1e60
"""How far from 0 numbers may be: what is summed are their fourth powers."""

TEXT = {"type": "string", "pattern": r"\S"}
"""The schema of a text that is not blank."""


def _number(value: Any) -> bool:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and abs(value) <= LARGEST


def _one_of(allowed: tuple[str, ...]) -> Rule:
    return lambda v: v in allowed, "one of " + ", ".join(allowed), {"enum": list(allowed)}


def _text(told: str) -> Rule:
    return lambda v: isinstance(v, str) and bool(v.strip()), told, TEXT


_OPEN_UNIT: Rule = (
    lambda v: _number(v) and 0 < v < 1,
    "a number between 0 and 1, both excluded",
    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
)
_POSITIVE: Rule = (
    lambda v: _number(v) and v > 0,
    "a number above 0, of at most 1e60",
    {"type": "number", "exclusiveMinimum": 0, "maximum": LARGEST},
)
_FINITE: Rule = (
    _number,
    "a number from -1e60 to 1e60",
    {"type": "number", "minimum": -LARGEST, "maximum": LARGEST},
)
_COUNT: Rule = (
    lambda v: _number(v) and v >= 1 and v == int(v),  # JSON and its schemas hold 100.0 for one
    "a whole number from 1",
    {"type": "integer", "minimum": 1, "maximum": LARGEST},
)
_SIZE: Rule = (
    lambda v: _number(v) and v >= 0,
    "a number from 0 to 1e60; the direction says which way is worse",
    {"type": "number", "minimum": 0, "maximum": LARGEST},
)
_PART: Rule = (
    lambda v: _number(v) and 0 <= v <= 1,
    "a number from 0 to 1",
    {"type": "number", "minimum": 0, "maximum": 1},
)
_SHARES: Rule = (
    lambda v: (
        isinstance(v, Mapping)
        and len(v) > 1
        and all(_number(s) and 0 < s <= 1 for s in v.values())
        and abs(sum(v.values()) - 1.0) < 1e-9
    ),
    "a share above 0 for each arm, together 1",
    {
        "type": "object",
        "minProperties": 2,
        "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
    },
)
_MARGIN: Rule = (
    lambda v: isinstance(v, Mapping) and len(v) == 1 and set(v) <= {"relative", "absolute"},
    "{ relative = x } or { absolute = x }",
    {
        "type": "object",
        "properties": {"relative": _SIZE[2], "absolute": _SIZE[2]},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    },
)

POLICY_KEYS: dict[str, Rule] = {
    "alpha": _OPEN_UNIT,
    "on_inconclusive": _one_of(INCONCLUSIVE),
    "srm_alpha": _OPEN_UNIT,
    "shares": _SHARES,
}
GATE_KEYS: dict[str, Rule] = {
    "metric": _text("a metric's name"),
    "kind": _one_of(KINDS),
    "type": _one_of(TYPES),
    "q": _OPEN_UNIT,
    "direction": _one_of(DIRECTIONS),
    "margin": _MARGIN,
    "budget": _POSITIVE,
    "limit": _FINITE,
    "low": _FINITE,
    "high": _FINITE,
    "min_units": _COUNT,
    "missing": _one_of(MISSING),
    "maturity": _SIZE,
    "coverage": _PART,
    "weight": _POSITIVE,
    "options": (lambda v: isinstance(v, Mapping), "a table", {"type": "object"}),
    "query": _text("a PromQL query"),
}
DEMANDS = ("margin", "budget", "limit")
REQUIRED = ("metric", "kind", "type", "direction")


def parse(raw: Mapping[str, Any]) -> Gates:
    """The gates of a parsed ``gates.toml``; its ``offline`` part is none of this module's.

    Raises:
        ExpectationError: with every fault, each as path, what was found, what is allowed.
    """
    faults = [
        f"{key}: unknown (allowed: policy, gate)"
        for key in raw
        if key not in ("policy", "gate", "offline")
    ]
    policy, listed = raw.get("policy", {}), raw.get("gate", [])
    if isinstance(policy, Mapping):
        faults += _faults("policy", policy, POLICY_KEYS)
    else:
        faults.append(f"policy: found {policy!r} (allowed: a table)")
    if not isinstance(listed, list) or not listed:
        faults.append("gate: there is none (allowed: at least one [[gate]]; no gate, no verdict)")
        listed = []
    for index, gate in enumerate(listed):
        faults += _gate_faults(f"gate.{index}", gate)
    chosen = () if faults else tuple(_gate(g) for g in listed)
    names = [g.name for g in chosen]
    faults += [
        f"gate.{i}: '{name}' has a gate already (allowed: one of each metric, options and quantile)"
        for i, name in enumerate(names)
        if name in names[:i]
    ]
    if faults:
        raise ExpectationError(
            "the gates have faults:\n" + "\n".join(f"    {f}" for f in faults),
            where="gates.toml",
            do="mend each; docs/how-to/expectations.md explains every key",
        )
    return Gates(Policy(**policy), chosen)


def _faults(path: str, table: Mapping[str, Any], rules: Mapping[str, Rule]) -> list[str]:
    return [
        f"{path}.{key}: unknown (allowed: {', '.join(rules)})"
        if key not in rules
        else f"{path}.{key}: found {value!r} (allowed: {rules[key][1]})"
        for key, value in table.items()
        if key not in rules or not rules[key][0](value)
    ]


def _gate_faults(path: str, gate: Any) -> list[str]:
    if not isinstance(gate, Mapping):
        return [f"{path}: found {gate!r} (allowed: a table)"]
    faults = _faults(path, gate, GATE_KEYS)
    faults += [f"{path}.{key}: missing" for key in REQUIRED if key not in gate]
    margin = gate.get("margin")
    if isinstance(margin, Mapping):
        faults += _faults(f"{path}.margin", margin, {"relative": _SIZE, "absolute": _SIZE})
        relative: Any = margin.get("relative")
        if gate.get("direction") == "higher" and _number(relative) and relative >= 1:
            faults.append(f"{path}.margin.relative: below 1, or any fall would be no worse")
    if sum(key in gate for key in DEMANDS) != 1:
        faults.append(f"{path}: give one of {', '.join(DEMANDS)}")
    if "limit" in gate and (gate.get("type") == "quantile" or gate.get("kind") == "goal"):
        faults.append(
            f"{path}.limit: for a rate or mean that is a guardrail or signal; of a quantile, limit "
            "the rate of what is beyond it (the metric 'slow')"
        )
    faults += _limit_faults(path, gate)
    if (gate.get("type") == "quantile") != ("q" in gate):
        faults.append(f"{path}.q: a quantile gate has it, and no other")
    if "query" in gate and gate.get("type") != "mean":
        faults.append(
            f"{path}.type: found {gate.get('type')!r} (allowed with a query: mean; a rate or "
            "quantile of a window is one number, with low and high as its bounds)"
        )
    low: Any = gate.get("low")
    high: Any = gate.get("high")
    if _number(low) and _number(high) and low >= high:
        faults.append(f"{path}.low: {low!r} is not below high, {high!r}")
    return faults


def _limit_faults(path: str, gate: Mapping[str, Any]) -> list[str]:
    """A limit at the best value there is: no number of units shows a mean to lie within it."""
    low, high = (0.0, 1.0) if gate.get("type") == "rate" else (gate.get("low"), gate.get("high"))
    higher = gate.get("direction") == "higher"
    limit: Any = gate.get("limit")
    best: Any = high if higher else low
    if not (_number(limit) and _number(best)) or (limit < best if higher else limit > best):
        return []
    return [
        f"{path}.limit: {limit!r} can never be shown to be kept, since the best there is is "
        f"{best:g}; allow for a little"
    ]


def _gate(raw: Mapping[str, Any]) -> Gate:
    plain = {k: v for k, v in raw.items() if k != "margin"}
    return Gate(**plain | {"min_units": int(raw.get("min_units", 1))}, **raw.get("margin", {}))
