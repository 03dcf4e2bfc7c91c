"""Whether a release that is made while a league is open joins it."""

from __future__ import annotations

from typing import Any

from slipway.errors import RolloutError
from slipway.lifecycle import Event
from slipway.plan import Plan
from slipway.release import short
from slipway.rollout import ModelState, Rollout, Step

DECLARED = {
    "gates": "gates.toml",
    "on_inconclusive": "gates.toml",
    "steps": "rollout.league",
    "league": "rollout.league",
    "serving": "serving",
}
"""Where the parts of a plan are declared, if not as ``rollout.`` and their own name."""


def joining(state: ModelState, release: str, chosen: Plan) -> Step | None:
    """The step by which a release joins the open league; None where it opens its own rollout.

    Args:
        chosen: the plan that it would be launched by. All members are launched by one plan, but
            for where and how each of them runs.

    Raises:
        RolloutError: the league waits for a person, has no stable release to hold it against, or
            has another plan.
    """
    rollout, model = state.rollout, state.model
    if rollout is None or not _competes(rollout, chosen):
        return None
    if rollout.held:
        raise RolloutError(
            f"the league of {model} waits for a person's word on {short(rollout.release)}",
            do=f"decide first: 'slipway approve' or 'slipway rollback' {model} --reason WHY",
        )
    if not rollout.stable:
        raise RolloutError(
            f"the first release of {model} is about to be live, and a league needs it to be",
            do=f"release this one again once 'slipway status' shows {short(rollout.release)}",
        )
    require_same_plan(state, chosen)
    return Step(Event.JOINED, f"release {short(release)} joins the league", release=release)


def require_same_plan(state: ModelState, chosen: Plan) -> None:
    """Refuse a plan by which no release may join the league that is open, if one is.

    Raises:
        RolloutError: it differs from the league's; it names where that is declared.
    """
    rollout = state.rollout
    others = _others(chosen, rollout.plan) if rollout and _competes(rollout, chosen) else []
    if others:
        raise RolloutError(
            f"the league of {state.model} was opened with another {', '.join(others)}",
            do="launch all members alike: restore it, or end the league with 'slipway rollback'",
        )


def _competes(rollout: Rollout, chosen: Plan) -> bool:
    return bool(rollout.members and chosen.league)


def _others(chosen: Plan, opened: Plan) -> list[str]:
    """The places of what differs between two plans."""
    ours, theirs = ({**p.record(), "league": _rules(p)} for p in (chosen, opened))
    parts = [part for part in ours if part != "runtime" and ours[part] != theirs[part]]
    return sorted({DECLARED.get(part, f"rollout.{part}") for part in parts})


def _rules(plan: Plan) -> dict[str, Any]:
    """A league's rules that say something: without a floor no shares are shifted."""
    told = {rule: value for rule, value in plan.league.items() if value is not None}
    return told if "floor" in told else {"most": told["most"]}
