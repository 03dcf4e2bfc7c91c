"""A shadow's answers beside those that users got, read from a real inference log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_evidence_of_the_log import PAIRED, Log

from slipway.evidence import Evidence, Measured
from slipway.gates import Gates, parse
from slipway.metrics import BUILT_IN, is_paired, measures
from slipway.stores.evidence import LogEvidence
from slipway.verdict import Finding, Outcome, judge

LIMIT = {"kind": "guardrail", "direction": "lower"}


def _gates(*gates: dict[str, Any]) -> Gates:
    return parse({"gate": [{**LIMIT, "type": "rate", "limit": 0.2, **gate} for gate in gates]})


def _shift(**options: Any) -> dict[str, Any]:
    return {"metric": "shift", "type": "mean", "low": -1.0, "high": 1.0, "options": options}


def _pair(log: Log, i: int, *, stable: dict[str, Any], shadow: dict[str, Any]) -> None:
    """One request, its user's answer, and the shadow's."""
    log.request(i, **stable)
    log.request(i, arm="shadow", release="y", served_by="y", **shadow)


def _observe(folder: Path, gates: Gates) -> Evidence:
    source = LogEvidence(folder, paired=True)
    return source.observe("m", 3, measures(gates), since=0.0, until=1e9)


def _only(seen: Evidence, name: str) -> Any:
    measured = seen.metrics[name]
    assert isinstance(measured, Measured)
    sums = measured.arms["shadow"]
    return sums.n, pytest.approx(sums.y / sums.n + measured.centre)


def test_a_request_counts_once_with_both_its_answers(tmp_path: Path) -> None:
    """Its user is in no two arms by that; only pairs of good answers are compared."""
    log, gates = Log(tmp_path), _gates(
        {"metric": "disagreement", "options": {"threshold": 0.5}},
        {"metric": "error"},
        {"metric": "delay", "type": "mean"},
        _shift(),
        _shift(absolute=True),
    )  # fmt: skip
    _pair(log, 0, stable={"score": 0.4}, shadow={"score": 0.6, "latency_ms": 25.0})
    _pair(log, 1, stable={"score": 0.4}, shadow={"score": 0.3, "latency_ms": 19.0})
    _pair(log, 2, stable={}, shadow={"ok": False, "status": 500, "score": None})
    _pair(log, 3, stable={"ok": False, "fallback": "timeout"}, shadow={"score": 0.9})
    log.request(4)  # which was not copied
    _pair(log, 5, stable={"override": "allow"}, shadow={"override": "allow"})
    log.close()
    seen = _observe(tmp_path, gates)
    assert (seen.units, seen.crossed) == ({"shadow": 3}, 0)
    assert _only(seen, "disagreement(threshold=0.5)") == (2.0, 0.5)
    assert _only(seen, "error") == (3.0, 1 / 3)
    assert _only(seen, "delay") == (2.0, 2.0)
    assert _only(seen, "shift()".removesuffix("()")) == (2.0, 0.05)
    assert _only(seen, "shift(absolute=True)") == (2.0, 0.15)


def test_a_slice_is_judged_by_itself(tmp_path: Path) -> None:
    """A candidate that moves one carrier's scores is caught there, whatever it does elsewhere."""
    name = "O'Hare"
    gates = _gates(
        _shift(column="from", value=name), _shift(column="from", value="JFK")
    )  # fmt: skip
    log = Log(tmp_path)
    for i in range(400):
        features = {"from": name if i % 2 else "JFK"}
        shadow = {"features": features, "score": 0.9 if i % 2 else 0.3}
        _pair(log, i, stable={"features": features}, shadow=shadow)
    log.close()
    verdict = judge(_observe(tmp_path, gates), gates, candidate="shadow")
    assert [g.outcome for g in verdict.gates] == [Finding.WORSE, Finding.NO_WORSE]
    assert verdict.outcome is Outcome.FAIL


@pytest.mark.parametrize(("differ", "outcome"), [(0, Outcome.PASS), (2, Outcome.FAIL)])
def test_texts_agree_or_differ(tmp_path: Path, differ: int, outcome: Outcome) -> None:
    """Answers that are no numbers are compared as they are."""
    log, gates = Log(tmp_path), _gates({"metric": "disagreement"})
    for i in range(200):
        other = "dog" if i % 4 < differ else "cat"
        told = {"score": None, "prediction": "cat"}
        _pair(log, i, stable=told, shadow={**told, "prediction": other})
    log.close()
    verdict = judge(_observe(tmp_path, gates), gates, candidate="shadow")
    assert verdict.outcome is outcome, verdict


def test_without_copies_nothing_is_measured(tmp_path: Path) -> None:
    """A mirror that does not run is no agreement."""
    log, gates = Log(tmp_path), _gates({"metric": "disagreement"})
    log.request(0)
    log.close()
    verdict = judge(_observe(tmp_path, gates), gates, candidate="shadow")
    assert verdict.outcome is Outcome.NOT_MEASURED


def test_the_paired_metrics_are_known_as_such() -> None:
    """So that no other launch takes a gate on them, which would never be measured."""
    paired = {
        name for name in BUILT_IN if is_paired(_gates({"metric": name, "type": "rate"}).gates[0])
    }
    assert paired == PAIRED
