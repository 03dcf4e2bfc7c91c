"""Ask a running bundle, as a user's request would."""

from __future__ import annotations

import http.client
import json
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.daemon import Daemon
from slipway.errors import ExpectationError, RuntimeFailure
from slipway.expectations import FixedSet
from slipway.spec import Spec

BATCH = 500
TIMED_REQUESTS = 300


def largest_gap(answers: Sequence[float], expected: Sequence[float]) -> float:
    """The largest difference between two lists of as many scores; infinite where one is NaN."""
    gaps = [abs(a - b) for a, b in zip(answers, expected, strict=True)]
    return max(math.inf if math.isnan(gap) else gap for gap in gaps)


@dataclass(frozen=True, slots=True)
class FixedRows:
    """The fixed dataset as requests.

    Args:
        requests: one mapping of feature to value per row; None where it is missing.
        truth: the target per row.
        columns: every column as text, for slices.
    """

    requests: list[dict[str, Any]]
    truth: list[float]
    columns: dict[str, list[str]]


def fixed_rows(fixed_set: FixedSet, spec: Spec) -> FixedRows:
    """Read the fixed dataset.

    Raises:
        ExpectationError: it lacks a feature or the target, or has another number of rows.
    """
    from slipway.child import frame, table

    kinds = {f.name: f.kind for f in spec.data.features}
    read = table.read(fixed_set.path, kinds)
    lacking = [c for c in (*kinds, spec.data.target) if c not in read.columns]
    if lacking or len(read) != fixed_set.rows:
        problem = f"lacks {', '.join(lacking)}" if lacking else f"has {len(read)} rows"
        raise ExpectationError(
            f"the fixed dataset {problem}",
            where=str(fixed_set.path),
            do=f"it needs every feature, the target, and its {fixed_set.rows} frozen rows",
        )
    rows = frame.coerce(read, kinds, str(fixed_set.path)).to_dict("records")
    requests = [{str(k): _plain(v) for k, v in row.items()} for row in rows]
    columns = {str(name): read[name].astype(str).tolist() for name in read.columns}
    return FixedRows(requests, read[spec.data.target].astype(float).tolist(), columns)


def _plain(value: Any) -> Any:
    """A value as a client would send it: missing is null."""
    if isinstance(value, float) and math.isnan(value):
        return None
    return value if value != "" else None


class Client:
    """One kept connection to a model server."""

    def __init__(self, endpoint: str) -> None:
        host, port = endpoint.rsplit(":", 1)
        self.endpoint = endpoint
        self._http = http.client.HTTPConnection(host, int(port), timeout=30.0)

    def answers(self, rows: Sequence[Mapping[str, Any]]) -> list[float] | None:
        """One number per row; None where the request was refused as the caller's fault.

        Raises:
            RuntimeFailure: the server failed, or answered with what is no prediction.
        """
        body = json.dumps({"dataframe_records": list(rows)})
        self._http.request("POST", "/invocations", body, {"content-type": "application/json"})
        response = self._http.getresponse()
        said = response.read()
        if 400 <= response.status < 500:
            return None
        try:
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            return [float(p) for p in json.loads(said)["predictions"]]
        except (ValueError, KeyError, TypeError) as error:
            raise RuntimeFailure(
                f"the bundle does not answer as it must: {error}: {said[:200]!r}",
                where=self.endpoint,
                do="see the bundle's log",
            ) from error

    def all(self, rows: Sequence[Mapping[str, Any]]) -> list[float]:
        """One number per row, in batches.

        Raises:
            RuntimeFailure: a batch was refused.
        """
        found: list[float] = []
        for start in range(0, len(rows), BATCH):
            batch = self.answers(rows[start : start + BATCH])
            if batch is None:
                raise RuntimeFailure(
                    f"rows {start} to {start + BATCH} of the fixed dataset were refused",
                    where=self.endpoint,
                    do="the signature and the fixed dataset do not fit together",
                )
            found += batch
        return found

    def p99_ms(self, rows: Sequence[Mapping[str, Any]]) -> float:
        """The 99th percentile of single requests' wall time, in milliseconds."""
        taken: list[float] = []
        for number in range(TIMED_REQUESTS):
            started = time.perf_counter()
            self.answers([rows[number % len(rows)]])
            taken.append((time.perf_counter() - started) * 1e3)
        return sorted(taken)[int(0.99 * len(taken))]

    def memory_mb(self) -> float:
        """Mebibytes of memory that the server holds, by its own word.

        Raises:
            RuntimeFailure: it does not tell.
        """
        self._http.request("GET", "/memory")
        response = self._http.getresponse()
        said = response.read()
        try:
            return float(json.loads(said)["bytes"]) / (1 << 20)
        except (ValueError, KeyError, TypeError) as error:
            raise RuntimeFailure(
                f"it does not tell its memory: {response.status} {said[:200]!r}",
                where=self.endpoint,
                do="see the bundle's log",
            ) from error

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


@contextmanager
def serving(bundle: Path, announcement: Path) -> Iterator[Client]:
    """A bundle's own server, for the length of a block."""
    daemon = Daemon("the bundle's server", announcement, "/ping")
    command = [sys.executable, "-P", str(bundle / "serve.py"), "--host", "127.0.0.1", "--port", "0"]
    environ = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    child = daemon.spawn(command, environ)
    try:
        client = Client(daemon.wait(child))
        try:
            yield client
        finally:
            client.close()
    finally:
        daemon.stop()
