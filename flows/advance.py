"""One tick of an open rollout: observe, judge, step, shift, record. Safe to repeat."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from prefect import flow, get_run_logger

from slipway.controller import decide, how_it_ended, review_due, to_return
from slipway.drafts import return_to, reviewed, take
from slipway.ending import ENDING
from slipway.errors import LedgerConflict, Refused
from slipway.home import Home
from slipway.release import short
from slipway.rollout import ModelState
from tasks.observe import lease_of, look_again, observe, renew
from tasks.record import ledger, record, state_of
from tasks.register import crown
from tasks.serve import keep_gateway, keep_up, serve_again, settle

RULE = "judge"
TELL_SECONDS = 30.0


@flow(name="advance", flow_run_name="advance {model}")
def advance(model: str = "") -> str:
    """Take open rollouts one step further, where their evidence allows it.

    Args:
        model: The model's name, as in its slipway.yaml; empty for every model.
    """
    home = Home.of()
    states = _tick_each(home, (model,) if model else ledger(home).models())
    told = [f"{s.model} is {s.state}, stable is {short(s.stable) or 'nothing yet'}" for s in states]
    return "; ".join(told) or "nothing has been released from here yet"


def _tick_each(home: Home, models: Sequence[str]) -> list[ModelState]:
    """Tick every model: what fails for one must not cost another's candidate its lease.

    Raises:
        Refused: at the end, with what failed for which model; a single failure as it is.
    """
    states, failed = [], {}
    for model in models:
        try:
            states.append(tick(home, model))
        except Exception as error:  # told below, whatever it is
            failed[model] = error
    if len(failed) == 1:
        raise next(iter(failed.values()))
    if failed:
        told = "; ".join(f"{model}: {error}" for model, error in failed.items())
        raise Refused(told, do="mend it; the next tick goes on") from next(iter(failed.values()))
    return states


def tick(home: Home, model: str, wait: Callable[[str], None] = lambda _: None) -> ModelState:
    """Read the world, decide, write the world. Killed anywhere, the next one goes on.

    Args:
        wait: is told why nothing was decided, where that is so.
    """
    keep_gateway(home)
    try:
        return _tick(home, state_of(home, model), wait)
    except LedgerConflict:  # another controller, or a person, was first: the next tick goes on
        return state_of(home, model)


def _tick(home: Home, state: ModelState, wait: Callable[[str], None]) -> ModelState:
    if state.rollout is None:
        keep_up(home, state)
        state = _look_back(home, state, time.time())
        crown(home, state)
        return state
    broken, now = settle(home, state), time.time()
    judge = partial(observe, home, state, now)
    step, verdict = decide(
        state, lease_of(home, state.model), judge, now, broken.why, broken.release
    )
    if step.event is not None:
        record(home, state, take(state, step, now=now, actor=RULE, verdict=verdict))
        state = state_of(home, state.model)
    else:
        wait(step.reason)
    renew(home, state)
    settle(home, state)
    return state


def _look_back(home: Home, state: ModelState, now: float) -> ModelState:
    """Hold a closed decision against labels that came late; give back what they contradict."""
    closed = review_due(state, now)
    if closed is not None:
        found = look_again(home, state, closed, now)
        record(home, state, reviewed(state, found, now=now, actor=RULE))
        state = state_of(home, state.model)
    back = to_return(state)
    if back:
        serve_again(home, state, back)
        reason = f"later labels contradict the promotion of {short(state.stable)}"
        record(home, state, return_to(state, back, now=now, actor=RULE, reason=reason))
        state = state_of(home, state.model)
        settle(home, state)
    return state


class Waiting:
    """Tells a person, every half a minute, what a rollout waits for."""

    def __init__(self, model: str) -> None:
        self.model, self.told = model, time.monotonic()

    def __call__(self, reason: str) -> None:
        """Nothing was decided, for this reason."""
        if time.monotonic() - self.told >= TELL_SECONDS:
            self.told = time.monotonic()
            get_run_logger().info(
                "waiting: %s (Ctrl-C leaves the rollout open, and its users go back to stable when "
                "the lease ends; 'slipway advance %s' goes on)",
                reason,
                self.model,
            )


def see_through(home: Home, model: str, release_id: str, tick_seconds: float) -> str:
    """Tick until the rollout of a release is closed. Returns how it ended, in a sentence."""
    waiting = Waiting(model)
    while True:
        ENDING.check()
        state = tick(home, model, waiting)
        if state.rollout is None or release_id not in state.rollout.releases:
            break
        time.sleep(tick_seconds)
    crown(home, state)
    last = how_it_ended(ledger(home).entries(model), release_id)
    return f"{model} {short(release_id)}: {last.event}: {last.reason}"
