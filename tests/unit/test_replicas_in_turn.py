"""Which of an arm's replicas is asked next."""

import pytest

from slipway.policy import Policy
from slipway.routing import Arm
from slipway.serving.breaker import Breaker
from slipway.serving.forward import Deadlines, Replica
from slipway.serving.metrics import Metrics
from slipway.serving.routes import ServedArm


def arm(count: int) -> ServedArm:
    """Stable with so many replicas."""
    policy, deadlines = Policy.from_record({}), Deadlines()
    replicas = tuple(Replica(f"127.0.0.1:{n + 1}", deadlines) for n in range(count))
    breaker = Breaker(policy.breaker)
    return ServedArm("m", Arm("stable", "r", 1.0), 1, policy, replicas, breaker, Metrics())


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("between", range(4))
def test_a_second_try_goes_to_another_replica(count: int, between: int) -> None:
    """However many others took their turn in between; else it waits where the first one does."""
    served = arm(count)
    first = served.replica()
    for _ in range(between):
        served.replica()
    assert served.replica(besides=first) is not first


def test_an_only_replica_is_asked_again() -> None:
    """A second try may still be luckier there than no try."""
    served = arm(1)
    assert served.replica(besides=served.replicas[0]) is served.replicas[0]


def test_one_that_rests_is_better_than_the_one_that_was_asked() -> None:
    """The other may have come back; the one that was asked is already being waited for."""
    served = arm(2)
    awake, resting = served.replicas
    resting.resting_until = float("inf")
    assert [served.replica() for _ in range(4)] == [awake] * 4
    assert {served.replica(besides=awake) for _ in range(4)} == {resting}
