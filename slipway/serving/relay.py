"""What is passed on as it is: any HTTP service behind the gateway, streams included; and mirrors.

A relayed answer goes to the user as it comes, so only what happens before its first byte can still
be answered by another arm. An answer that breaks off later is cut off for the user too, and counts
against the arm.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

import msgspec

from slipway.serving.content import BadRequestError
from slipway.serving.exchange import Exchange
from slipway.serving.flight import Attempt, Flight, Try
from slipway.serving.forward import CANCELLED, Call
from slipway.serving.prices import cost_of
from slipway.serving.routes import ServedArm

HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"content-length", b"host", b"expect"),
    )
)
"""Headers that belong to one connection (RFC 9110, 7.6.1), or that are written anew for each."""

_OURS = frozenset((b"x-slipway-override", b"x-slipway-request-id"))
_CREDENTIALS = frozenset((b"authorization", b"x-api-key"))
_TAIL_BYTES = 16 * 1024
"""Of a streamed answer's end, where an LLM's service tells the tokens used."""

_decode = msgspec.json.Decoder().decode


def pass_lines(headers: dict[bytes, bytes], passed: tuple[bytes, ...]) -> bytes:
    """The lines of those of a request's headers that are passed on to a model."""
    lines = b""
    for name in passed:
        if name in headers:
            lines += b"%b: %b\r\n" % (name, headers[name])
    return lines


def end_to_end(headers: dict[bytes, bytes], dropped: frozenset[bytes]) -> bytes:
    """The lines of all headers but those that belong to one connection, and some more."""
    nominated = {
        name.strip().lower() for name in headers.get(b"connection", b"").split(b",") if name
    }
    return b"".join(
        [
            b"%b: %b\r\n" % pair
            for pair in headers.items()
            if pair[0] not in HOP_BY_HOP and pair[0] not in dropped and pair[0] not in nominated
        ]
    )


