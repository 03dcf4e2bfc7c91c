"""Everything that can go wrong, as one tree.

    SlipwayError                 what failed, where, what to do
    ├── UsageError               the call itself is wrong                      exit 2
    └── Refused                  the world or the input does not allow it      exit 1
        ├── SpecError            slipway.yaml does not hold together
        ├── DataError            the data cannot be trained on or checked
        ├── ExpectationError     an expectation pack is missing, empty, changed
        ├── TrainerError         the user's trainer raised, hung, or gave no model
        ├── NotBlessed           the report refuses the candidate
        ├── LedgerError          the ledger is broken, or another writer was first
        │   └── LedgerConflict   the head moved between reading and writing
        ├── RolloutError         the event is not allowed in the rollout's state
        ├── Busy                 another release of the same model is under way
        └── RuntimeFailure       a replica, image or gateway did not start or answer

An error is for a person: ``what`` failed, ``where`` it was seen, and what to ``do`` now.
"""

from __future__ import annotations


class SlipwayError(Exception):
    """The root of the tree.

    Args:
        what: what failed, in one sentence without a full stop.
        where: the file, path in a file, model or address it was seen at.
        do: what the reader can do about it.
    """

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", do: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.do = do

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.do:
            lines.append(f"  do:    {self.do}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with keyword arguments do not survive pickling by default, and Prefect
        # stores a failed task's exception by pickling it.
        return (_rebuild, (type(self), self.what, self.where, self.do))


def _rebuild(kind: type[SlipwayError], what: str, where: str, do: str) -> SlipwayError:
    return kind(what, where=where, do=do)


class UsageError(SlipwayError):
    """The command or call is wrong: nothing was tried."""

    exit_code = 2


class Refused(SlipwayError):
    """The input or the state of the world does not allow what was asked."""


class SpecError(Refused):
    """``slipway.yaml`` does not hold together; every fault is named in ``what``."""


class DataError(Refused):
    """The data cannot be trained on or checked."""


class ExpectationError(Refused):
    """An expectation pack is missing, empty, or no longer what its digest says."""


class TrainerError(Refused):
    """The user's trainer raised, ran past its limit, or returned something that is no model."""


class NotBlessed(Refused):
    """A candidate's report refuses it."""


class LedgerError(Refused):
    """The ledger is broken or cannot be reached."""


class LedgerConflict(LedgerError):
    """Another writer appended between reading and writing: read again and decide again."""


class RolloutError(Refused):
    """An event is not allowed in the state the rollout is in."""


class Busy(Refused):
    """Another release of the same model is under way."""


class RuntimeFailure(Refused):
    """A replica, image or gateway did not start, load or answer."""
