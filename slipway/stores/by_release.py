"""What each release did lately, from the inference log: requests, latency, errors and cost.

python -m slipway.stores.by_release DIR [HOURS]
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass

from slipway.stores.inference_log import open_log

_QUERY = """
SELECT model, arm, release, count(*),
       quantile_cont(latency_ms, [0.5, 0.95, 0.99]),
       count(*) FILTER (NOT ok) / count(*),
       sum(cost), count(*) FILTER (cost IS NULL)
FROM requests WHERE "at" >= $since AND "at" < $until
GROUP BY ALL ORDER BY model, arm, release
"""


@dataclass(frozen=True, slots=True)
class Lately:
    """What one release did in one arm of one model.

    Args:
        requests: assigned to it, or mirrored to it.
        p50_ms, p95_ms, p99_ms: exact quantiles of their latency, as users had it.
        errors: the share of them that it did not answer well itself, 0 to 1.
        cost: the sum of what is known, in the currency of the prices; None where none is.
        unknown: requests whose cost is not known.
    """

    model: str
    arm: str
    release: str
    requests: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: float
    cost: float | None
    unknown: int


def by_release(folder: str | os.PathLike[str], since: float, until: float) -> list[Lately]:
    """What every release did from ``since`` until before ``until``, seconds since 1970 UTC.

    Only the files that may hold rows of that time are read.
    """
    with open_log(folder, since) as db:
        rows = db.execute(_QUERY, {"since": since, "until": until}).fetchall()
    return [Lately(*row[:4], *row[4], *row[5:]) for row in rows]


def _line(one: Lately) -> str:
    known = "unknown" if one.cost is None else f"{one.cost:.6g}"
    cost = f"{known} (and {one.unknown} unknown)" if one.cost is not None and one.unknown else known
    return (
        f"{one.model}  {one.arm}  {one.release[:19]}  {one.requests} requests  "
        f"p50 {one.p50_ms:.2f} ms  p95 {one.p95_ms:.2f} ms  p99 {one.p99_ms:.2f} ms  "
        f"errors {one.errors:.3%}  cost {cost}\n"
    )


def main(arguments: list[str]) -> int:
    """Show the last hour, or the last so many hours."""
    try:
        folder, hours = (*arguments, "1")[:2]
        seconds = 3600.0 * float(hours)
    except ValueError:
        sys.stderr.write("usage: python -m slipway.stores.by_release DIR [HOURS]\n")
        return 2
    now = time.time()
    for one in by_release(folder, now - seconds, now):
        sys.stdout.write(_line(one))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
