"""Counters and histograms for Prometheus, right over several processes, cheap on every request.

All workers of a gateway share one mapped memory, a region each. A series is a few cells (doubles)
of its worker's region: counting is one addition, and no lock is needed, since only its own worker
writes to a region. Whichever worker is scraped adds all regions up. A worker that takes the place
of a dead one goes on with its region, so that counters never go back.

The text format is Prometheus's 0.0.4.
"""

from __future__ import annotations

import json
import logging
import mmap
import struct
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

log = logging.getLogger(__name__)

BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of the latency histogram in seconds: fit for a p99 of 1 ms to 10 s."""

_CELLS = len(BUCKETS) + 2  # one per bucket, one beyond, the sum


@dataclass(frozen=True, slots=True)
class Family:
    """All series of one name.

    Args:
        kind: ``counter``, ``gauge`` or ``histogram``.
        help: what it is.
        highest: whether workers are not added up: the highest value of any counts.
    """

    name: str
    kind: str
    help: str
    highest: bool = False


_FAMILIES = {
    f.name: f
    for f in (
        Family("slipway_request_seconds", "histogram", "From a request to its answer"),
        Family("slipway_requests_total", "counter", "Requests by assigned arm and status class"),
        Family("slipway_errors_total", "counter", "Failures of an arm by kind"),
        Family("slipway_fallbacks_total", "counter", "Requests not answered by their arm"),
        Family("slipway_refusals_total", "counter", "Requests refused before any arm, by reason"),
        Family("slipway_shadow_total", "counter", "Requests mirrored, by outcome"),
        Family("slipway_hedges_total", "counter", "Second tries of a slow arm"),
        Family("slipway_cost_total", "counter", "Known cost, in the currency of the prices"),
        Family("slipway_cost_unknown_total", "counter", "Answers whose cost is not known"),
        Family("slipway_in_flight", "gauge", "Requests being answered"),
        Family("slipway_breaker_state", "gauge", "0 closed, 1 half-open, 2 open", highest=True),
        Family("slipway_lease_seconds_left", "gauge", "Of the leased arms' lease", highest=True),
        Family("slipway_lease_expiries_total", "counter", "Requests whose arm's lease was out"),
        Family("slipway_route_number", "gauge", "The route table in force", highest=True),
        Family("slipway_log_rows_dropped_total", "counter", "Rows that the disk did not take"),
        Family("slipway_feedback_total", "counter", "Feedback received by kind and outcome"),
        Family("slipway_ledger_failures_total", "counter", "Times the ledger could not be read"),
    )
}

_HEAD = struct.Struct("<Q")  # bytes of names written so far


class Shared:
    """The mapped memory of all workers; made before they are forked.

    Args:
        workers: how many regions.
        region_bytes: of one region, an eighth of it for names; a multiple of 64.
    """

    def __init__(self, workers: int = 1, region_bytes: int = 4 << 20) -> None:
        self.workers, self.region_bytes = workers, region_bytes
        self.names_bytes = region_bytes // 8
        self.memory = mmap.mmap(-1, workers * region_bytes)

    def cells(self, worker: int) -> memoryview[float]:
        """A region's cells."""
        begin = worker * self.region_bytes
        region = memoryview(self.memory)[begin + self.names_bytes : begin + self.region_bytes]
        return region.cast("d")

    def names(self, worker: int) -> list[tuple[str, dict[str, str]]]:
        """A region's series in the order they were made."""
        begin = worker * self.region_bytes
        (length,) = _HEAD.unpack_from(self.memory, begin)
        written = self.memory[begin + _HEAD.size : begin + _HEAD.size + length]
        return [(name, labels) for name, labels in map(json.loads, written.splitlines())]

    def add_name(self, worker: int, name: str, labels: dict[str, str]) -> bool:
        """Add a series to a region; False if there is no room."""
        begin = worker * self.region_bytes
        (length,) = _HEAD.unpack_from(self.memory, begin)
        line = json.dumps([name, labels]).encode() + b"\n"
        if _HEAD.size + length + len(line) > self.names_bytes:
            return False
        at = begin + _HEAD.size + length
        self.memory[at : at + len(line)] = line
        _HEAD.pack_into(self.memory, begin, length + len(line))  # readers see whole lines only
        return True


