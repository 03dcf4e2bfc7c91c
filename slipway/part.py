"""What the sections of ``slipway.yaml`` have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

REFERENCE = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
Seconds = Annotated[float, Field(gt=0)]


class Part(BaseModel):
    """A section: frozen, and an unknown key is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def refuse(faults: Iterable[str]) -> None:
    """Tell all the faults that only show between a section's keys as one."""
    told = "; ".join(faults)
    if told:
        raise ValueError(told)


def known_or_reference(value: str, known: Iterable[str]) -> str:
    """A name that is known, or a reference to a team's own, as it is.

    Raises:
        ValueError: it is neither.
    """
    names = sorted(known)
    if value in names or re.match(REFERENCE, value):
        return value
    raise ValueError(f"allowed: {', '.join(names)}, or your own as 'module:name'")
