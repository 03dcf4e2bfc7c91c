"""Metrics that live in a Prometheus: range queries, one value per arm and window.

What comes back are aggregates of many requests, so the window is the unit: nothing is known of
users, and a sample-ratio mismatch cannot be seen. Windows that resemble their neighbours tell less
than they seem to; ``resemblance`` measures that, and who reads them has to act on it.
"""

from __future__ import annotations

import itertools
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from slipway.errors import UsageError

TIMEOUT_SECONDS = 30.0
MOST_BYTES = 64 * 1024 * 1024
ARM = "arm"


def query_range(
    url: str, query: str, *, start: float, end: float, step: float
) -> dict[str, dict[float, float]]:
    """Arm name to its values by the time of their window's end.

    Values that are no finite number are left out: Prometheus gives NaN for 0/0, a window without
    traffic.

    Args:
        url: of the server, such as ``http://127.0.0.1:9090``.
        query: PromQL that gives one series per arm, told apart by the label ``arm``.
        start, end: seconds since 1970, both included.
        step: seconds between two windows; the query's own range should be no longer.

    Raises:
        UsageError: the server does not answer or refuses, or its series are not one per arm.

    Source: https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
    """
    asked = {"query": query, "start": repr(start), "end": repr(end), "step": repr(step)}
    answer = _get(f"{url.rstrip('/')}/api/v1/query_range?{urllib.parse.urlencode(asked)}", query)
    found: dict[str, dict[float, float]] = {}
    for series in answer["data"]["result"]:
        arm = series["metric"].get(ARM)
        if arm is None or arm in found:
            raise UsageError(
                f"the query gives {'several series of one arm' if arm else 'a series without arm'}",
                where=query,
                do=f"give one series per arm, such as 'sum by ({ARM}) (...)'",
            )
        numbers = {float(at): float(value) for at, value in series["values"]}
        found[arm] = {at: value for at, value in numbers.items() if math.isfinite(value)}
    return found


def _get(address: str, query: str) -> Any:
    server = urllib.parse.urlsplit(address)
    if server.scheme not in ("http", "https"):
        raise UsageError(
            "a Prometheus is asked over http or https",
            where=address.partition("/api/")[0],
            do="give an address such as http://127.0.0.1:9090",
        )
    place = f"{server.scheme}://{server.netloc.rpartition('@')[2]}"
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS) as reply:  # noqa: S310
            body = reply.read(MOST_BYTES + 1)
        answer = json.loads(body) if len(body) <= MOST_BYTES else {"error": "too long an answer"}
    except urllib.error.HTTPError as error:
        answer = _refusal(error)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"Prometheus does not answer: {getattr(error, 'reason', error)}",
            where=place,
            do="see that it runs, and that the address is right",
        ) from error
    if not isinstance(answer, Mapping) or answer.get("status") != "success":
        told = answer.get("error", answer) if isinstance(answer, Mapping) else answer
        raise UsageError(f"Prometheus refuses the query: {told}", where=query, do="mend the query")
    return answer


def _refusal(error: urllib.error.HTTPError) -> Any:
    """What a status of 400 and above says, in Prometheus's own words where it has some."""
    try:
        return json.loads(error.read(MOST_BYTES))
    except ValueError:
        return {"error": f"status {error.code}"}


def resemblance(values: Mapping[float, float]) -> float:
    """The correlation of neighbouring windows' values (lag 1), and 0 where it says nothing.

    Of independent windows it stays within two or three over the root of their number.
    """
    listed = [values[at] for at in sorted(values)]
    mean = math.fsum(listed) / len(listed) if listed else 0.0
    spread = math.fsum((x - mean) ** 2 for x in listed)
    if spread <= 0.0:
        return 0.0
    pairs = itertools.pairwise(listed)
    return math.fsum((x - mean) * (y - mean) for x, y in pairs) / spread
