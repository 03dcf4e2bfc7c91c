"""A person's word on a rollout that is held: approve it, or let it go on."""

from __future__ import annotations

import time

from prefect import flow

from slipway.drafts import take
from slipway.home import Home
from slipway.lifecycle import Event
from slipway.release import short
from slipway.rollout import Step
from tasks.open import require_held, who
from tasks.record import record, state_of
from tasks.register import crown
from tasks.serve import settle


@flow(name="approve", flow_run_name="approve {model}")
def approve(model: str, reason: str, go_on: bool = False, actor: str = "") -> str:
    """Promote the release that is held, or let its rollout go on under the judge.

    One that is held while it answers copies of requests, before any user has had an answer of it,
    is not promoted but gets its first users.

    Args:
        model: The model's name, as in its slipway.yaml.
        reason: Why, in one sentence, for the ledger.
        go_on: Whether the rollout only goes on, at the share that it has, instead of being
            promoted.
        actor: Who decided it, for the ledger; empty for the user who runs it.
    """
    home = Home.of()
    state = require_held(home, state_of(home, model), go_on)
    assert state.rollout is not None
    on = Step(Event.RESUMED, reason, state.rollout.share)
    step = on if go_on else state.rollout.approved(reason)
    record(home, state, take(state, step, now=time.time(), actor=who(actor)))
    state = state_of(home, model)
    settle(home, state)
    crown(home, state)
    return f"{model} is {state.state}, stable is {short(state.stable)}"
