"""A person's word is about what that person saw; and a tick that is too slow renews nothing."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import advance, ask, rollback
from slipway.ending import ENDING
from slipway.errors import RolloutError
from slipway.home import Home
from slipway.lifecycle import Event
from slipway.rehearsal import MODEL, Rehearsal
from slipway.rollout import ModelState, Step
from slipway.testing import plan
from tasks import observe, serve


def held(name: str = "B") -> Rehearsal:
    """A model whose candidate waits for a person."""
    played = Rehearsal(plan([0.5], approval=True))
    for release in ("A", name):
        played.release(release)
        played.tick()
    played.tick("pass")
    return played


def test_an_answer_is_for_the_release_that_was_asked_about() -> None:
    """Ended, gone on, or another one is held by now: nothing is done, and it is told."""
    played = held()
    asked = played.state
    ask._require_same(asked, played.state)
    played.resume()
    with pytest.raises(RolloutError, match="is over"):
        ask._require_same(asked, played.state)
    played.take(Step(Event.HELD, "again"))
    ask._require_same(asked, played.state)
    played.release("C")
    for _ in range(2):
        played.tick("pass")
    assert played.state.rollout is not None
    assert played.state.rollout.held
    with pytest.raises(RolloutError, match="no longer held"):
        ask._require_same(asked, played.state)


def test_ctrl_c_ends_a_wait_though_a_library_lost_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised where nobody hears it, it is noted: the next tick does not come."""
    played, ticks = held(), []

    def lost(*_: object) -> ModelState:
        ticks.append(1)
        ENDING.sent = signal.SIGINT
        return played.state

    monkeypatch.setattr(advance, "tick", lost)
    monkeypatch.setattr(ENDING, "sent", 0)
    with pytest.raises(KeyboardInterrupt):
        advance.see_through(Home(tmp_path, ""), "flights", "B", 0.0)
    assert ticks == [1]


@pytest.mark.parametrize(("named", "events"), [("Z", ["rolled_back", "returned"]),
                                                ("A", ["rolled_back"])])  # fmt: skip
def test_a_press_for_a_release_ends_what_is_open_and_is_good_twice(
    named: str, events: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First the rollout, then the way back; pressed again, everyone has it: nothing is written."""
    played = Rehearsal(plan([0.5]))
    for release in ("Z", "A"):
        played.release(release)
        for _ in range(2):
            played.tick("pass")
    played.release("B")
    played.tick()
    before = len(played.ledger.entries(MODEL))
    known = SimpleNamespace(manifest=lambda to: SimpleNamespace(id=to))
    for module in (rollback, serve):
        monkeypatch.setattr(module, "ledger", lambda _: known)
    monkeypatch.setattr(rollback, "state_of", lambda *_: played.state)
    monkeypatch.setattr(rollback, "serve_again", lambda *_: None)
    monkeypatch.setattr(rollback, "record", lambda *told: played._append(told[2]))
    for _ in range(2):
        state = rollback._returned(Home(tmp_path, ""), MODEL, named, "anna", "wrong answers")
        assert (state.stable, state.rollout) == (named, None)
        assert [e.event for e in played.ledger.entries(MODEL)[before:]] == events


def test_a_lease_that_ran_out_in_a_slow_tick_is_not_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Users are with stable by then: the next tick records that, and the step begins anew."""
    played = Rehearsal(plan([0.5], lease_seconds=60.0))
    for release in ("A", "B"):
        played.release(release)
        played.tick()
    monkeypatch.setattr(observe, "ledger", lambda _: played.ledger)
    monkeypatch.setattr(observe, "get_run_logger", lambda: logging.getLogger("tick"))
    monkeypatch.setattr(observe.time, "time", lambda: played.clock() + 59.0)
    observe.renew(Home(tmp_path, ""), played.state)
    played.clock.advance(110.0)
    assert played.served() == {"A": 0.5, "B": 0.5}
    monkeypatch.setattr(observe.time, "time", lambda: played.clock() + 61.0)
    observe.renew(Home(tmp_path, ""), played.state)
    played.clock.advance(61.0)
    assert played.served() == {"A": 1.0}
    assert "took longer than the lease lasts" in caplog.text
    assert [e.event for e in (played.tick(), played.tick()) if e] == ["expired", "resumed"]
