"""Every story in ``stories/`` comes out as it is told."""

from pathlib import Path

import pytest
from script import Line, Scenario, play, read

from slipway.lifecycle import TABLE, Event, State
from slipway.rehearsal import MODEL
from slipway.rollout import fold
from slipway.testing import plan

STORIES = sorted((Path(__file__).parent / "stories").glob("*.txt"))


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_the_story_comes_out_as_it_is_told(path: Path) -> None:
    """Each act writes the entries told, and users get what is told."""
    play(read(path))


def test_the_stories_walk_every_arrow_of_the_lifecycle() -> None:
    """Together they use every transition that the table allows."""
    walked: set[tuple[State, Event]] = set()
    for path in STORIES:
        state = State.IDLE
        entries = play(read(path)).ledger.entries(MODEL)
        for number, entry in enumerate(entries, start=1):
            walked.add((state, entry.event))
            state = fold(MODEL, entries[:number]).state
    every = {(state, event) for state, row in TABLE.items() for event in row}
    assert every - walked == set()


def test_a_story_that_is_told_wrongly_fails_at_its_line() -> None:
    """The runner itself can tell: wrong entries, wrong users, an act that nobody knows."""
    for act, entries, served, says in (
        ("A is released", "promoted", "", "told 'promoted', was 'opened'"),
        ("A is released", "opened", "A 100 %", "users get 'nobody is served'"),
        ("A is lunched", "opened", "", "no act is called 'A is lunched'"),
    ):
        scenario = Scenario("wrong", plan(), (Line(7, act, entries, served),))
        with pytest.raises(AssertionError, match="line 7.*" + says):
            play(scenario)
