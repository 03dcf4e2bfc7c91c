"""The circuit breaker: when it opens, when it probes, when it closes."""

from hypothesis import given
from hypothesis import strategies as st

from slipway.policy import Breaker as Settings
from slipway.serving.breaker import CLOSED, HALF_OPEN, OPEN, Breaker

SETTINGS = Settings(failures=3, error_share=0.5, min_requests=10, open_seconds=2.0, probes=2)


def test_failures_in_a_row_open_it():
    """The third failure in a row opens; a success in between starts the count anew."""
    breaker = Breaker(SETTINGS)
    breaker.failed(0.0)
    breaker.failed(0.0)
    breaker.succeeded()
    breaker.failed(0.0)
    breaker.failed(0.0)
    assert breaker.closed
    breaker.failed(0.0)
    assert not breaker.closed
    assert not breaker.allows(1.9)
    assert breaker.state(1.9) == OPEN


def test_a_share_of_failures_opens_it():
    """Every second request failing opens it once the window has seen enough."""
    breaker = Breaker(SETTINGS)
    for _ in range(4):
        breaker.failed(1.0)
        breaker.succeeded()
    assert breaker.closed
    breaker.failed(1.0)
    breaker.succeeded()
    breaker.failed(1.0)
    assert not breaker.closed


def test_old_failures_are_forgotten():
    """Failures of an earlier window do not count."""
    breaker = Breaker(SETTINGS)
    for at in range(20):
        breaker.failed(at * 20.0)
        breaker.succeeded()
    assert breaker.closed


def test_probes_close_it_one_at_a_time():
    """After the pause one call at a time goes through; enough good ones close it."""
    breaker = Breaker(SETTINGS)
    for _ in range(3):
        breaker.failed(0.0)
    assert breaker.state(2.0) == HALF_OPEN
    assert breaker.allows(2.0)
    assert not breaker.allows(2.0)
    breaker.succeeded()
    assert breaker.allows(2.1)
    breaker.succeeded()
    assert breaker.closed
    assert breaker.state(2.1) == CLOSED


def test_a_failed_probe_opens_it_again():
    """A probe that fails starts the pause anew; one called off lets the next through."""
    breaker = Breaker(SETTINGS)
    for _ in range(3):
        breaker.failed(0.0)
    assert breaker.allows(2.0)
    breaker.failed(2.0)
    assert not breaker.allows(3.9)
    assert breaker.allows(4.0)
    breaker.released()
    assert breaker.allows(4.0)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), max_size=200))
def test_it_never_shuts_out_a_healthy_arm_for_good(steps):
    """Whatever has happened, enough good probes after the pause close it."""
    breaker, now = Breaker(SETTINGS), 0.0
    for good, pause in steps:
        now += pause
        if breaker.allows(now):
            breaker.succeeded() if good else breaker.failed(now)
    for _ in range(SETTINGS.probes):
        now += SETTINGS.open_seconds
        assert breaker.allows(now)
        breaker.succeeded()
    assert breaker.closed
