"""Rows of one moment: whichever thread reads them, the first of them is the first of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.evidence import Evidence, Measured, Tails
from slipway.gates import Gates, parse
from slipway.judge import observe
from slipway.observations import read
from slipway.replay import Sights

ROWS = 60_000
TIED = (
    "SELECT DATE '2026-01-31' AS time, CASE WHEN u % 2 = 0 THEN 'candidate' ELSE 'stable' END AS "
    "arm, u AS unit, (hash(i) % 1000) / 1000.0 AS delay FROM (SELECT i, i % 1000 AS u FROM "
    f"range({ROWS}) t(i)) ORDER BY i"
)
GATE = {"metric": "delay", "kind": "guardrail", "direction": "lower"}
GATES = parse(
    {
        "gate": [
            {**GATE, "type": "mean", "low": 0, "high": 1, "margin": {"absolute": 0.1}},
            {**GATE, "type": "quantile", "q": 0.9, "margin": {"relative": 0.1}},
        ]
    }
)


@pytest.mark.parametrize(
    ("kind", "options"), [("csv", "HEADER"), ("parquet", "ROW_GROUP_SIZE 2048")]
)
def test_a_day_s_rows_keep_the_order_of_their_file(tmp_path: Path, kind: str, options: str) -> None:
    """One look has the first values, and the threshold of a quantile, that a replay has."""
    import duckdb

    path = tmp_path / f"seen.{kind}"
    duckdb.execute(f"COPY ({TIED}) TO '{path}' ({options})")
    seen = read(path, GATES, "stable")
    sights = Sights(seen.measures, "stable")
    for at, arm, unit, *values in seen.rows():
        sights.add(at, arm, unit, values)
    assert firsts(observe(seen, "stable"), GATES) == pytest.approx(
        firsts(sights.evidence(1e12), GATES)
    )


def firsts(evidence: Evidence, gates: Gates) -> list[float]:
    """The threshold, and the first values' sums, of the mean and of all that is beyond a border."""
    mean, tails = (evidence.metrics[g.name] for g in gates.gates)
    assert isinstance(mean, Measured)
    assert isinstance(tails, Tails)
    return [tails.threshold] + [
        m.arms[arm].first + m.centre * m.arms[arm].units
        for m in (mean, tails.level, tails.worse, tails.no_worse)
        for arm in ("stable", "candidate")
    ]
