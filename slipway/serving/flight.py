"""One prediction request through its chain: the assigned arm, stable, the named fallbacks, and
the last resorts.

Every try is one `Call`; when it has ended, the user is answered or the next in the chain is asked.
A failed arm costs the user time, never the answer, as long as anything in the chain can give one.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from slipway.serving.content import Dialect
from slipway.serving.exchange import Exchange, problem
from slipway.serving.fallback import Kept, predict
from slipway.serving.forward import CANCELLED, CLOSED, REFUSED, TIMEOUT, Call, Replica
from slipway.serving.prices import cost_of
from slipway.serving.routes import Served, ServedArm
from slipway.serving.shared import Spot

if TYPE_CHECKING:
    from slipway.serving.recorder import Recorder

log = logging.getLogger(__name__)

NO_REPLICA = "no_replica"
BREAKER_OPEN = "breaker_open"
UNREADABLE = "unreadable"
GONE = (REFUSED, CLOSED)
"""Faults of a replica that is not there, or ended while it was asked: another may be."""
AGAIN_SECONDS = 0.05
"""Between two looks for a replica that may be starting again.

A request of which two replicas ended may be the cause: it is not sent again.
"""
RULE, CACHE, GATEWAY = "rule", "cache", "gateway"


class Try(Call):
    """A further try at one of an arm's replicas."""

    flight: Flight
    arm: ServedArm
    began: float

    def done(self) -> None:
        """Tell the flight."""
        self.flight.returned(self)


class Hedge:
    """A reminder to ask a slow arm a second time."""

    def __init__(self, flight: Flight, first: Attempt) -> None:
        self._flight, self._first = flight, first

    @property
    def finished(self) -> bool:
        """Whether there is nothing to remind of any more."""
        return self._first.finished

    def late(self) -> None:
        """The first try has taken long enough."""
        self._flight.hedge(self._first)