class Metrics:
    """One worker's series. Count with ``metrics.cells[place] += 1``."""

    def __init__(self, shared: Shared | None = None, worker: int = 0) -> None:
        self._shared = shared or Shared()
        self._worker = worker
        self.cells = self._shared.cells(worker)
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}
        self._next = 0
        self._full = False
        for name, labels in self._shared.names(worker):  # of the worker whose place this takes
            place = self._take(name, tuple(labels.items()))
            if _FAMILIES[name].kind == "gauge":
                self.cells[place] = 0.0

    def at(self, name: str, **labels: str) -> int:
        """The first cell of a series, made at its first use."""
        key = (name, tuple(labels.items()))
        place = self._series.get(key)
        if place is not None:
            return place
        size = _CELLS if _FAMILIES[name].kind == "histogram" else 1
        full = self._next + size > len(self.cells) - _CELLS
        if full or not self._shared.add_name(self._worker, name, labels):
            if not self._full:
                log.error("there is no room for more metrics: %s %s is not counted", name, labels)
            self._full = True
            place = self._series[key] = len(self.cells) - _CELLS  # cells that nobody reads
            return place
        return self._take(*key)

    def _take(self, name: str, labels: tuple[tuple[str, str], ...]) -> int:
        place = self._series[name, labels] = self._next
        self._next += _CELLS if _FAMILIES[name].kind == "histogram" else 1
        return place

    def count(self, name: str, **labels: str) -> None:
        """Count something that is rare enough to be looked up by name."""
        self.cells[self.at(name, **labels)] += 1.0

    def add(self, name: str, amount: float, **labels: str) -> None:
        """Count an amount of something."""
        self.cells[self.at(name, **labels)] += amount

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge."""
        self.cells[self.at(name, **labels)] = value

    def observe(self, place: int, seconds: float) -> None:
        """Add one time to the histogram at a place."""
        cells = self.cells
        cells[place + bisect_left(BUCKETS, seconds)] += 1.0
        cells[place + _CELLS - 1] += seconds

    def text(self) -> bytes:
        """The exposition, of all workers together."""
        totals: dict[str, dict[tuple[tuple[str, str], ...], list[float]]] = {}
        for worker in range(self._shared.workers):
            self._add_region(worker, totals)
        lines: list[str] = []
        for name, family in _FAMILIES.items():
            if name in totals:
                lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
            for labels, values in totals.get(name, {}).items():
                lines += _lines(family, labels, values)
        return ("\n".join(lines) + "\n").encode()

    def _add_region(
        self, worker: int, totals: dict[str, dict[tuple[tuple[str, str], ...], list[float]]]
    ) -> None:
        cells, place = self._shared.cells(worker), 0
        for name, labels in self._shared.names(worker):
            family = _FAMILIES[name]
            size = _CELLS if family.kind == "histogram" else 1
            values = cells[place : place + size].tolist()
            place += size
            series = totals.setdefault(name, {})
            before = series.get(tuple(labels.items()), [0.0] * size)
            join = max if family.highest else float.__add__
            series[tuple(labels.items())] = [
                join(a, b) for a, b in zip(before, values, strict=True)
            ]


def _lines(
    family: Family, labels: tuple[tuple[str, str], ...], values: list[float]
) -> Iterable[str]:
    if family.kind != "histogram":
        yield f"{family.name}{_labels(labels)} {_number(values[0])}"
        return
    total = 0.0
    for bound, count in zip((*BUCKETS, "+Inf"), values, strict=False):
        total += count
        yield f"{family.name}_bucket{_labels((*labels, ('le', str(bound))))} {_number(total)}"
    yield f"{family.name}_sum{_labels(labels)} {values[-1]!r}"
    yield f"{family.name}_count{_labels(labels)} {_number(total)}"


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    inner = ",".join(f'{name}="{_escape(value)}"' for name, value in labels)
    return "{" + inner + "}" if inner else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
