"""What a league's members have of the users, alike or where shares follow what was seen."""

from __future__ import annotations

from collections.abc import Mapping

from slipway.errors import UsageError


def slice_of(portion: float, inside: int) -> float:
    """The share of each of several members that are alike: stable has as many times its users.

    Args:
        portion: the share that a single member has.
        inside: how many there are.
    """
    weight = portion / (1.0 - portion)
    return weight / (1.0 + inside * weight)


def spread(parts: Mapping[str, float], total: float, floor: float) -> dict[str, float]:
    """What each gets of a total: the floor, and of the rest as large a part as its own is of all.

    Args:
        parts: by name, none below 0; all are alike where nobody has any.
        floor: what each gets at least.

    Raises:
        UsageError: the floors add up to more than the total.

    >>> spread({"a": 3.0, "b": 1.0}, 0.5, 0.05)
    {'a': 0.35, 'b': 0.15}
    """
    if floor * len(parts) > total + 1e-9:
        raise UsageError(
            f"{len(parts)} members at a floor of {floor:g} need more than the {total:g} they share"
        )
    told = parts if any(parts.values()) else dict.fromkeys(parts, 1.0)
    rest, whole = total - floor * len(parts), sum(told.values())
    return {name: floor + rest * part / whole for name, part in told.items()}
