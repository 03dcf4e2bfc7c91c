"""Public checks that every store, runtime, strategy and metric must pass.

A check takes a function that makes the part, and raises AssertionError with a sentence that says
which law is broken. Writing your own part? Call its check in your own tests:

    from slipway.conformance.strategy import check_strategy

    def test_my_strategy_keeps_the_laws():
        check_strategy(MyStrategy)

Each law is a function of its own, named in ``LAWS`` of its module, so that a test can run (and
name) them one by one.
"""

from __future__ import annotations


def require(holds: object, law: str) -> None:
    """Raise with the law's sentence where it does not hold; also under ``python -O``."""
    if not holds:
        raise AssertionError(law)


def require_raises(kind: type[Exception], law: str, call: object, *args: object) -> None:
    """Raise with the law's sentence unless the call raises an error of that kind."""
    assert callable(call)
    try:
        call(*args)
    except kind:
        return
    raise AssertionError(law)
