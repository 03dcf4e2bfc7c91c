"""One prediction request through its chain: the assigned arm, stable, the named fallbacks.

Every try is one `Call`; its callback either answers the user or tries the next. A failed arm
costs the user time, never the answer, as long as anything in the chain can give one.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from slipway.serving.content import read_predictions, score_of, single
from slipway.serving.exchange import JSON, Exchange, problem
from slipway.serving.forward import HOP_BY_HOP, TIMEOUT, Call
from slipway.serving.routes import Served, ServedArm

if TYPE_CHECKING:
    from slipway.serving.dispatch import Gateway

_KEPT = 16 * 1024
"""Bytes of request or answer beyond which features and predictions are left out of the log."""


class Flight:
    """One request under way.

    Args:
        slot: the assigned arm's place in the route.
        reason: why the assigned arm may not be asked (``lease_expired``), or empty.
        rows: the request's rows where its shape is known.
    """

    __slots__ = (
        "arm",
        "at",
        "began",
        "call",
        "chain",
        "exchange",
        "gateway",
        "given",
        "head",
        "id",
        "predictions",
        "reason",
        "rows",
        "served",
        "stage",
        "tried",
        "unit",
    )

    def __init__(
        self,
        gateway: Gateway,
        served: Served,
        exchange: Exchange,
        *,
        slot: int,
        unit: str,
        given: bool,
        request_id: str,
        rows: list[Any] | None,
        at: float,
        reason: str,
    ) -> None:
        self.gateway, self.served, self.exchange = gateway, served, exchange
        self.arm = served.arms[slot]
        self.chain = served.chains[slot]
        self.unit, self.given, self.id, self.rows = unit, given, request_id, rows
        self.at, self.reason = at, reason
        self.began = monotonic()
        self.stage = self.tried = 0
        self.predictions: list[Any] = []
        self.call: Call | None = None
        self.head = self._head()

    def _head(self) -> bytes:
        """The request's head as arms get it, without the Host line."""
        lines = [
            b"POST /invocations HTTP/1.1\r\nx-slipway-request-id: %b\r\ncontent-length: %d\r\n"
            % (self.id.encode(), len(self.exchange.body))
        ]
        lines += [
            b"%b: %b\r\n" % pair
            for pair in self.exchange.headers.items()
            if pair[0] not in _WITHHELD
        ]
        return b"".join(lines)

    def fly(self) -> None:
        """Ask the arm whose turn it is; answer honestly when there is none left."""
        while self.stage < len(self.chain):
            replica = self.chain[self.stage].replica()
            if replica is not None:
                self.tried += 1
                call = Call(self.head, self.exchange.body, self._done)
                replica.send(call, self.served.policy.budget_ms / 1000.0)
                return
            self._failed("no_replica")
        self._give_up()

    def _done(self, call: Call) -> None:
        arm = self.chain[self.stage]
        fault = call.fault or self._judge(call)
        if not fault:
            self._answer(call, arm)
        elif call.fault and call.fault != TIMEOUT and self.tried < len(arm.replicas):
            self.fly()  # that replica is gone: ask the arm's next one
        else:
            self._failed(fault)
            self.fly()

    def _judge(self, call: Call) -> str:
        """What is wrong with an answer; a refusal of the request (4xx) is the caller's to read."""
        if call.status >= 500:
            return f"status_{call.status}"
        if call.status != 200:
            return "" if 400 <= call.status < 500 else f"status_{call.status}"
        fault, self.predictions = read_predictions(call.answer, self.served.policy.answer)
        return fault

    def _failed(self, fault: str) -> None:
        arm = self.chain[self.stage]
        self.gateway.count_error(self.served, arm, fault)
        if not self.reason:
            self.reason = fault
        self.stage += 1
        self.tried = 0

    def _answer(self, call: Call, arm: ServedArm) -> None:
        content_type = call.headers.get(b"content-type", b"application/json")
        headers = b"content-type: %b\r\n" % content_type
        self._finish(call.status, call.answer, headers, arm.release)

    def _give_up(self) -> None:
        if self.reason == TIMEOUT:
            status, what = 504, "no arm answered within its time budget"
        elif self.reason == "no_replica":
            status, what = 503, "nothing serves this model now"
        else:
            status, what = 502, "no arm gave a good answer"
        body = problem(f"{what} ({self.reason})", self.served.model, "try again later")
        self._finish(status, body, JSON, "gateway")

    def refuse(self, status: int, what: str) -> None:
        """Refuse the request itself, whatever the arms are."""
        body = problem(what, self.served.model, "see the model's protocol")
        self._finish(status, body, JSON, "gateway")

    def _finish(self, status: int, body: bytes, headers: bytes, served_by: str) -> None:
        arm = self.arm
        fallback = b"x-slipway-fallback: %b\r\n" % self.reason.encode() if self.reason else b""
        headers += (
            b"x-slipway-request-id: %b\r\nx-slipway-release: %b\r\nx-slipway-arm: %b\r\n"
            b"x-slipway-served-by: %b\r\nx-slipway-route: %d\r\n%b"
        ) % (
            self.id.encode(),
            arm.release.encode(),
            arm.name.encode(),
            served_by.encode(),
            self.served.number,
            fallback,
        )
        self.exchange.respond(status, body, headers)
        self.gateway.landed(self, status, served_by, monotonic() - self.began)

    @property
    def features(self) -> Any:
        """What is logged of the request."""
        if self.rows is None or len(self.exchange.body) > _KEPT:
            return None
        return single(self.rows)

    @property
    def prediction(self) -> Any:
        """What is logged of the answer."""
        return single(self.predictions) if 0 < len(self.predictions) <= 1000 else None

    @property
    def score(self) -> float | None:
        """The one prediction, where it is one and a number."""
        return score_of(self.predictions)


_WITHHELD = HOP_BY_HOP | {b"x-slipway-request-id", b"content-length"}
