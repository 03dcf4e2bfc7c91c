"""The laws of a runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slipway.conformance import require, require_raises
from slipway.errors import RuntimeFailure
from slipway.ports import Runtime
from slipway.release import Release
from slipway.terms import Limits

LIMITS = Limits(memory_mb=512, cpus=1.0, pids=128)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a law is tried on.

    Args:
        make: gives a runtime over one and the same place at each call, empty at the first, as
            two processes of one machine would have it.
        one, two: releases that serve.
        broken: a release whose replicas end before they answer.
    """

    make: Callable[[], Runtime]
    one: Release
    two: Release
    broken: Release


Law = Callable[[Trial], None]


def check_runtime(trial: Callable[[], Trial]) -> None:
    """Every law that a runtime must keep.

    Args:
        trial: gives a fresh trial at each call. What a law started it also stops.

    Raises:
        AssertionError: a law is broken; it says which.
    """
    for law in LAWS:
        law(trial())


def empty_at_first(trial: Trial) -> None:
    """Nothing runs, and stopping nothing is no error."""
    runtime = trial.make()
    require(isinstance(runtime, Runtime), "the runtime lacks a name or a method of the port")
    require(dict(runtime.list()) == {}, "a new runtime must run nothing")
    runtime.stop(trial.one.id)
    require(list(runtime.logs(trial.one.id)) == [], "what never ran has no log")
    require(not runtime.probe("127.0.0.1:1"), "nobody is ready at an address nobody serves")


def starts_what_answers(trial: Trial) -> None:
    """Every replica that start returns is ready, has its own address, and is listed."""
    runtime = trial.make()
    try:
        endpoints = runtime.start(trial.one, 2, LIMITS)
        require(len(set(endpoints)) == 2, "two replicas must answer at two addresses")
        require(all(map(runtime.probe, endpoints)), "start must return replicas that are ready")
        require(
            dict(runtime.list()) == {trial.one.id: endpoints}, "what runs must be listed by release"
        )
        require(any(runtime.logs(trial.one.id)), "what runs must have a log")
    finally:
        runtime.stop(trial.one.id)
    require(dict(runtime.list()) == {}, "what was stopped must not be listed")
    require(not any(map(runtime.probe, endpoints)), "what was stopped must not answer")
    runtime.stop(trial.one.id)


def adopts_what_runs(trial: Trial) -> None:
    """Started again, by whomever, what runs is adopted; more replicas join those that run."""
    runtime, other = trial.make(), trial.make()
    try:
        first = runtime.start(trial.one, 1, LIMITS)
        require(other.start(trial.one, 1, LIMITS) == first, "what runs must be adopted")
        both = other.start(trial.one, 2, LIMITS)
        require(both[:1] == first and len(both) == 2, "replicas must join those that run")
        require(runtime.start(trial.one, 1, LIMITS) == first, "what runs must be adopted")
        require(dict(runtime.list()) == dict(other.list()), "all must see the same replicas")
    finally:
        other.stop(trial.one.id)
    require(dict(runtime.list()) == {}, "what another stopped must not be listed")


def releases_are_apart(trial: Trial) -> None:
    """Stopping one release leaves the other one serving."""
    runtime = trial.make()
    try:
        one, two = (runtime.start(r, 1, LIMITS) for r in (trial.one, trial.two))
        require(not set(one) & set(two), "two releases must answer at different addresses")
        runtime.stop(trial.one.id)
        require(dict(runtime.list()) == {trial.two.id: two}, "stopping one must leave the other")
        require(runtime.probe(two[0]), "stopping one release must leave the other one serving")
    finally:
        runtime.stop(trial.one.id)
        runtime.stop(trial.two.id)


def what_does_not_start_is_told(trial: Trial) -> None:
    """A release that does not start raises, and leaves nothing running."""
    runtime = trial.make()
    law = "a release that does not start must raise RuntimeFailure"
    require_raises(RuntimeFailure, law, runtime.start, trial.broken, 2, LIMITS)
    require(dict(runtime.list()) == {}, "a failed start must leave nothing running")


LAWS: tuple[Law, ...] = (
    empty_at_first,
    starts_what_answers,
    adopts_what_runs,
    releases_are_apart,
    what_does_not_start_is_told,
)
