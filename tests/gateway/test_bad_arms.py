"""Whatever an arm does, its users are answered: by stable, and they are told so."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from arm import Farm
from rig import Gateway, ask, load, release, unit_of, until

HALF = (0.5, 0.5)
QUICK = {"budget_ms": 300, "breaker": {"open_seconds": 0.2, "failures": 3, "probes": 2}}
CHECKED = {**QUICK, "answer": {"min": 0, "max": 1, "type": "number"}}

FAULTS = {
    "hang": "timeout",
    "500": "status_500",
    "close": "closed",
    "half": "closed",
    "garbage": "malformed",
    "text": "not_json",
    "NaN": "not_json",
    "null": "not_finite",
    "1e999": "not_json",
    "7": "out_of_range",
    '"high"': "wrong_type",
    "deep": "too_deep",
    "huge": "not_finite",
}
"""What an arm does, and how that is called."""


@contextmanager
def killable(value: float) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """An arm as a process of its own, and its port."""
    command = [sys.executable, str(Path(__file__).with_name("arm.py")), str(value)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def test_users_of_an_arm_that_is_killed_notice_nothing(gateway: Gateway, farm: Farm) -> None:
    """Under load, kill -9 of an arm fails no request, and who answered instead is told."""
    stable = farm.arm(0.25)
    with killable(0.75) as (process, port):
        gateway.serve("killed", {"stable": (0.5, [stable.port]), "candidate": (0.5, [port])})
        with load(gateway.port, "killed") as running:
            running.more()
            process.kill()
            process.wait()
            running.more(600)
    assert running.faults == []
    assert running.failed == []
    own = {0.25: release("killed", "stable"), 0.75: release("killed", "candidate")}
    assert all(a.served_by == own[a.prediction] for _, a in running.answers)
    replaced = [a for _, a in running.answers if a.fallback]
    assert replaced
    assert {a.served_by for a in replaced} == {own[0.25]}
    assert {a.headers["x-slipway-arm"] for a in replaced} == {"candidate"}
    assert {a.fallback for a in replaced} <= {"closed", "refused", "breaker_open"}


@pytest.mark.parametrize("mode", FAULTS)
def test_a_bad_answer_is_never_the_users(gateway: Gateway, farm: Farm, mode: str) -> None:
    """A fault costs the user nothing but time, is counted by its kind, and opens the breaker."""
    model = f"bad{list(FAULTS).index(mode)}"
    stable, candidate = farm.arm(0.25), farm.arm(0.75, mode)
    arms = {"stable": (0.5, [stable.port]), "candidate": (0.5, [candidate.port])}
    gateway.serve(model, arms, CHECKED)
    unit = unit_of(model, 1, HALF)
    answers = [gateway.predict(model, unit) for _ in range(4)]
    assert [(a.status, a.prediction) for a in answers] == [(200, 0.25)] * 4
    assert [a.fallback for a in answers] == [FAULTS[mode]] * 3 + ["breaker_open"]
    assert {a.served_by for a in answers} == {release(model, "stable")}
    labels = {"model": model, "arm": "candidate"}
    assert gateway.metric("slipway_errors_total", kind=FAULTS[mode], **labels) == 3
    assert gateway.metric("slipway_fallbacks_total", reason=FAULTS[mode], **labels) == 3
    assert gateway.metric("slipway_fallbacks_total", reason="breaker_open", **labels) == 1
    assert gateway.metric("slipway_breaker_state", **labels) > 0


def test_a_breaker_closes_once_its_probes_are_good(gateway: Gateway, farm: Farm) -> None:
    """An open breaker keeps requests away, probes once its time is up, then lets all through."""
    stable, candidate = farm.arm(0.25), farm.arm(0.75, "500")
    arms = {"stable": (0.5, [stable.port]), "candidate": (0.5, [candidate.port])}
    gateway.serve("mending", arms, QUICK)
    unit, labels = unit_of("mending", 1, HALF), {"model": "mending", "arm": "candidate"}
    for _ in range(3):
        gateway.predict("mending", unit)
    assert gateway.predict("mending", unit).fallback == "breaker_open"
    # Its time is up: the probe is bad, and it opens again.
    until(lambda: gateway.metric("slipway_breaker_state", **labels) == 1, "half-open")
    assert gateway.predict("mending", unit).fallback == "status_500"
    assert gateway.predict("mending", unit).fallback == "breaker_open"
    candidate.mode = "good"
    until(lambda: gateway.metric("slipway_breaker_state", **labels) == 1, "half-open")
    assert [gateway.predict("mending", unit).prediction for _ in range(3)] == [0.75] * 3
    assert gateway.metric("slipway_breaker_state", **labels) == 0


def test_a_breaker_closes_though_one_replica_is_down(gateway: Gateway, farm: Farm) -> None:
    """A probe that meets a replica that is gone goes on to the next, and tells of the arm."""
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))  # nobody listens there
        arm = farm.arm(0.75, "500")
        arms = {"stable": (1.0, [dead.getsockname()[1], arm.port])}
        gateway.serve("limping", arms, {"breaker": {"open_seconds": 0.2, "failures": 2}})
        until(lambda: gateway.predict("limping").fallback == "breaker_open", "an open breaker")
        arm.mode = "good"
        until(lambda: gateway.predict("limping").status == 200, "an answer", 10)
        assert [gateway.predict("limping").prediction for _ in range(4)] == [0.75] * 4
        assert gateway.metric("slipway_breaker_state", model="limping") == 0


@pytest.mark.parametrize("status", [204, 304, 460])
def test_any_status_is_passed_on_and_the_connection_goes_on(
    gateway: Gateway, farm: Farm, status: int
) -> None:
    """What has no body gets none, and what is not registered is passed on; a request follows."""
    model, arm = f"status{status}", farm.arm(0.75, str(status))
    gateway.serve(model, {"stable": (1.0, [arm.port])}, {"protocol": "http"})
    client = gateway.connect()
    first = ask(client, "DELETE", f"/{model}/thing")
    arm.mode = "good"
    second = ask(client, "GET", f"/{model}/thing")
    client.close()
    assert (first.status, second.status, second.prediction) == (status, 200, 0.75)


def test_users_who_read_slowly_are_no_fault_of_the_arm(gateway: Gateway, farm: Farm) -> None:
    """Six that take nothing, for longer than the budget, and the next is still served by it."""
    arm = farm.arm(0.75, "flood")
    policy = {"protocol": "http", "budget_ms": 100, "breaker": {"failures": 2}}
    gateway.serve("flooding", {"stable": (1.0, [arm.port])}, policy)
    with ExitStack() as slow:
        for _ in range(6):
            user = slow.enter_context(socket.create_connection(("127.0.0.1", gateway.port)))
            user.sendall(b"GET /flooding/x HTTP/1.1\r\nhost: x\r\n\r\n")
            assert user.recv(100).startswith(b"HTTP/1.1 200")
        arm.mode, began = "good", time.monotonic()
        while time.monotonic() - began < 1.0:  # ten budgets long
            assert gateway.get("/flooding/x").status == 200
    assert gateway.metric("slipway_breaker_state", model="flooding") == 0


def test_an_arm_that_hangs_under_load_slows_few(gateway: Gateway, farm: Farm) -> None:
    """Nobody waits longer than the budget, and once the breaker is open nobody waits at all."""
    stable, candidate = farm.arm(0.25), farm.arm(0.75)
    arms = {"stable": (0.9, [stable.port]), "candidate": (0.1, [candidate.port])}
    slow = {"budget_ms": 200, "breaker": {"open_seconds": 60, "failures": 3}}
    gateway.serve("hanging", arms, slow)
    with load(gateway.port, "hanging", units=100) as running:
        running.more()
        candidate.mode = "hang"
        running.more(600)
    assert running.faults == []
    assert running.failed == []
    waited = [a for _, a in running.answers if a.fallback == "timeout"]
    assert 3 <= len(waited) <= 3 + 4  # those under way when it opened


def test_without_stable_the_error_is_honest(gateway: Gateway, farm: Farm) -> None:
    """When nothing in the chain can answer, the status and the body say why."""
    gateway.serve("gone", {"stable": (1.0, [farm.arm(mode="500").port])})
    answer = gateway.predict("gone")
    assert (answer.status, answer.served_by) == (502, "gateway")
    assert "status_500" in answer.json["error"]["what"]
    gateway.serve("late", {"stable": (1.0, [farm.arm(mode="hang").port])}, {"budget_ms": 50})
    assert gateway.predict("late").status == 504
    gateway.serve("nowhere", {"stable": (1.0, [])})
    assert gateway.predict("nowhere").status == 503