def read_json_row(exchange: Exchange) -> list[Any] | None:
    """A JSON body as the one row that guards look at and the log keeps; None for another body.

    Raises:
        BadRequestError: it says that it is JSON, and is not.
    """
    if not exchange.body or b"json" not in exchange.headers.get(b"content-type", b""):
        return None
    try:
        value = _decode(exchange.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequestError(400, f"the body is not JSON: {error}") from error
    return [value] if isinstance(value, dict) else None


class RelayTry(Try):
    """A try whose answer is passed on as it comes, once its head is good."""

    flight: Relay
    relaying: bool = False
    progressed: bool = True
    held: bool = False
    tail: bytes = b""

    def begin(self, status: int, headers: dict[bytes, bytes]) -> None:
        """Pass the head on, unless the arm has failed."""
        super().begin(status, headers)
        if status < 500:
            self.relaying = True
            self.flight.begin_answer(self)

    def whole(self, status: int, headers: dict[bytes, bytes], answer: bytes) -> None:
        """Pass it on as any other."""
        self.begin(status, headers)
        self.receive(answer)
        if not self.finished:
            self.complete()

    def receive(self, chunk: bytes) -> None:
        """Pass a part on."""
        if not self.relaying:
            super().receive(chunk)
            return
        self.progressed = True
        self.tail = (self.tail + chunk)[-_TAIL_BYTES:]
        self.flight.exchange.write(chunk)

    def complete(self) -> None:
        """The answer has been passed on whole."""
        if not self.relaying:
            super().complete()
            return
        self.finished = True
        self.connection = None
        self.flight.end_answer(self)

    def late(self) -> None:
        """Once the answer has begun, the budget counts anew with every part of it.

        While a slow user holds the arm back, that is not the arm's time.
        """
        if not (self.relaying and (self.progressed or self.held)):
            super().late()
            return
        self.progressed = False
        self.flight.served.deadlines.add(self, self.arm.budget)


class Relay(Flight):
    """One request that is passed on."""

    begun: RelayTry | None = None

    def take_head(self) -> None:
        """Write the head that arms get."""
        exchange, served = self.exchange, self.served
        prefix = f"/{served.model}".encode()
        path = exchange.path[len(prefix) :] if exchange.path.startswith(prefix) else exchange.path
        target = path + (b"?" + exchange.query if exchange.query else b"")
        dropped = _OURS if served.door.open else _OURS | _CREDENTIALS
        length = b"content-length: %d\r\n" % len(exchange.body) if exchange.body else b""
        self.head = b"%b %b HTTP/1.1\r\n%bx-slipway-request-id: %b\r\n%b" % (
            exchange.method,
            target or b"/",
            length,
            self.id.encode(),
            end_to_end(exchange.headers, dropped),
        )

    def first_try(self) -> Attempt:
        """A try that streams, as all of them."""
        return self.next_try(self.arm)

    def next_try(self, arm: ServedArm) -> Try:
        """A try that streams."""
        now = monotonic()
        return RelayTry(self, arm, now, head=self.head, body=self.body, limit=self.limit)

    def begin_answer(self, attempt: RelayTry) -> None:
        """The user's answer begins: from here on no other arm can give it."""
        self.begun = attempt
        self.call_off_others(attempt)
        exchange, headers = self.exchange, attempt.headers
        length = headers.get(b"content-length")
        exchange.on_gone = lambda: attempt.give_up(CANCELLED)
        exchange.on_flow = lambda going: _flow(attempt, going)
        lines = self.lines(attempt.arm.release) + end_to_end(headers, _DATED)
        exchange.start(attempt.status, lines, None if length is None else int(length))

    def end_answer(self, attempt: RelayTry) -> None:
        """The answer is whole."""
        attempt.arm.breaker.succeeded()
        self.exchange.end()
        self._settle(attempt)

    def returned(self, attempt: Attempt) -> None:
        """A try has ended without an answer, or its answer has broken off."""
        if self.begun is not attempt:
            super().returned(attempt)
            return
        if attempt.fault == CANCELLED:  # the user has left: nobody's fault
            attempt.arm.breaker.released()
        else:
            attempt.arm.breaker.failed(monotonic())
            self.recorder.failed(attempt.arm, f"broken_off_{attempt.fault}")
            self.reason = self.reason or "broken_off"
            self.exchange.abort()
        self.landed = True
        self.served_by = attempt.arm.release
        self.recorder.landed(self, 499 if attempt.fault == CANCELLED else 502)

    def _settle(self, attempt: RelayTry) -> None:
        self.landed = True
        self.served_by = attempt.arm.release
        answer = _last_json(attempt.tail)
        if self.arm.prices is not None:
            self.cost = cost_of(attempt.arm.prices, answer, monotonic() - attempt.began)
        self.predictions = [answer] if answer is not None else []
        self.recorder.landed(self, attempt.status if attempt.status >= 200 else 502)


_DATED = frozenset((b"date", b"server"))


def _flow(attempt: RelayTry, going: bool) -> None:
    """Hold the arm back while the user falls behind."""
    attempt.held, attempt.progressed = not going, True
    if attempt.connection is not None:
        transport = attempt.connection.transport
        transport.resume_reading() if going else transport.pause_reading()


def _last_json(tail: bytes) -> Any:
    """The JSON answer, or the last JSON event of a stream (``data: {...}``); None without one."""
    events = [line[5:].strip() for line in tail.splitlines() if line.startswith(b"data:")]
    for text in reversed(events or [tail]):
        try:
            value = _decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # such as the closing [DONE]
        if isinstance(value, dict):
            return value
    return None


class Mirror(Call):
    """A copy of an answered request, sent to the shadow: nobody waits for it."""

    flight: Flight
    arm: ServedArm
    began: float

    @classmethod
    def fly(cls, flight: Flight) -> None:
        """Mirror a request, unless too many are under way or nothing serves the shadow.

        A shadow whose lease is out gets no more.
        """
        served, shadow = flight.served, flight.served.shadow
        if shadow is not None and shadow.leased and flight.began >= served.lease_until:
            return
        replica = shadow.replica() if shadow else None
        if shadow is None or replica is None or shadow.mirrors >= served.policy.shadow_in_flight:
            flight.recorder.mirror_skipped(served)
            return
        shadow.mirrors += 1
        limit, now = served.policy.max_answer_bytes, monotonic()
        mirror = cls(flight, shadow, now, head=flight.head, body=flight.body, limit=limit)
        replica.send(mirror, shadow.budget)

    def done(self) -> None:
        """Log the shadow's answer, for comparison by request id."""
        self.arm.mirrors -= 1
        fault, predictions = self._judge()
        self.flight.recorder.mirrored(self, fault, predictions)

    def _judge(self) -> tuple[str, list[Any]]:
        if self.status != 200:
            return self.fault or f"status_{self.status}", []
        if self.flight.served.policy.protocol == "http":
            answer = _last_json(self.answer)
            return "", [] if answer is None else [answer]
        try:
            predictions, _ = self.flight.dialect.predictions(self.answer, self.headers)
        except ValueError as error:
            return str(error), []
        return self.flight.served.check.fault(predictions), predictions
