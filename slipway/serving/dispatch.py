"""Where a request goes: the gateway's paths, and what is made of a prediction request.

The request path imports no store: `slipway.serving.gateway` wires a ledger and an inference log
in.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import monotonic, time
from typing import Any, TypeVar
from urllib.parse import parse_qs, quote

from slipway.serving.access import OVERRIDE
from slipway.serving.content import BadRequestError, Dialect, Scoring
from slipway.serving.content_v2 import OpenInference
from slipway.serving.exchange import JSON, Exchange, problem
from slipway.serving.feedback import Desk
from slipway.serving.flight import Flight
from slipway.serving.pages import Pages
from slipway.serving.recorder import Recorder
from slipway.serving.relay import Relay, pass_lines, read_json_row
from slipway.serving.request_id import Minter
from slipway.serving.routes import Book, Served

Action = Callable[[Exchange, Served], None]
Boarded = TypeVar("Boarded", bound=Flight)


class Gateway:
    """Answers every request that the HTTP module hands it.

    Args:
        book: the routes in force.
        minter: makes and checks request ids.
        recorder: counts and logs.
        desk: takes feedback.
    """

    def __init__(self, book: Book, minter: Minter, recorder: Recorder, desk: Desk) -> None:
        self._book, self._minter, self._recorder, self._desk = book, minter, recorder, desk
        self._pages = Pages(book, recorder.metrics)
        self._scoring, self._v2 = Scoring(), OpenInference()
        self._actions: dict[bytes, tuple[Action, Served]] = {}
        book.changed = self._make_actions

    # Where a request goes.

    def _make_actions(self) -> None:
        actions: dict[bytes, tuple[Action, Served]] = {}
        for model, served in self._book.served.items():
            own, v2 = f"/{quote(model)}", f"/v2/models/{quote(model)}"
            paths: dict[str, Action] = {f"{own}/feedback": self._desk.take}
            if served.policy.protocol == "scoring":
                paths |= {
                    f"{own}/invocations": self._score,
                    f"{v2}/infer": self._infer,
                    **{f"{own}/{name}": self._relay for name in ("ping", "health", "version")},
                    **dict.fromkeys((v2, f"{v2}/ready"), self._relay),
                }
            actions |= {path.encode(): (action, served) for path, action in paths.items()}
        self._actions = actions

    def admit(self, exchange: Exchange) -> None:
        """Set the body limit of the model that a request is for, before its body is read."""
        served = self._served_at(exchange.path)
        if served:
            exchange.limit = served.policy.max_body_bytes

    def _served_at(self, path: bytes) -> Served | None:
        parts = path.decode("latin-1").split("/")
        name = parts[3] if parts[1] == "v2" and len(parts) > 3 else parts[1]
        return self._book.served.get(name)

    def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        found = self._actions.get(exchange.path)
        if found is not None:
            action, served = found
            if served.door.open or self._is_admitted(exchange, served):
                action(exchange, served)
            return
        served_at = self._served_at(exchange.path)
        if served_at is not None and served_at.policy.protocol == "http":
            if self._is_admitted(exchange, served_at):
                self._relay(exchange, served_at)
        else:
            self._pages.show(exchange)

    def _is_admitted(self, exchange: Exchange, served: Served) -> bool:
        if served.door.admits(exchange.headers, monotonic()):
            return True
        self._recorder.refused(served, 401)
        what = problem("a key or a password is needed", served.model, "ask who runs this model")
        exchange.respond(401, what, JSON + b'www-authenticate: Basic realm="slipway"\r\n')
        return False

    # Predictions.

    def _score(self, exchange: Exchange, served: Served) -> None:
        self._fly(exchange, served, self._scoring, b"POST /invocations HTTP/1.1\r\n")

    def _infer(self, exchange: Exchange, served: Served) -> None:
        self._fly(exchange, served, self._v2, b"POST %b HTTP/1.1\r\n" % exchange.path)

    def _fly(self, exchange: Exchange, served: Served, dialect: Dialect, target: bytes) -> None:
        if exchange.method != b"POST":
            exchange.refuse(405, "predictions are posted", served.model, "use POST")
            return
        rows, fault = None, None
        try:
            rows = dialect.rows(exchange.body, exchange.headers)
        except BadRequestError as error:
            fault = error
        flight = self._board(Flight, exchange, served, dialect, rows)
        if fault is None:
            fault = _objection(flight, exchange, served, rows)
        if fault is not None:
            flight.refuse(fault.status, fault.what)
            return
        size, request_id = b"%d" % len(exchange.body), flight.id.encode()
        passed = pass_lines(exchange.headers, served.pass_headers)
        flight.head = b"".join((target, _LENGTH, size, _ID, request_id, b"\r\n", passed))
        flight.ask()

    def _relay(self, exchange: Exchange, served: Served) -> None:
        """Pass a request on as it is."""
        rows, fault = None, None
        try:
            rows = read_json_row(exchange)
        except BadRequestError as error:
            fault = error
        relay = self._board(Relay, exchange, served, self._scoring, rows)
        relay.logged = relay.logged and served.policy.protocol == "http"
        fault = fault or _objection(relay, exchange, served, rows)
        if fault is not None:
            relay.refuse(fault.status, fault.what)
            return
        relay.take_head()
        relay.ask()

    def _board(
        self,
        kind: type[Boarded],
        exchange: Exchange,
        served: Served,
        dialect: Dialect,
        rows: list[Any] | None,
    ) -> Boarded:
        """Give a request its id, its unit and its arm."""
        headers, began, now = exchange.headers, monotonic(), time()
        unit = headers.get(served.unit_header) or _unit(exchange, served, rows)
        if unit and len(unit) <= LONGEST_UNIT:
            place = served.place(unit)
        else:  # not remembered; of one that is too long, enough is read to refuse it
            place = served.work_out(unit[: 4 * LONGEST_UNIT + 4] if unit else _random_unit())
        slot, text, logged, mirrored, bucket = place
        arm, override, reason = served.arms[slot], "", ""
        if OVERRIDE in headers or served.policy.access.allow:
            arm, override = served.override(headers, text if unit else None, now, arm)
        if arm.leased and began >= served.lease_until:
            arm, reason = served.arms[0], "lease_expired"
            self._recorder.lease_out(served)
        self._recorder.in_flight += 1
        return kind(
            self._recorder,
            served,
            exchange,
            dialect,
            rows,
            arm,
            served.chains[arm.name],
            self._minter.mint(served.name, now),
            text,
            now,
            began,
            bool(unit),
            logged,
            mirrored,
            bucket,
            reason,
            override,
            head=b"",
            body=exchange.body,
            limit=served.policy.max_answer_bytes,
        )


_LENGTH = b"content-length: "
_ID = b"\r\nx-slipway-request-id: "


LONGEST_UNIT = 256
"""Characters of a unit: it is kept in memory, and logged with every request."""


def _random_unit() -> bytes:
    return os.urandom(8).hex().encode()


def _objection(
    flight: Flight, exchange: Exchange, served: Served, rows: list[Any] | None
) -> BadRequestError | None:
    """Why a request is refused before any arm sees it."""
    policy, guard = served.policy, served.guard
    if len(flight.unit) > LONGEST_UNIT:
        return BadRequestError(400, f"the unit is over {LONGEST_UNIT} characters")
    if len(exchange.body) > policy.max_body_bytes:
        return BadRequestError(413, f"the body is over {policy.max_body_bytes} bytes")
    if policy.max_rows is not None and rows is not None and len(rows) > policy.max_rows:
        return BadRequestError(413, f"{len(rows)} rows are over the limit of {policy.max_rows}")
    if guard.idle:
        return None
    try:
        guard.check_rate(flight.bucket, flight.began)
        if guard.looks:
            guard.check_rows(rows)
    except BadRequestError as error:
        return error
    return None


def _unit(exchange: Exchange, served: Served, rows: list[Any] | None) -> bytes | None:
    """Who a request is for, where it does not say so in a header."""
    source, name = served.policy.unit.source, served.policy.unit.name
    if source == "header":
        return None
    if source == "query":
        values = parse_qs(exchange.query.decode("latin-1")).get(name)
        return values[0].encode() if values else None
    if source == "cookie":
        return _cookie(exchange.headers.get(b"cookie", b""), name.encode())
    first = rows[0] if rows else None
    found = first.get(name) if isinstance(first, dict) else None
    return None if found is None else str(found).encode()


def _cookie(header: bytes, name: bytes) -> bytes | None:
    for part in header.split(b";"):
        key, _, value = part.strip().partition(b"=")
        if key == name:
            return value
    return None
