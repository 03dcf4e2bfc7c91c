"""The life of a rollout as one table. The diagram in the docs is drawn from it.

Every model is in exactly one state. An event is a ledger entry's kind; what is not in the table
cannot happen, and says so.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from slipway.errors import RolloutError


class State(StrEnum):
    """Where a model's traffic stands."""

    IDLE = "idle"  # no rollout is open; stable (if there is one) has all users
    OPENED = "opened"  # a rollout is recorded; its release has no users yet
    LIVE = "live"  # the candidate has a leased share of users
    HELD = "held"  # the share stays where it is until a person decides
    LAPSED = "lapsed"  # the lease ran out: the gateways returned everyone to stable


class Event(StrEnum):
    """What can be recorded of a rollout."""

    OPENED = "opened"
    STARTED = "started"
    JOINED = "joined"
    ELIMINATED = "eliminated"
    ADVANCED = "advanced"
    SHIFTED = "shifted"
    HELD = "held"
    RESUMED = "resumed"
    EXPIRED = "expired"
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"
    RETURNED = "returned"
    REVIEWED = "reviewed"


_CLOSING: Final = {
    Event.ROLLED_BACK: State.IDLE,
    Event.SUPERSEDED: State.IDLE,
}

TABLE: Final[dict[State, dict[Event, State]]] = {
    State.IDLE: {
        Event.OPENED: State.OPENED,
        Event.RETURNED: State.IDLE,
        Event.REVIEWED: State.IDLE,
    },
    State.OPENED: {
        Event.STARTED: State.LIVE,
        Event.JOINED: State.OPENED,
        Event.ELIMINATED: State.OPENED,
        Event.PROMOTED: State.IDLE,
        **_CLOSING,
    },
    State.LIVE: {
        Event.ADVANCED: State.LIVE,
        Event.SHIFTED: State.LIVE,
        Event.JOINED: State.LIVE,
        Event.ELIMINATED: State.LIVE,
        Event.HELD: State.HELD,
        Event.EXPIRED: State.LAPSED,
        Event.PROMOTED: State.IDLE,
        **_CLOSING,
    },
    State.HELD: {
        Event.RESUMED: State.LIVE,
        Event.ADVANCED: State.LIVE,  # by a person: what answered copies gets its first users
        Event.ELIMINATED: State.LIVE,  # if it was held; else the other one still waits (see fold)
        Event.EXPIRED: State.LAPSED,
        Event.PROMOTED: State.IDLE,
        **_CLOSING,
    },
    State.LAPSED: {
        Event.RESUMED: State.LIVE,
        Event.JOINED: State.LAPSED,
        Event.ELIMINATED: State.LAPSED,
        **_CLOSING,
    },
}


def step(state: State, event: Event) -> State:
    """The state after an event.

    Raises:
        RolloutError: the event cannot happen in that state; it names those that can.

    >>> step(State.LIVE, Event.PROMOTED)
    <State.IDLE: 'idle'>
    """
    allowed = TABLE[state]
    if event not in allowed:
        raise RolloutError(
            f"'{event}' cannot happen while the model is {state}",
            do=f"from {state} only these can: {', '.join(sorted(allowed))}",
        )
    return allowed[event]


def diagram() -> str:
    """The table as a Mermaid state diagram, in a fixed order."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.IDLE}"]
    for state, row in TABLE.items():
        arrows: dict[State, list[str]] = {}
        for event, target in row.items():
            arrows.setdefault(target, []).append(event)
        lines += [f"    {state} --> {to}: {', '.join(events)}" for to, events in arrows.items()]
    return "\n".join(lines) + "\n"
