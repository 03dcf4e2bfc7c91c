"""One tick of an open rollout: observe, judge, step, shift, record. Safe to repeat."""

from __future__ import annotations

import time

from prefect import flow

from slipway.controller import decide
from slipway.home import Home
from slipway.release import short
from slipway.rollout import ModelState, take
from tasks.observe import lease_of, observe, renew
from tasks.record import ledger, record, state_of
from tasks.register import crown
from tasks.serve import settle

RULE = "judge"


@flow(name="advance", flow_run_name="advance {model}")
def advance(model: str = "") -> str:
    """Take open rollouts one step further, where their evidence allows it.

    Args:
        model: The model's name, as in its slipway.yaml; empty for every model.
    """
    home = Home.of()
    states = [tick(home, name) for name in ([model] if model else ledger(home).models())]
    told = [f"{s.model} is {s.state}, stable is {short(s.stable) or 'nothing yet'}" for s in states]
    return "; ".join(told) or "nothing has been released from here yet"


def tick(home: Home, model: str) -> ModelState:
    """Read the world, decide, write the world. Killed anywhere, the next one goes on."""
    state = state_of(home, model)
    if state.rollout is None:
        crown(home, state)
        return state
    settle(home, state)
    now = time.time()
    step, verdict = decide(state, lease_of(home, model), lambda: observe(home, state, now), now)
    if step.event is not None:
        draft = take(state, step, now=now, actor=RULE, verdict=verdict)
        record(home, state, draft)
        state = state_of(home, model)
    renew(home, state)
    settle(home, state)
    return state


def see_through(home: Home, model: str, release_id: str, tick_seconds: float) -> str:
    """Tick until the rollout of a release is closed. Returns how it ended, in a sentence."""
    while True:
        state = tick(home, model)
        if state.rollout is None or state.rollout.release != release_id:
            break
        time.sleep(tick_seconds)
    crown(home, state)
    last = next(e for e in reversed(ledger(home).entries(model)) if e.body["release"] == release_id)
    return f"{model} {short(release_id)}: {last.event}: {last.reason}"
