"""One press: back to the last good release."""

from __future__ import annotations

import time

from prefect import flow

from slipway.errors import LedgerConflict
from slipway.home import Home
from slipway.release import short
from slipway.rollout import ModelState, ended
from tasks.open import who
from tasks.record import ledger, record, state_of
from tasks.register import crown
from tasks.serve import await_route, serve_again, settle, way_back


@flow(name="rollback", flow_run_name="rollback {model}")
def rollback(model: str, reason: str, to: str = "", actor: str = "") -> str:
    """Give every user of a model a good earlier release again.

    An open rollout is rolled back to stable; otherwise traffic returns to an earlier release. Where
    the last change was such a return already, the release to go further back to must be named.

    Args:
        model: The model's name, as in its slipway.yaml.
        reason: Why, in one sentence, for the ledger.
        to: The release to return to, by id or its beginning; empty for the last good one. An open
            rollout is ended first.
        actor: Who asked for it, for the ledger; empty for the user who runs it.
    """
    home = Home.of()
    state = _returned(home, model, to, who(actor), reason)
    await_route(home, state)
    settle(home, state)
    crown(home, state)
    return f"{model}: everyone gets {short(state.stable)} again"


def _returned(home: Home, model: str, to: str, actor: str, reason: str) -> ModelState:
    """The state after the return is on record; a tick that came in between is no reason to fail.

    Nor to go further back than was meant: what was open when it was pressed may have ended, and
    everyone may have the release that was named.
    """
    pressed, named = state_of(home, model), ledger(home).manifest(to).id if to else ""
    while True:
        state = state_of(home, model)
        have_it = state.rollout is None and state.stable == named
        if have_it if named else ended(pressed, state):
            return state
        target, draft = way_back(home, state, to, now=time.time(), actor=actor, reason=reason)
        if target:
            serve_again(home, state, target)
        try:
            record(home, state, draft)
        except LedgerConflict:
            continue
        if not named:
            return state_of(home, model)
