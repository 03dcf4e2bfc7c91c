"""A person's word in the Prefect UI: a run that waits there until somebody decides."""

from __future__ import annotations

from typing import Literal

from prefect import flow, pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from flows.approve import approve
from flows.rollback import rollback
from slipway.errors import RolloutError
from slipway.home import Home
from slipway.release import short
from slipway.rollout import ModelState
from tasks.record import state_of


class Decision(RunInput):
    """What the person is asked."""

    decision: Literal["promote", "go on", "roll back"] = Field(
        description="Give everyone the release (its first users, if it answers copies so far), "
        "let its rollout go on under the judge, or end it."
    )
    reason: str = Field(min_length=3, description="Why, in one sentence, for the ledger.")
    who: str = Field(min_length=1, description="Who decides it, for the ledger.")


def _require_same(asked: ModelState, now: ModelState) -> None:
    """Refuse an answer to a question that is over.

    Raises:
        RolloutError: another release is held by now, or none.
    """
    told = [(s.rollout.id, s.rollout.release) if s.rollout else None for s in (asked, now)]
    if told[0] != told[1] or now.rollout is None or not now.rollout.held:
        raise RolloutError(
            f"what was asked about {asked.model} is over: the release is no longer held",
            do=f"nothing was done; see 'slipway status' and 'slipway why {asked.model}'",
        )


@flow(name="ask", flow_run_name="ask {model}")
def ask(model: str, wait_seconds: int = 86_400) -> str:
    """Ask a person what shall become of the release that is held, and do it.

    The run pauses in the Prefect UI; its Resume button shows the question. Meanwhile the scheduled
    'advance' renews the lease; if nobody answers, the rollout stays held.

    Args:
        model: The model's name, as in its slipway.yaml.
        wait_seconds: How long the question stays open.
    """
    state = state_of(Home.of(), model)
    if state.rollout is None or not state.rollout.held or state.last is None:
        return f"{model} is {state.state}: nothing is held for a decision"
    arms = state.route.arms if state.route else ()
    share = sum(arm.share for arm in arms if arm.release == state.rollout.release)
    question = (
        f"**{model}**: release `{short(state.rollout.release)}` is held at "
        f"{100 * share:.4g} % of {'requests, copied' if state.rollout.mirrors else 'users'}.\n\n"
        f"{state.last.reason}\n\n"
        f"`slipway why {model}` tells the evidence."
    )
    said = pause_flow_run(
        wait_for_input=Decision.with_initial_data(description=question), timeout=wait_seconds
    )
    _require_same(state, state_of(Home.of(), model))
    if said.decision == "roll back":
        return rollback(model, said.reason, actor=said.who)
    return approve(model, said.reason, go_on=said.decision == "go on", actor=said.who)
