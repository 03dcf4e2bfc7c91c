"""Input guardrails: what is refused before any arm sees it."""

from __future__ import annotations

import math
from typing import Any

from slipway.expression import Unfit, compile_expression
from slipway.policy import ColumnGuard, Guard, Rate
from slipway.serving.content import BadRequestError
from slipway.serving.shared import Spot, Table


class InputGuard:
    """The checks that a policy declares, compiled.

    Args:
        guard: what is declared.
        buckets: the workers' shared table of what each unit has left of its rate.
    """

    def __init__(self, model: str, guard: Guard, buckets: Table) -> None:
        self._model = model.encode()
        self._columns = tuple(_entry(name, rule) for name, rule in guard.columns.items())
        self._deny = tuple((source, compile_expression(source)) for source in guard.deny)
        self._rate, self._buckets = guard.rate, buckets
        self.looks = bool(self._columns or self._deny)
        self.idle = not self.looks and guard.rate is None

    def bucket(self, unit: bytes) -> Spot | None:
        """Where a unit's rate is kept; None where no rate is declared."""
        return None if self._rate is None else self._buckets.spot(self._model + b" " + unit)

    def check_rate(self, bucket: Spot | None, now: float) -> None:
        """Count a request against the rate of its unit, whose bucket this is.

        Raises:
            BadRequestError: with 429, where the unit has used it up.
        """
        if self._rate is None or bucket is None:
            return
        left = _left(self._rate, self._buckets.read(bucket), now)
        if left < 1.0:
            raise BadRequestError(429, "this unit asks more often than it may")
        self._buckets.write(bucket, left - 1.0, now)

    def check_rows(self, rows: list[Any] | None) -> None:
        """Check every row.

        Raises:
            BadRequestError: with 422; it names the row, the column, what was found and what is
                allowed.
        """
        if rows is None:
            raise BadRequestError(422, "the request has no rows that the guard could check")
        for at, row in enumerate(rows):
            if not isinstance(row, dict):
                raise BadRequestError(422, f"row {at} does not name its columns")
            for name, low, high, column in self._columns:
                value = row.get(name)
                if (type(value) is float or type(value) is int) and low <= value <= high:
                    continue  # the rule, and told without a call
                if allowed := column.fault(value):
                    found = repr(value)[:60]
                    what = f"row {at}, column {name}: found {found}, allowed is {allowed}"
                    raise BadRequestError(422, what)
            for source, denies in self._deny:
                try:
                    denied = denies(row)
                except Unfit as error:  # a rule that cannot tell does not let pass
                    what = f"row {at} does not fit the rule {source!r}: {_told(error)}"
                    raise BadRequestError(422, what) from error
                if denied:
                    raise BadRequestError(422, f"row {at} is denied by the rule {source!r}")


class _Column:
    def __init__(self, rule: ColumnGuard) -> None:
        self._rule = rule
        self.low = -math.inf if rule.min is None else rule.min
        self.high = math.inf if rule.max is None else rule.max
        self._bounded = rule.min is not None or rule.max is not None

    def fault(self, value: Any) -> str:
        """What is allowed where a row's value is not."""
        if value is None:
            return "a value" if self._rule.required else ""
        if self._bounded and not (
            isinstance(value, (int, float)) and self.low <= value <= self.high
        ):
            return f"a number from {self.low:g} to {self.high:g}"
        if self._rule.one_of and value not in self._rule.one_of:
            return f"one of {', '.join(map(str, self._rule.one_of))}"
        return ""


def _entry(name: str, rule: ColumnGuard) -> tuple[str, float, float, _Column]:
    """A column with the bounds between which any number is good; none where values are listed."""
    column = _Column(rule)
    low = math.nan if rule.one_of else column.low
    return name, low, column.high, column


def _told(error: Exception) -> str:
    return f"it has no column {error}" if isinstance(error, KeyError) else str(error)


def _left(rate: Rate, before: tuple[float, float] | None, now: float) -> float:
    """What is left in a unit's bucket: it fills at the rate, up to the burst."""
    if before is None:
        return rate.burst
    left, at = before
    if now > at:
        left += (now - at) * rate.per_second
    return left if left < rate.burst else rate.burst
