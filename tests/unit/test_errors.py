"""Errors speak to a person: what failed, where, and what to do."""

import inspect
import pickle

import pytest

from slipway import errors
from slipway.errors import Refused, SlipwayError, UsageError

EVERY = [c for _, c in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_survives_pickling(kind: type[SlipwayError]) -> None:
    """Prefect stores a failed task's exception by pickling it, so nothing may be lost."""
    error = pickle.loads(pickle.dumps(kind("it broke", where="here", do="mend it")))
    assert (type(error), error.what, error.where, error.do) == (kind, "it broke", "here", "mend it")


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_belongs_to_the_tree_that_the_module_draws(kind: type[SlipwayError]) -> None:
    """The tree at the top of the module names every class, so a reader can trust it."""
    assert issubclass(kind, SlipwayError)
    assert kind.__name__ in (errors.__doc__ or "")


def test_the_text_tells_what_where_and_what_to_do() -> None:
    """All three parts are printed, each on its own line."""
    assert str(SlipwayError("it broke", where="spec.yaml", do="mend it")) == (
        "it broke\n  where: spec.yaml\n  do:    mend it"
    )


def test_parts_that_are_not_known_are_not_printed() -> None:
    """An error without a place or an advice is one line."""
    assert str(SlipwayError("it broke")) == "it broke"


@pytest.mark.parametrize("kind", EVERY)
def test_only_wrong_usage_exits_with_two(kind: type[SlipwayError]) -> None:
    """Exit codes: 1 refused or failed, 2 wrong usage."""
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1)
    assert issubclass(kind, (Refused, UsageError)) or kind is SlipwayError
