"""How the gateway serves one model: the ``serving`` section of the spec, frozen.

The section travels inside the route table, so that a change of policy is a numbered, recorded
change of route like any other. Reading it reports every fault at once, by path.
"""
# ruff: noqa: RUF009  `item` is dataclasses.field with a check: it makes no value that is shared

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slipway.errors import SpecError
from slipway.expression import check as expression
from slipway.schema import (
    MapOf,
    Maybe,
    flag,
    item,
    list_of,
    matching,
    number,
    one_of,
    optional,
    read,
    scalar,
    text,
    whole,
)

RULE, CACHE = "rule", "cache"


@dataclass(frozen=True, slots=True)
class Unit:
    """Where a request says who it is for.

    Args:
        source (``from``): ``header``, ``cookie``, ``query`` or ``json`` (a column of the first
            row, or a field of the body where there are no rows).
        name: the header's, cookie's, parameter's or column's name.
    """

    source: str = item(one_of("header", "cookie", "query", "json"), "header", key="from")
    name: str = item(text, "x-slipway-unit")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a good answer is; anything else counts as the arm's failure.

    Args:
        min, max: bounds of every prediction that is a number, or None.
        finite: whether NaN, the infinities and null are refused.
        type: ``number``, ``text``, or ``any``.
        classes: the only predictions allowed, or none for any.
    """

    min: float | None = item(optional(number()))
    max: float | None = item(optional(number()))
    finite: bool = item(flag, True)
    type: str = item(one_of("any", "number", "text"), "any")
    classes: tuple[Any, ...] = item(list_of(scalar), ())


@dataclass(frozen=True, slots=True)
class ColumnGuard:
    """What a column of a request's rows may hold.

    Args:
        required: whether it must be there and not null.
        min, max: bounds of a number.
        one_of: the only values allowed, or none for any.
    """

    required: bool = item(flag, False)
    min: float | None = item(optional(number()))
    max: float | None = item(optional(number()))
    one_of: tuple[Any, ...] = item(list_of(scalar), ())


@dataclass(frozen=True, slots=True)
class Rate:
    """How often one unit may ask.

    Args:
        per_second: on average.
        burst: at once, after a pause.
    """

    per_second: float = item(number(0.001), 100.0)
    burst: float = item(number(1), 100.0)


@dataclass(frozen=True, slots=True)
class Guard:
    """What is refused before any arm sees it.

    Args:
        columns: per column.
        deny: expressions over a row; one that is true, or that does not fit the row, refuses it.
        rate: per unit (429 beyond), or None.
    """

    columns: Mapping[str, ColumnGuard] = item(MapOf(ColumnGuard))
    deny: tuple[str, ...] = item(list_of(expression), ())
    rate: Rate | None = item(Maybe(Rate))


@dataclass(frozen=True, slots=True)
class Rule:
    """What answers when no arm can: a value, a table over one column, or an expression.

    Args:
        value: the prediction for every row.
        column, table, default: the prediction by a column's value, and for any other value.
        expression: over a row.
    """

    value: Any = item(optional(scalar))
    column: str = item(text, "")
    table: Mapping[str, Any] = item(MapOf(scalar))
    default: Any = item(optional(scalar))
    expression: str = item(expression, "")

    def fault(self) -> str:
        """A rule is of one kind."""
        kinds = (self.value is not None, bool(self.column and self.table), bool(self.expression))
        return "" if sum(kinds) == 1 else "give one of value, column with table, or expression"


@dataclass(frozen=True, slots=True)
class Cache:
    """The last good answers, for when nothing else can answer.

    Args:
        by: ``unit`` or ``input``: whose last answer, or the answer to the same body.
        seconds: how old an answer may be.
        entries: how many are kept, in each gateway process.
    """

    by: str = item(one_of("unit", "input"), "input")
    seconds: float = item(number(1), 600.0)
    entries: int = item(whole(1), 10_000)


@dataclass(frozen=True, slots=True)
class Breaker:
    """When an arm is left alone for a while.

    Args:
        failures: consecutive failures that open it.
        error_share, window_seconds, min_requests: the share of failures in a window that opens
            it, once the window has seen enough requests.
        open_seconds: how long it is then left alone; after that one request at a time probes it.
        probes: good probes in a row that close it.
    """

    failures: int = item(whole(1), 5)
    error_share: float = item(number(0.01, 1.0), 0.5)
    window_seconds: float = item(number(0.1), 10.0)
    min_requests: int = item(whole(1), 20)
    open_seconds: float = item(number(0.05), 2.0)
    probes: int = item(whole(1), 3)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The price of what an answer says it used.

    Args:
        per_1k: for a thousand.
        field: where the count stands in the answer: ``usage.prompt_tokens``.
    """

    per_1k: float = item(number(0), 0.0)
    field: str = item(text, "")

    def fault(self) -> str:
        """Tokens that nobody counts cannot be priced."""
        return "" if self.field else "field is missing: where the answer says how many"


