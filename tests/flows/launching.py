"""Rollouts written down by hand, for tests of what becomes of them: no training, no judging."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

from workplace import Workplace

from slipway.drafts import open_rollout, take
from slipway.ledger import Draft, head
from slipway.lifecycle import Event
from slipway.release import Release
from slipway.rollout import Step
from slipway.terms import Terms
from slipway.testing import plan
from tasks.record import state_of
from tasks.register import client
from tasks.serve import settle, stand_by

GATES: dict[str, Any] = {
    "policy": {"alpha": 0.1},
    "gate": [
        {
            "metric": "error",
            "kind": "guardrail",
            "type": "rate",
            "direction": "lower",
            "budget": 0.3,
            "min_units": 100_000,  # never enough: a rollout stays where it is
        }
    ],
}


def launch(place: Workplace, release: Release, terms: Terms, reached: Event) -> None:
    """Have a release registered and running, and its rollout at its first step or promoted."""
    place.ledger.put_manifest(_registered(place, release))
    stand_by(place.home, release.id, terms)
    chosen = plan(
        (0.3, 0.5),
        min_seconds=3600,
        max_seconds=7200,
        gates=GATES,
        serving={"hedge_ms": 150},
        lease_seconds=120.0,
        runtime=terms.record(),
    )
    told = {"now": time.time(), "actor": "tester", "reason": "a test"}
    state = state_of(place.home, release.model)
    _note(place, open_rollout(state, release.id, chosen, **told))
    step(place, release.model, reached, 1.0 if reached == Event.PROMOTED else 0.3)


def _registered(place: Workplace, release: Release) -> Release:
    """The release with a version in MLflow."""
    mlflow = client(place.home, "")
    if not mlflow.search_registered_models(f"name = '{release.model}'"):
        mlflow.create_registered_model(release.model)
    made = mlflow.create_model_version(release.model, place.root.as_uri())
    told = {"name": release.model, "registry": "", "number": str(made.version)}
    return replace(release, locators={**release.locators, **told})


def step(place: Workplace, model: str, event: Event, share: float) -> None:
    """Take the rollout that is open one step on, and have run what it needs then."""
    chosen = Step(event, "a test", share)
    _note(place, take(state_of(place.home, model), chosen, now=time.time(), actor="tester"))
    settle(place.home, state_of(place.home, model))


def _note(place: Workplace, draft: Draft) -> None:
    place.ledger.append(draft, expect=head(place.entries(draft.model)))