class Flight(Call):
    """One request under way; it is also its own first try, since most need no other.

    Attributes:
        arm: as assigned, so also of the first try.
        unit, given: who asked, and whether the request said so.
        at: when it came, seconds since 1970 UTC.
        began: the same by the monotonic clock.
        stage, tried: where in the chain it is, and how many of that arm's replicas were asked.
        hung_up: how many ended while they were asked.
        asked: the last of them.
        reason: why another than the assigned arm answers, or empty.
        bucket: where its unit's rate is kept, where one is declared.
        override: how the arm was chosen other than by the route: ``allow``, ``signed`` or empty.
        predictions: of the answer, where they are known.
    """

    recorder: Recorder
    served: Served
    exchange: Exchange
    dialect: Dialect
    rows: list[Any] | None
    arm: ServedArm
    chain: tuple[ServedArm, ...]
    id: str
    unit: str
    at: float
    began: float
    given: bool
    logged: bool
    mirrored: bool
    bucket: Spot | None
    reason: str
    override: str
    stage: int = 0
    tried: int = 0
    hung_up: int = 0
    landed: bool = False
    served_by: str = ""
    cost: float | None = None
    predictions: list[Any] = []  # noqa: RUF012  a Struct copies it
    flying: Attempt | None = None
    asked: Replica | None = None
    twin: Try | None = None

    def done(self) -> None:
        """The first try has ended."""
        self.returned(self)

    # Asking.

    def ask(self) -> None:
        """Ask the arm whose turn it is; turn to the last resorts when there is none left."""
        while self.stage < len(self.chain):
            arm = self.chain[self.stage]
            replica = arm.replica(besides=self.asked if self.tried else None)
            if replica is None:
                self._pass_over(arm, NO_REPLICA)
            elif not (arm.breaker.closed or self.tried or arm.breaker.allows(self.began)):
                self._pass_over(arm, BREAKER_OPEN)
            else:
                self.tried += 1
                first = self.flying is None and arm is self.arm
                attempt = self.flying = self.first_try() if first else self.next_try(arm)
                self.asked = replica
                replica.send(attempt, arm.budget)
                if self.served.hedge:
                    self.served.deadlines.add(Hedge(self, attempt), self.served.hedge)
                return
        self._last_resort()

    def first_try(self) -> Attempt:
        """The first try at the assigned arm."""
        return self

    def next_try(self, arm: ServedArm) -> Try:
        """A further try, at whichever arm."""
        limit = self.served.policy.max_answer_bytes
        return Try(self, arm, monotonic(), head=self.head, body=self.body, limit=limit)

    def hedge(self, first: Attempt) -> None:
        """Ask the same arm a second time; whichever answers first counts."""
        replica = first.arm.replica(besides=self.asked)
        if self.landed or replica is None or first is not self.flying:
            return
        self.recorder.hedged(first.arm)
        self.twin = self.next_try(first.arm)
        replica.send(self.twin, max(0.001, first.arm.budget - self.served.hedge))

    # Returning.

    def returned(self, attempt: Attempt) -> None:
        """A try has ended: whatever came of it, its user gets an answer."""
        try:
            self._returned(attempt)
        except Exception:
            log.exception("the answer of %s could not be read", attempt.arm.release)
            if self.exchange.started:  # no other answer can be given any more
                if not self.exchange.answered:
                    self.exchange.abort()
                return
            attempt.arm.breaker.failed(monotonic())
            self._pass_over(attempt.arm, UNREADABLE)
            self.ask()

    def _returned(self, attempt: Attempt) -> None:
        arm = attempt.arm
        if self.landed:
            if attempt.fault == CANCELLED:
                arm.breaker.released()
            return
        fault, decoded = self._judge(attempt)
        self.hung_up += fault == CLOSED
        if not fault:
            arm.breaker.succeeded()
            self._answer(attempt, decoded)
        elif fault in GONE and self.tried < len(arm.replicas):
            self.ask()  # that replica is gone: ask the arm's next one
        elif self.twin is not None and not (self.twin.finished and self._first_finished()):
            self.recorder.failed(arm, fault)  # its twin may still answer
        else:
            if fault in GONE and arm is self.chain[-1]:
                arm.breaker.released()  # nothing is behind it that would be better left to
            else:
                arm.breaker.failed(monotonic())
            self._pass_over(arm, fault)
            self.ask()

    def _first_finished(self) -> bool:
        return self.flying is None or self.flying.finished

    def _judge(self, attempt: Attempt) -> tuple[str, Any]:
        """What is wrong with an answer, or the answer; a 4xx is the caller's own to read."""
        status = attempt.status
        if status != 200:
            if 400 <= status < 500:
                self.predictions = []
                return "", None
            return attempt.fault or f"status_{status}", None
        try:
            predictions, decoded = self.dialect.predictions(attempt.answer, attempt.headers)
            fault = self.served.check.fault(predictions)
        except ValueError as error:
            return str(error), None
        except RecursionError:
            return "too_deep", None
        if not fault:
            self.predictions = predictions
        return fault, decoded

    def _pass_over(self, arm: ServedArm, fault: str) -> None:
        """The next in the chain is to be asked."""
        self.recorder.failed(arm, fault)
        if not self.reason:
            self.reason = fault
        self.stage += 1
        self.tried = 0
        self.twin = None

    # Answering.

    def _answer(self, attempt: Attempt, decoded: Any) -> None:
        arm, status = attempt.arm, attempt.status
        if arm.prices is not None and status == 200:
            self.cost = cost_of(arm.prices, decoded, monotonic() - attempt.began)
        content_type = attempt.headers.get(b"content-type", b"application/json")
        last_good = self.served.last_good
        if last_good is not None and status == 200:
            key = last_good.key(self.exchange.path, self.exchange.body, self.unit.encode())
            last_good.keep(key, Kept(self.began, attempt.answer, content_type))
        extra = self.dialect.extra_lines(attempt.headers)
        if self.twin is not None:
            self.call_off_others(attempt)
        self.land(status, attempt.answer, content_type, arm.release, extra)

    def call_off_others(self, attempt: Attempt) -> None:
        """One try has answered: the other of a hedged pair is not needed."""
        self.landed = True
        for other in (self.flying, self.twin):
            if other is not None and other is not attempt:
                other.give_up(CANCELLED)

    def _last_resort(self) -> None:
        """A rule, the last good answer, or an honest error."""
        served, model = self.served, self.served.model
        for name in served.policy.fallbacks:
            if name == RULE and served.rule is not None:
                predictions = predict(served.rule, self.rows)
                if predictions is not None:
                    self.predictions = predictions
                    body = self.dialect.answer(predictions, model)
                    self.land(200, body, b"application/json", RULE)
                    return
            elif name == CACHE and served.last_good is not None:
                key = served.last_good.key(
                    self.exchange.path, self.exchange.body, self.unit.encode()
                )
                kept = served.last_good.find(key, self.began)
                if kept is not None:
                    self.land(200, kept.body, kept.content_type, CACHE)
                    return
        self._give_up()

    def _give_up(self) -> None:
        again = monotonic() + AGAIN_SECONDS < self.began + self.arm.budget
        if self.reason in GONE and again and self.hung_up <= 1 and not self.exchange.gone:
            self.stage, self.tried, self.reason = 0, 0, ""
            asyncio.get_running_loop().call_later(AGAIN_SECONDS, self.ask)
            return
        if self.reason == TIMEOUT:
            status, what = 504, "no arm answered within its time budget"
        elif self.reason in (NO_REPLICA, BREAKER_OPEN):
            status, what = 503, "nothing can serve this model now"
        else:
            status, what = 502, "no arm gave a good answer"
        body = problem(f"{what} ({self.reason})", self.served.model, "try again later")
        self.land(status, body, b"application/json", GATEWAY)

    def refuse(self, status: int, what: str) -> None:
        """Refuse the request itself, for the caller's fault: no evidence against an arm."""
        body = problem(what, self.served.model, "mend the request; it was not sent to any arm")
        self.recorder.refused(self.served, status)
        self.land(status, body, b"application/json", GATEWAY)

    def land(
        self, status: int, body: bytes, content_type: bytes, served_by: str, extra: bytes = b""
    ) -> None:
        """Answer the user, then count and log."""
        self.landed = True
        self.served_by = served_by
        self.flying = self.twin = None  # a flight that is its own try would refer to itself
        lines = self.lines(served_by)
        headers = b"".join((lines, b"content-type: ", content_type, b"\r\n", extra))
        self.exchange.respond(status, body, headers)
        self.recorder.landed(self, status)

    def lines(self, served_by: str) -> bytes:
        """The response headers that tell who was asked and who answered, and why not the same."""
        arm, request_id = self.arm, self.id.encode()
        if served_by == arm.release and not self.reason:
            return b"".join((arm.own, b"x-slipway-request-id: ", request_id, b"\r\n"))
        reason = b"x-slipway-fallback: %b\r\n" % self.reason.encode() if self.reason else b""
        return b"%bx-slipway-served-by: %b\r\n%bx-slipway-request-id: %b\r\n" % (
            *(arm.lines, served_by.encode(), reason, request_id),
        )


Attempt = Flight | Try
"""A try: the first is the flight itself."""