@dataclass(frozen=True, slots=True)
class Prices:
    """What a request costs, in any one currency. What is not known is unknown, never zero.

    Args:
        per_call: for every answer of an arm.
        per_second: per second of the arm's time (of its CPU or GPU).
        seconds_field: where the answer tells those seconds; else the time it took is taken.
        tokens_in, tokens_out: by tokens.
    """

    per_call: float | None = item(optional(number(0)))
    per_second: float | None = item(optional(number(0)))
    seconds_field: str = item(text, "")
    tokens_in: Tokens | None = item(Maybe(Tokens))
    tokens_out: Tokens | None = item(Maybe(Tokens))


@dataclass(frozen=True, slots=True)
class Log:
    """What is remembered of requests.

    Args:
        sample: the share of units whose requests are logged; all of a unit's or none.
        features: whether rows and predictions are logged with them.
        keep_days: how long, or None for ever.
    """

    sample: float = item(number(0.0, 1.0), 1.0)
    features: bool = item(flag, True)
    keep_days: float | None = item(optional(number(0.001)))


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask, and who is given which arm whatever the route says.

    Args:
        keys: SHA-256, in hex, of the API keys that may ask; none for everybody.
        beta: user to scrypt hash of a password (``python -m slipway.serving.access hash``): only
            they may ask, by HTTP Basic.
        allow: unit to the arm it is given (testers). Such requests are no evidence.
        signed: whether a signed ``x-slipway-override`` header may choose the arm.
    """

    keys: tuple[str, ...] = item(list_of(matching(r"[0-9a-f]{64}", "a SHA-256 in hex")), ())
    beta: Mapping[str, str] = item(
        MapOf(matching(r"scrypt\$[0-9a-f]+\$[0-9a-f]+", "a scrypt hash"))
    )
    allow: Mapping[str, str] = item(MapOf(text))
    signed: bool = item(flag, True)


@dataclass(frozen=True, slots=True)
class Policy:
    """How one model is served.

    Args:
        protocol: ``scoring`` (MLflow's and Open Inference V2), or ``http``: any other service,
            relayed as it is.
        unit: where a request says who it is for.
        budget_ms: how long an arm may take before the next in the chain is asked.
        budgets_ms: the same by arm, where one differs.
        hedge_ms: after how long the same arm is asked a second time, on another replica where it
            has one; None for never.
        answer, guard: what a good answer and an acceptable request are.
        fallbacks: who is asked, in order, when the assigned arm fails. Stable is always first.
        rule, cache: the last resorts of the chain, where declared.
        breaker: when an arm is left alone.
        prices: by arm; ``"*"`` is every other arm.
        log: what is remembered.
        access: who may ask.
        shadow_in_flight: requests mirrored at once; more are not mirrored.
        pass_headers: headers of the caller that arms are given besides content type and trace.
        max_body_bytes, max_rows: larger requests are refused with 413.
        max_answer_bytes: larger answers count as a failure.
    """

    protocol: str = item(one_of("scoring", "http"), "scoring")
    unit: Unit = item(Unit)
    budget_ms: float = item(number(1), 2000.0)
    budgets_ms: Mapping[str, float] = item(MapOf(number(1)))
    hedge_ms: float | None = item(optional(number(1)))
    answer: Answer = item(Answer)
    guard: Guard = item(Guard)
    fallbacks: tuple[str, ...] = item(
        list_of(one_of("stable", "fallback", RULE, CACHE)), ("stable", "fallback", RULE, CACHE)
    )
    rule: Rule | None = item(Maybe(Rule))
    cache: Cache | None = item(Maybe(Cache))
    breaker: Breaker = item(Breaker)
    prices: Mapping[str, Prices] = item(MapOf(Prices))
    log: Log = item(Log)
    access: Access = item(Access)
    shadow_in_flight: int = item(whole(1), 32)
    pass_headers: tuple[str, ...] = item(list_of(text), ())
    max_body_bytes: int = item(whole(1), 8 * 1024 * 1024)
    max_rows: int | None = item(optional(whole(1)))
    max_answer_bytes: int = item(whole(1), 64 * 1024 * 1024)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Policy:
        """Read a policy.

        Raises:
            SpecError: it has faults; all of them are named.
        """
        policy, found = read(cls, record)
        if found:
            lines = "\n".join(f"    serving.{fault}" for fault in found)
            raise SpecError(f"the serving policy has faults:\n{lines}", do="mend each path named")
        return policy

    def prices_of(self, arm: str) -> Prices | None:
        """The prices of an arm, or None where nothing is declared for it."""
        return self.prices.get(arm) or self.prices.get("*")

    def budget_seconds(self, arm: str) -> float:
        """How long an arm may take."""
        return self.budgets_ms.get(arm, self.budget_ms) / 1000.0


def faults(record: Mapping[str, Any]) -> list[str]:
    """Every fault of a serving section: its path, what was found, what is allowed."""
    return read(Policy, record)[1]
