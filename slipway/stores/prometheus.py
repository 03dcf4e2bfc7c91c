"""Metrics that live in a Prometheus: range queries, one value per arm and window.

What comes back are aggregates of many requests, so the window is the unit: nothing is known of
users, and a sample-ratio mismatch cannot be seen. Windows that resemble their neighbours tell less
than they seem to; ``resemblance`` measures that, and who reads them has to act on it.
"""

from __future__ import annotations

import http.client
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
ANSWERED = (200, 400, 422)
"""What the API answers with: results, bad parameters, a query that cannot be worked out."""


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
        UsageError: the server does not answer, is no Prometheus or refuses, or its series are not
            numbers of one arm each.

    Source: https://prometheus.io/docs/prometheus/latest/querying/api/#range-queries
    """
    asked = {"query": query, "start": repr(start), "end": repr(end), "step": repr(step)}
    place = _place(url)
    answer = _get(f"{url.rstrip('/')}/api/v1/query_range?{urllib.parse.urlencode(asked)}", place)
    try:
        if answer["status"] == "error":
            raise UsageError(
                f"Prometheus refuses the query: {answer['error']}",
                where=query,
                do="mend the query",
            )
        return _by_arm(answer["data"], query)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UsageError(
            f"the server answers, but not as Prometheus answers a range query: {answer!r:.80}",
            where=place,
            do="see that the address is a Prometheus's, up to what comes before /api/v1",
        ) from error


def _by_arm(data: Any, query: str) -> dict[str, dict[float, float]]:
    """The series of an answer; one in another form than documented ends in what Python raises."""
    if data["resultType"] != "matrix":
        raise ValueError(data["resultType"])
    found: dict[str, dict[float, float]] = {}
    for series in data["result"]:
        arm = series["metric"].get(ARM, "")
        if "histograms" in series:
            raise UsageError(
                "the query gives native histograms, which are no numbers",
                where=query,
                do="make a number of each window's, such as by histogram_quantile(0.9, ...)",
            )
        if not arm or arm in found:
            raise UsageError(
                f"the query gives {'several series of one arm' if arm else 'a series without arm'}",
                where=query,
                do=f"give one series per arm, such as 'sum by ({ARM}) (...)'",
            )
        if not isinstance(arm, str):
            raise TypeError(arm)
        numbers = {float(at): float(value) for at, value in series["values"]}
        found[arm] = {at: value for at, value in numbers.items() if math.isfinite(value)}
    return found


def _place(url: str) -> str:
    """A server's address, without the password that may be in it."""
    try:
        server = urllib.parse.urlsplit(url)
        fit = server.scheme in ("http", "https") and server.hostname and server.port != 0
    except ValueError:  # brackets without an end, a port beyond 65535
        fit = False
    if not fit or len(url.split()) != 1:
        raise UsageError(
            "a Prometheus is asked over http or https, and this is no such address",
            where=url,
            do="give one such as http://127.0.0.1:9090",
        )
    return f"{server.scheme}://{server.netloc.rpartition('@')[2]}"


def _get(address: str, place: str) -> Any:
    """What the server answers, whether it grants the query or refuses it."""
    status = 200
    try:
        try:
            reply = urllib.request.urlopen(address, timeout=TIMEOUT_SECONDS)  # noqa: S310
        except urllib.error.HTTPError as error:
            reply, status = error, error.code
        with reply:
            body = reply.read(MOST_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise _ill(f"does not answer: {reason or type(error).__name__}", place) from error
    if len(body) > MOST_BYTES:
        raise UsageError("too long an answer", where=place, do="give a longer --step")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = body[:80].decode(errors="replace")
    if status not in ANSWERED:
        told = answer.get("error", "") if isinstance(answer, Mapping) else ""
        raise _ill(f"answers with status {status}{': ' if told else ''}{told}", place)
    return answer


def _ill(what: str, place: str) -> UsageError:
    return UsageError(
        f"Prometheus {what}", where=place, do="see that it runs, and that the address is right"
    )


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
