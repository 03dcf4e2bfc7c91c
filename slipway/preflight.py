"""All that a team declares about a model, read whole, before anything is started for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway import expectations, metrics, runtimes, signing, spec, strategies
from slipway.errors import ExpectationError, SpecError, UsageError
from slipway.expectations import Pack
from slipway.gates import Gates, parse
from slipway.image import recipe
from slipway.league import goal_of
from slipway.review import labelled
from slipway.spec import Spec

ALONE = {
    "blue_green": "leaves nobody with stable to compare with",
    "shadow": "gives nobody the candidate's answers",
}
"""Strategies that have no two groups of users, and why not."""


def read(path: Path, overrides: Mapping[str, Any] | None = None) -> tuple[Spec, Pack]:
    """A model's spec and expectation pack; every part that they name can be found.

    Args:
        path: the spec's file, or the folder that holds ``slipway.yaml``.
        overrides: values of the spec to change, by dotted path.

    Raises:
        SpecError: the spec has faults, or names an unknown strategy or runtime.
        ExpectationError: the pack has faults, or names an unknown metric.
        Refused: the key that is to sign the release cannot be used.
    """
    declared = spec.load(path, overrides)
    signing.signing_key()
    pack = expectations.load(declared.pack)
    gates = parse(pack.live)
    metrics.measures(gates)
    _fit(declared, gates, pack)
    strategies.resolve(declared.rollout.strategy)
    if declared.image.build != "never":
        _require_image(declared)
    chosen = declared.runtime
    runtimes.resolve("docker" if chosen.kind == "auto" else chosen.kind, Path(), chosen.options)
    return declared, pack


def _fit(declared: Spec, gates: Gates, pack: Pack) -> None:
    """Refuse gates that could never let such a launch move on.

    Raises:
        ExpectationError: the strategy needs gates of another kind.
    """
    where = str(pack.folder / "gates.toml")
    if declared.rollout.climbs and not any(g.budget is not None for g in gates.gates):
        raise ExpectationError(
            "'rollout.steps: auto' follows the budgets of guardrails, and no gate has one",
            where=where,
            do="give a guardrail a budget (docs/how-to/expectations.md), or plan the steps",
        )
    compared = [g.name for g in gates.gates if g.limit is None]
    if declared.rollout.strategy in ALONE and compared:
        raise ExpectationError(
            f"'{declared.rollout.strategy}' {ALONE[declared.rollout.strategy]}, and these gates "
            f"compare: {', '.join(compared)}",
            where=where,
            do="give each a limit in place of its margin or budget (docs/how-to/expectations.md)",
        )
    _require_rows(declared)
    if declared.rollout.competes:
        _fit_league(gates, declared.rollout.league.floor is not None, where)
    if declared.rollout.review.after:
        try:
            labelled(gates, declared.rollout.review.after)
        except UsageError as error:
            raise ExpectationError(
                f"'rollout.review' can find nothing: {error.what}", where=where, do=error.do
            ) from error
    if declared.rollout.shadow_first:
        _fit_both(gates, where)
    paired = [g.name for g in gates.gates if metrics.is_paired(g)]
    if paired and not (declared.rollout.mirrors or declared.rollout.shadow_first):
        raise ExpectationError(
            f"these gates compare two answers to one request: {', '.join(paired)}; "
            f"'{declared.rollout.strategy}' has one answer to each",
            where=where,
            do="launch with 'rollout.strategy: shadow' or 'shadow_first: true', or remove them",
        )


def _require_rows(declared: Spec) -> None:
    """Refuse to forget requests that a step, or a review after it, will ask for.

    Raises:
        SpecError: the inference log is kept for less time than that.
    """
    kept = declared.serving.get("log", {}).get("keep_days")
    longest = max(step["max_seconds"] for step in declared.rollout.shares)
    needed = (longest + (declared.rollout.review.after or 0.0)) / 86_400.0
    if kept is not None and kept < needed:
        raise SpecError(
            f"requests are kept for {kept:g} days, and the longest step and its review ask for "
            f"those of {needed:.3g}",
            where="serving.log.keep_days",
            do="keep them for longer, or give 'max_seconds' or 'rollout.review.after' less",
        )


def _fit_both(gates: Gates, where: str) -> None:
    """Refuse gates of which none is for the copies of requests, or none for users.

    Raises:
        ExpectationError: a kind of step would have no gate.
    """
    needed = {True: "has a limit, for copied requests", False: "is on one answer, for users"}
    for mirrors, told in needed.items():
        if not metrics.of_step(gates, mirrors).gates:
            raise ExpectationError(
                f"'rollout.shadow_first' needs a gate that {told}, and there is none",
                where=where,
                do="add one (docs/how-to/strategies.md), or launch in one way alone",
            )


def _fit_league(gates: Gates, follows: bool, where: str) -> None:
    """Refuse gates by which members cannot compete.

    Args:
        follows: whether shares follow what was seen, so that cohorts are compared.

    Raises:
        ExpectationError: there is no goal, or more than one; or a gate is not compared over
            cohorts.
    """
    try:
        goal_of(gates)
    except UsageError as error:
        raise ExpectationError(error.what, where=where, do=error.do) from error
    alone = [g.name for g in gates.gates if g.type == "quantile" or g.limit is not None]
    if follows and alone:
        raise ExpectationError(
            f"with 'rollout.league.floor' units are compared cohort by cohort, which these gates "
            f"cannot be: {', '.join(alone)}",
            where=where,
            do="give them a margin in place of a limit, and limit the rate of what is slow (the "
            "metric 'slow') in place of a quantile; or leave the floor out",
        )


def _require_image(declared: Spec) -> None:
    """Refuse at once what could be no image, rather than after the training.

    Raises:
        SpecError: the model's name cannot name an image, or the template cannot be used.
    """
    if not recipe.NAME.fullmatch(declared.model):
        raise SpecError(
            f"the model's name '{declared.model}' cannot name an image",
            where="model",
            do=recipe.NAMING,
        )
    template = declared.folder / declared.image.dockerfile if declared.image.dockerfile else None
    recipe.dockerfile(declared.image.base, template)
