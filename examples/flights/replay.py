"""Replays real flights as live traffic: each is asked about, and its true outcome comes later.

    python examples/flights/replay.py --gateway http://127.0.0.1:8700 \\
        --from 2013-04-16 --until 2013-05-22 --rate 600 --summary summary.json

One request per flight, in order of scheduled departure, at a fixed rate by the clock; the unit is
the aircraft. Cancelled flights are asked about too, and no outcome ever comes for them. SIGTERM or
Ctrl-C stops the sending; outcomes still owed are delivered, and the summary is written.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import data
import pandas as pd

FEATURES = [
    *("carrier", "origin", "dest", "weekday", "sched_dep_minute", "sched_arr_minute", "distance"),
    *("hour_departures", "airport_delay"),
    *("temp", "humid", "wind_speed", "precip", "pressure", "visib"),
]
CONNECTIONS = 32
FEEDBACK_SECONDS = 0.25
GIVE_UP_SECONDS = 30.0


@dataclass(slots=True)
class Flight:
    """A flight ready to be sent: when it departs, its aircraft, its request, and its truth."""

    departs: str
    unit: str
    body: bytes
    late: int | None


@dataclass(slots=True)
class Tally:
    """What has been sent and what came back."""

    statuses: Counter[str] = field(default_factory=Counter)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    units: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    outcomes: Counter[str] = field(default_factory=Counter)
    owed: deque[tuple[float, str, int]] = field(default_factory=deque)
    last_time: str = ""
    behind: float = 0.0
    stopped: bool = False
    all_sent: bool = False

    def stop(self, *_: object) -> None:
        """Send no more flights."""
        self.stopped = True

    def summary(self, seconds: float) -> dict[str, Any]:
        """All of it as plain values."""
        served = [
            {"release": release, "arm": arm, "requests": n, "units": len(self.units[release, arm])}
            for (release, arm), n in self.requests.items()
        ]
        return {
            "requests": self.statuses.total(),
            "units": len(set().union(*self.units.values())),
            "statuses": dict(self.statuses),
            "errors": sum(n for status, n in self.statuses.items() if status != "200"),
            "served": served,
            "outcomes": dict(self.outcomes),
            "last_time": self.last_time,
            "stopped": self.stopped,
            "seconds": round(seconds, 3),
            "behind_seconds": round(self.behind, 3),
        }


def prepared(since: str, until: str) -> list[Flight]:
    """The flights of a time range in order of departure (UTC), with their requests written out."""
    bounds = [pd.Timestamp(moment) for moment in (since, until)]
    bounds = [b.tz_localize("UTC") if b.tz is None else b for b in bounds]
    rows = data.timetable(*bounds).sort_values(["departs", "tailnum", "carrier", "dest"])
    features = rows[FEATURES].astype(object).where(rows[FEATURES].notna(), None)
    return [
        Flight(
            departs.isoformat(),
            unit,
            json.dumps({"dataframe_records": [record]}).encode(),
            None if pd.isna(late) else int(late),
        )
        for departs, unit, late, record in zip(
            rows["departs"],
            rows["tailnum"],
            rows["late"],
            features.to_dict("records"),
            strict=True,
        )
    ]


class Line:
    """One kept-open connection to the gateway, opened again when it breaks."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes, unit: str = "") -> tuple[int, dict[str, str]]:
        """Post JSON; the status and headers of the answer.

        Raises:
            OSError, EOFError: the gateway cannot be reached or hung up.
        """
        try:
            async with asyncio.timeout(GIVE_UP_SECONDS):  # its TimeoutError is an OSError
                return await self._exchange(path, body, unit)
        except (OSError, EOFError):
            self.close()
            raise

    async def _exchange(self, path: str, body: bytes, unit: str) -> tuple[int, dict[str, str]]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address)
        reader, writer = self._streams
        header = f"x-slipway-unit: {unit}\r\n" if unit else ""
        writer.write(
            f"POST {path} HTTP/1.1\r\nhost: {self._address[0]}\r\n{header}"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
        await reader.readexactly(int(headers["content-length"]))
        return int(first.split(" ", 2)[1]), headers

    def close(self) -> None:
        """Hang up."""
        if self._streams:
            self._streams[1].close()
        self._streams = None


async def replay(flights: list[Flight], options: argparse.Namespace, tally: Tally) -> float:
    """Send all flights at their rate and their outcomes after them; the seconds that it took."""
    address = urlsplit(options.gateway)
    lines = [Line(address.hostname or "", address.port or 80) for _ in range(CONNECTIONS + 1)]
    started = time.monotonic()
    due = ((started + n / options.rate, flight) for n, flight in enumerate(flights))
    outcomes = asyncio.create_task(_outcomes(lines[-1], options, tally))
    senders = [_sender(line, due, options, tally) for line in lines[:-1]]
    await asyncio.gather(*senders)
    tally.all_sent = True
    await outcomes
    for line in lines:
        line.close()
    return time.monotonic() - started


async def _sender(line: Line, due: Any, options: argparse.Namespace, tally: Tally) -> None:
    """Take the next flight, wait for its time, ask, and note what came back."""
    for when, flight in due:
        while (wait := when - time.monotonic()) > 0 and not tally.stopped:
            await asyncio.sleep(min(wait, 0.1))
        if tally.stopped:
            return
        tally.behind = max(tally.behind, -wait)
        tally.last_time = max(tally.last_time, flight.departs)
        await _ask(line, flight, options, tally)


async def _ask(line: Line, flight: Flight, options: argparse.Namespace, tally: Tally) -> None:
    try:
        path = f"/{options.model}/invocations"
        status, headers = await line.post(path, flight.body, flight.unit)
    except (OSError, EOFError) as error:
        tally.statuses[type(error).__name__] += 1
        return
    tally.statuses[str(status)] += 1
    arm = (headers.get("x-slipway-release", ""), headers.get("x-slipway-arm", ""))
    tally.requests[arm] += 1
    tally.units[arm].update({flight.unit} - {""})
    if status == 200 and flight.late is not None:
        when = time.monotonic() + options.outcome_after
        tally.owed.append((when, headers["x-slipway-request-id"], flight.late))


async def _outcomes(line: Line, options: argparse.Namespace, tally: Tally) -> None:
    """Deliver the true outcomes, each some seconds after its answer, many at a time."""
    path = f"/{options.model}/feedback"
    while tally.owed or not tally.all_sent:
        await asyncio.sleep(FEEDBACK_SECONDS)
        now, batch = time.monotonic(), []
        while tally.owed and (tally.owed[0][0] <= now or tally.stopped):
            _, request_id, late = tally.owed.popleft()
            batch.append({"request_id": request_id, "kind": "label", "value": late})
        if batch:
            await _deliver(line, path, json.dumps(batch).encode(), len(batch), tally)


async def _deliver(line: Line, path: str, body: bytes, count: int, tally: Tally) -> None:
    try:
        status, _ = await line.post(path, body)
        tally.outcomes[str(status)] += count
    except (OSError, EOFError) as error:
        tally.outcomes[type(error).__name__] += count


def main() -> None:
    """Read the command line, replay, and write the summary."""
    parser = argparse.ArgumentParser(description="Replay real flights as live traffic.")
    parser.add_argument("--gateway", required=True, help="such as http://127.0.0.1:8700")
    parser.add_argument("--model", default="flights")
    parser.add_argument("--from", dest="since", required=True, help="first departure, UTC")
    parser.add_argument("--until", required=True, help="first departure left out, UTC")
    parser.add_argument("--rate", type=float, default=600.0, help="requests per second")
    parser.add_argument("--outcome-after", type=float, default=2.0, help="seconds after the answer")
    parser.add_argument("--summary", type=Path, help="where to write the summary as JSON")
    parser.add_argument(
        "--when-told", action="store_true", help="prepare, then wait for a line on standard input"
    )
    options = parser.parse_args()
    tally = Tally()
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, tally.stop)
    flights = prepared(options.since, options.until)
    if options.when_told and not sys.stdin.readline():
        return  # whoever was to tell us is gone
    seconds = asyncio.run(replay(flights, options, tally))
    told = json.dumps(tally.summary(seconds), indent=1)
    if options.summary:
        options.summary.write_text(told)
    else:
        print(told)  # noqa: T201 - a script's answer


if __name__ == "__main__":
    main()
