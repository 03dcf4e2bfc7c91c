"""What a gateway's supervisor and its workers tell each other, over a pair of sockets.

The supervisor sends routes and renewals of leases; a worker says where it listens and which routes
it serves. One message is one line of JSON. Times are of the monotonic clock, which all processes
of a machine share. The end of the stream means that the other side has died.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

from slipway.routing import Lease, Route, RouteTable

Message = dict[str, Any]


class Lines:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


def send(end: socket.socket, message: Message) -> None:
    """Send a message; a dead receiver is noticed when its stream ends, not here."""
    try:
        end.sendall(json.dumps(message).encode() + b"\n")
    except (BrokenPipeError, ConnectionResetError):
        return


def route_message(route: Route, until: float) -> Message:
    """A route, and when its lease runs out."""
    lease = route.lease
    return {
        "route": route.table.record(),
        "endpoints": {release: list(ends) for release, ends in route.endpoints.items()},
        "lease": [lease.route, lease.renewal, lease.at, lease.seconds] if lease else None,
        "until": until,
    }


def read_route(message: Message) -> tuple[Route, float]:
    """Read such a message back."""
    lease = Lease(*message["lease"]) if message["lease"] else None
    endpoints = {release: tuple(ends) for release, ends in message["endpoints"].items()}
    return Route(RouteTable.from_record(message["route"]), endpoints, lease), message["until"]
