"""What runs, as against what the ledger says should."""

from slipway import health
from slipway.lifecycle import State
from slipway.rollout import ModelState


def _state(stable: str) -> ModelState:
    return ModelState("flights", State.IDLE, stable, (), None, None, None)


def _answering(*alive: str):
    return lambda endpoints: {e: e in alive for e in endpoints}


def test_each_replica_is_told_by_itself() -> None:
    """One of two that does not answer is not hidden by the one that does."""
    placed = {"sha256:a": ("127.0.0.1:1", "127.0.0.1:2")}
    told = health.of(_state("sha256:a"), placed, {}, 0.0, _answering("127.0.0.1:2"))
    assert [(r["endpoint"], r["answers"]) for r in told["replicas"]] == [
        ("127.0.0.1:1", False),
        ("127.0.0.1:2", True),
    ]


def test_a_release_that_is_placed_nowhere_has_a_row() -> None:
    """What should run and does not is told, not left out."""
    told = health.of(_state("sha256:a"), {}, {}, 0.0, _answering())
    assert told["replicas"] == [{"release": "sha256:a", "endpoint": "", "answers": False}]


def test_a_gateway_that_has_been_silent_is_not_counted() -> None:
    """Acknowledgements outlive their gateways; only those that spoke lately are alive."""
    said = {"old": (3, 100.0), "new": (4, 195.0)}
    told = health.of(_state("sha256:a"), {}, said, 200.0, _answering())
    assert told["gateways"] == [{"name": "new", "route": 4, "seconds_ago": 5.0}]
