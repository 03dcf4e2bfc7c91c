"""The lifecycle: one table, and nothing beside it."""

from itertools import product

import pytest

from slipway.errors import RolloutError
from slipway.lifecycle import TABLE, Event, State, diagram, step


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_every_pair_is_in_the_table_or_refused(state: State, event: Event) -> None:
    """An event that a state does not allow raises, and names the events that it does."""
    if event in TABLE[state]:
        assert step(state, event) is TABLE[state][event]
        return
    with pytest.raises(RolloutError) as caught:
        step(state, event)
    assert str(state) in caught.value.what
    assert str(event) in caught.value.what
    assert all(str(allowed) in caught.value.do for allowed in TABLE[state])


def test_every_state_has_a_row_and_can_be_reached() -> None:
    """No state hangs in the air: each is in the table, and some path leads there from idle."""
    reached = {State.IDLE}
    while True:
        further = {to for state in reached for to in TABLE[state].values()}
        if further <= reached:
            break
        reached |= further
    assert reached == set(State) == set(TABLE)


def test_every_event_is_used() -> None:
    """An event that no state allows could never be recorded."""
    assert {event for row in TABLE.values() for event in row} == set(Event)


@pytest.mark.parametrize("state", [s for s in State if s is not State.IDLE])
def test_every_open_rollout_can_be_rolled_back_in_one_step(state: State) -> None:
    """Whatever state a launch is in, one press returns to stable."""
    assert step(state, Event.ROLLED_BACK) is State.IDLE
    assert step(state, Event.SUPERSEDED) is State.IDLE


@pytest.mark.parametrize("state", [s for s in State if s is not State.IDLE])
def test_a_second_rollout_cannot_be_opened_over_an_open_one(state: State) -> None:
    """One launch at a time per model."""
    with pytest.raises(RolloutError, match="'opened' cannot happen"):
        step(state, Event.OPENED)


def test_a_lapsed_rollout_cannot_be_promoted_or_advanced() -> None:
    """After a lease ran out the step starts afresh: nothing moves forward from there."""
    assert not {Event.PROMOTED, Event.ADVANCED, Event.STARTED} & set(TABLE[State.LAPSED])


def test_the_diagram_draws_exactly_the_table() -> None:
    """Read back from its Mermaid text, the diagram is the table: it cannot go stale."""
    first, start, *arrows = diagram().splitlines()
    assert (first, start) == ("stateDiagram-v2", f"    [*] --> {State.IDLE}")
    drawn: dict[str, dict[str, str]] = {}
    for arrow in arrows:
        path, events = arrow.strip().split(": ")
        source, target = path.split(" --> ")
        drawn.setdefault(source, {}).update(dict.fromkeys(events.split(", "), target))
    assert drawn == {s: {str(e): str(t) for e, t in row.items()} for s, row in TABLE.items()}
