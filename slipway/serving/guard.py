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
        self._columns = tuple(_Column(name, rule) for name, rule in guard.columns.items())
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
            for column in self._columns:
                if allowed := column.fault(row):
                    found = repr(row.get(column.name))[:60]
                    what = f"row {at}, column {column.name}: found {found}, allowed is {allowed}"
                    raise BadRequestError(422, what)
            if self._deny:
                self._check_denied(at, row)

    def _check_denied(self, at: int, row: dict[str, Any]) -> None:
        for source, denies in self._deny:
            try:
                denied = denies(row)
            except Unfit as error:  # a rule that cannot tell does not let pass
                what = f"row {at} does not fit the rule {source!r}: {error}"
                raise BadRequestError(422, what) from error
            if denied:
                raise BadRequestError(422, f"row {at} is denied by the rule {source!r}")


class _Column:
    def __init__(self, name: str, rule: ColumnGuard) -> None:
        self.name = name
        self._rule = rule
        self._low = -math.inf if rule.min is None else rule.min
        self._high = math.inf if rule.max is None else rule.max
        self._bounded = rule.min is not None or rule.max is not None

    def fault(self, row: dict[str, Any]) -> str:
        """What is allowed where a row's value is not."""
        value = row.get(self.name)
        if value is None:
            return "a value" if self._rule.required else ""
        if self._bounded and not (
            isinstance(value, (int, float)) and self._low <= value <= self._high
        ):
            return f"a number from {self._low:g} to {self._high:g}"
        if self._rule.one_of and value not in self._rule.one_of:
            return f"one of {', '.join(map(str, self._rule.one_of))}"
        return ""


def _left(rate: Rate, before: tuple[float, float] | None, now: float) -> float:
    """What is left in a unit's bucket: it fills at the rate, up to the burst."""
    if before is None:
        return rate.burst
    left, at = before
    if now > at:
        left += (now - at) * rate.per_second
    return left if left < rate.burst else rate.burst
