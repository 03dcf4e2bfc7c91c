"""Counters and histograms for Prometheus, cheap enough for every request.

A series is a few cells of one array of doubles; counting is one addition. The text format is
Prometheus's 0.0.4.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

BUCKETS = (
    *(0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of the latency histogram in seconds: fit for a p99 of 1 ms to 10 s."""


@dataclass(frozen=True, slots=True)
class Family:
    """All series of one name: its type (``counter``, ``gauge``, ``histogram``) and what it is."""

    name: str
    kind: str
    help: str


FAMILIES = {
    f.name: f
    for f in (
        Family("slipway_requests_total", "counter", "Requests answered, by assigned arm"),
        Family("slipway_errors_total", "counter", "Failures of an arm, by kind"),
        Family("slipway_fallbacks_total", "counter", "Requests another arm answered, by reason"),
        Family("slipway_request_seconds", "histogram", "From a request to its answer"),
        Family("slipway_in_flight", "gauge", "Requests being answered"),
        Family("slipway_lease_seconds_left", "gauge", "Seconds left of the leased arms' lease"),
        Family("slipway_lease_expiries_total", "counter", "Requests whose arm's lease was out"),
        Family("slipway_route_number", "gauge", "The route table in force"),
        Family("slipway_log_rows_dropped_total", "counter", "Rows that the disk did not take"),
        Family("slipway_feedback_total", "counter", "Feedback received, by kind and outcome"),
        Family("slipway_route_polls_failed_total", "counter", "Times the ledger could not be read"),
    )
}


class Metrics:
    """Every series of one process."""

    def __init__(self) -> None:
        self.cells = array("d")
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], int] = {}

    def at(self, name: str, **labels: str) -> int:
        """The first cell of a series, made at its first use. Count with ``cells[at] += 1``."""
        key = (name, tuple(labels.items()))
        place = self._series.get(key)
        if place is None:
            place = self._series[key] = len(self.cells)
            size = len(BUCKETS) + 2 if FAMILIES[name].kind == "histogram" else 1
            self.cells.extend([0.0] * size)
        return place

    def observe(self, place: int, seconds: float) -> None:
        """Add one time to the histogram at a place."""
        cells = self.cells
        cells[place + bisect_left(BUCKETS, seconds)] += 1
        cells[place + len(BUCKETS) + 1] += seconds

    def text(self) -> bytes:
        """The exposition."""
        lines: list[str] = []
        for family in FAMILIES.values():
            series = [(k[1], at) for k, at in self._series.items() if k[0] == family.name]
            if series:
                lines.append(f"# HELP {family.name} {family.help}")
                lines.append(f"# TYPE {family.name} {family.kind}")
            for labels, place in series:
                lines.extend(self._lines(family, labels, place))
        return ("\n".join(lines) + "\n").encode()

    def _lines(
        self, family: Family, labels: tuple[tuple[str, str], ...], place: int
    ) -> Iterable[str]:
        if family.kind != "histogram":
            yield f"{family.name}{_labels(labels)} {self.cells[place]:g}"
            return
        total = 0.0
        for offset, bound in enumerate((*BUCKETS, "+Inf")):
            total += self.cells[place + offset]
            yield f"{family.name}_bucket{_labels((*labels, ('le', str(bound))))} {total:g}"
        seconds = self.cells[place + len(BUCKETS) + 1]
        yield f"{family.name}_sum{_labels(labels)} {seconds!r}"
        yield f"{family.name}_count{_labels(labels)} {total:g}"


def _labels(labels: tuple[tuple[str, str], ...]) -> str:
    if not labels:
        return ""
    inner = ",".join(f'{name}="{_escape(value)}"' for name, value in labels)
    return "{" + inner + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
