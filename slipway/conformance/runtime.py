"""The laws of a runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slipway.conformance import require, require_raises
from slipway.errors import RuntimeFailure
from slipway.ports import Runtime
from slipway.release import digest

ONE, TWO = digest("release one"), digest("release two")


@dataclass(frozen=True, slots=True)
class Trial:
    """What a law is tried on.

    Args:
        make: gives a runtime over one and the same place at each call, empty at the first, as
            two processes of one machine would have it.
        bundle: a bundle that serves.
        broken: a bundle that does not start.
    """

    make: Callable[[], Runtime]
    bundle: str
    broken: str


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
    runtime.stop(ONE)
    require(list(runtime.logs(ONE)) == [], "what never ran has no log")
    require(not runtime.probe("127.0.0.1:1"), "nobody is ready at an address nobody serves")


def starts_what_answers(trial: Trial) -> None:
    """Every replica that start returns is ready, has its own address, and is listed."""
    runtime = trial.make()
    try:
        endpoints = runtime.start(ONE, trial.bundle, 2)
        require(len(set(endpoints)) == 2, "two replicas must answer at two addresses")
        require(all(map(runtime.probe, endpoints)), "start must return replicas that are ready")
        require(dict(runtime.list()) == {ONE: endpoints}, "what runs must be listed by release")
        require(any(runtime.logs(ONE)), "what runs must have a log")
    finally:
        runtime.stop(ONE)
    require(dict(runtime.list()) == {}, "what was stopped must not be listed")
    require(not any(map(runtime.probe, endpoints)), "what was stopped must not answer")
    runtime.stop(ONE)


def adopts_what_runs(trial: Trial) -> None:
    """Started again, by whomever, what runs is adopted; more replicas join those that run."""
    runtime, other = trial.make(), trial.make()
    try:
        first = runtime.start(ONE, trial.bundle, 1)
        require(other.start(ONE, trial.bundle, 1) == first, "what runs must be adopted")
        both = other.start(ONE, trial.bundle, 2)
        require(both[:1] == first and len(both) == 2, "replicas must join those that run")
        require(runtime.start(ONE, trial.bundle, 1) == first, "what runs must be adopted")
        require(dict(runtime.list()) == dict(other.list()), "all must see the same replicas")
    finally:
        other.stop(ONE)
    require(dict(runtime.list()) == {}, "what another stopped must not be listed")


def releases_are_apart(trial: Trial) -> None:
    """Stopping one release leaves the other one serving."""
    runtime = trial.make()
    try:
        one, two = (runtime.start(r, trial.bundle, 1) for r in (ONE, TWO))
        require(not set(one) & set(two), "two releases must answer at different addresses")
        runtime.stop(ONE)
        require(dict(runtime.list()) == {TWO: two}, "stopping one must leave the other")
        require(runtime.probe(two[0]), "stopping one release must leave the other one serving")
    finally:
        runtime.stop(ONE)
        runtime.stop(TWO)


def what_does_not_start_is_told(trial: Trial) -> None:
    """A bundle that does not start raises, and leaves nothing running."""
    runtime = trial.make()
    law = "a bundle that does not start must raise RuntimeFailure"
    require_raises(RuntimeFailure, law, runtime.start, ONE, trial.broken, 2)
    require(dict(runtime.list()) == {}, "a failed start must leave nothing running")


LAWS: tuple[Law, ...] = (
    empty_at_first,
    starts_what_answers,
    adopts_what_runs,
    releases_are_apart,
    what_does_not_start_is_told,
)
