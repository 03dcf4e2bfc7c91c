"""Evidence read from a real inference log: look by look it is the same as all at once."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from slipway.errors import DataError, ExpectationError
from slipway.evidence import Evidence, Measured, Tails, Tally
from slipway.gates import Gates, parse
from slipway.metrics import BUILT_IN, measures, resolve
from slipway.review import labelled, review
from slipway.stores.evidence import SETTLED_SECONDS, LogEvidence
from slipway.stores.inference_log import COLUMNS
from slipway.verdict import Outcome, judge

SHARES = {"stable": 0.8, "candidate": 0.2}
GUARD = {"kind": "guardrail", "direction": "lower", "margin": {"relative": 0.1}}
GATES = parse(
    {
        "gate": [
            {**GUARD, "metric": "error", "type": "rate"},
            {**GUARD, "metric": "brier", "type": "mean"},
            {**GUARD, "metric": "wrong", "type": "rate", "maturity": 300, "coverage": 0.2},
            {**GUARD, "metric": "cost", "type": "mean"},
            {**GUARD, "metric": "slow", "type": "rate", "options": {"over_ms": 40}},
            {**GUARD, "metric": "latency", "type": "quantile", "q": 0.9},
        ]
    }
)


class Log:
    """A log as compaction leaves it: Parquet files with the log's columns."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._rows: dict[str, list[dict[str, Any]]] = {kind: [] for kind in COLUMNS}

    def request(self, i: int, **changes: Any) -> None:
        """One request, good unless it says otherwise."""
        plain = {
            "request_id": f"r{i}", "at": float(i), "model": "m", "unit": f"u{i}",
            "unit_given": True, "arm": "stable", "release": "x", "route": 3, "status": 200,
            "ok": True, "latency_ms": 20.0, "served_by": "x", "fallback": "", "cost": 0.01,
            "rows": 1, "score": 0.3, "features": None, "prediction": None, "override": "",
        }  # fmt: skip
        self._rows["requests"].append({**plain, **changes})

    def label(self, i: int, at: float, value: bool) -> None:
        """The true outcome of a request."""
        row = {"request_id": f"r{i}", "at": at, "model": "m", "kind": "label"}
        self._rows["feedback"].append({**row, "value": value})

    def close(self, name: str = "1") -> None:
        """Write the files of this name, and begin others."""
        import duckdb

        for kind, rows in self._rows.items():
            (self.folder / kind).mkdir(parents=True, exist_ok=True)
            lines = self.folder / f"{kind}.json"
            lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
            types = ", ".join(f"'{name}': '{type_}'" for name, type_ in COLUMNS[kind].items())
            duckdb.execute(
                f"COPY (FROM read_json('{lines}', columns={{{types}}}, format='nd')) "
                f"TO '{self.folder / kind}/x{name}.parquet'"
            )
            rows.clear()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """3,000 requests of 700 units over 3,000 seconds, half of them labelled later."""
    rng, folder = random.Random(5), tmp_path_factory.mktemp("logs") / "the log"
    writer = Log(folder)
    for i in range(3000):
        unit = rng.randrange(700)
        ok = rng.random() > 0.05
        writer.request(
            i,
            unit=f"u{unit}",
            arm="candidate" if unit % 5 == 0 else "stable",
            ok=ok,
            fallback="" if ok else "failed",
            status=422 if rng.random() < 0.02 else 200,
            latency_ms=math.exp(rng.gauss(3.0, 0.5)),
            cost=None if rng.random() < 0.1 else rng.expovariate(1.0),
            score=rng.random(),
        )
        if i % 2:
            value = rng.random() < 0.3
            writer.label(i, i + rng.random() * 600, value)
    writer.request(5000, at=100.0, route=2, arm="candidate")
    writer.request(5001, at=100.0, model="other", arm="candidate")
    writer.request(5002, at=100.0, arm="candidate", override="allow")
    writer.close()
    return folder


def observe(log: Path, until: float, **options: Any) -> Evidence:
    """The evidence of route 3."""
    source = LogEvidence(log, SHARES, **options)
    return source.observe("m", 3, measures(GATES), since=0.0, until=until)


def assert_same(a: Any, b: Any, path: str = "") -> None:
    """The same values, up to the order in which floats were added."""
    if dataclasses.is_dataclass(a):
        for f in dataclasses.fields(a):
            assert_same(getattr(a, f.name), getattr(b, f.name), f"{path}.{f.name}")
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for key in a:
            assert_same(a[key], b[key], f"{path}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), path
        for i, (one, other) in enumerate(zip(a, b, strict=True)):
            assert_same(one, other, f"{path}[{i}]")
    elif isinstance(b, float):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-6), path
    else:
        assert a == b, path


def test_looks_with_a_cache_give_what_one_look_gives(log: Path, tmp_path: Path) -> None:
    """Late labels, maturity and a quantile's threshold included; each look by a new reader."""
    cache = tmp_path / "cache.duckdb"
    for until in (10.0, 900.0, 899.0, 1700.0, 1500.0, 2900.0):
        seen = observe(log, until, cache=cache)
        assert_same(seen, observe(log, until))
        assert cache.exists() == (until > 2 * SETTLED_SECONDS)
    assert isinstance(seen.metrics["latency p90"], Tails)


def test_what_is_settled_is_not_read_again(tmp_path: Path) -> None:
    """And what came late into the log, as a slow answer does, is passed over by no look."""
    writer, cache = Log(tmp_path), tmp_path / "cache.duckdb"
    for i in range(200):
        writer.request(i)
    writer.close("1")
    assert observe(tmp_path, 200.0, cache=cache).units == {"stable": 200}
    writer.request(201, at=199.0 - SETTLED_SECONDS + 1.0)
    writer.request(202)
    writer.close("2")
    assert observe(tmp_path, 203.0, cache=cache).units == {"stable": 202}
    (tmp_path / "requests" / "x1.parquet").unlink()
    seen = observe(tmp_path, 203.0, cache=cache)
    assert seen.units == {"stable": 200 - SETTLED_SECONDS + 2}


def counted(evidence: Evidence, arm: str = "stable") -> tuple[int, float]:
    """Requests that the Brier score was asked of, and those that have one."""
    brier = evidence.metrics["brier"]
    assert isinstance(brier, Measured)
    return brier.requests.get(arm, 0), brier.arms[arm].n if arm in brier.arms else 0.0


def test_a_label_between_two_looks_counts_its_request_once(tmp_path: Path) -> None:
    """A request is asked for its value when it comes, and never again when its label does."""
    writer, cache = Log(tmp_path), tmp_path / "cache.duckdb"
    for i in range(100):
        writer.request(i)
    writer.label(0, 1.0, True)
    writer.close()
    assert counted(observe(tmp_path, 200.0, cache=cache)) == (100, 1.0)
    for i in range(1, 60):
        writer.label(i, 300.0, True)
    writer.close("2")
    seen = observe(tmp_path, 1000.0, cache=cache)
    assert counted(seen) == (100, 60.0)
    assert_same(seen, observe(tmp_path, 1000.0))


def test_a_request_whose_label_comes_after_the_look_was_asked_too(tmp_path: Path) -> None:
    """Without it, what is labelled would seem to be all there was, whatever the coverage is."""
    writer, cache = Log(tmp_path), tmp_path / "cache.duckdb"
    for i in range(100):
        writer.request(i)
        writer.label(i, 1.0 if i < 5 else 500.0, True)
    writer.close()
    assert counted(observe(tmp_path, 200.0)) == (100, 5.0)
    assert counted(observe(tmp_path, 200.0, cache=cache)) == (100, 5.0)
    assert counted(observe(tmp_path, 1000.0, cache=cache)) == (100, 100.0)


def test_a_cache_of_other_gates_is_not_used(log: Path, tmp_path: Path) -> None:
    """Evidence of one question never answers another."""
    cache = tmp_path / "cache.duckdb"
    source = LogEvidence(log, SHARES, cache)
    source.observe("m", 3, measures(GATES)[:1], since=0.0, until=2000.0)
    seen = source.observe("m", 3, measures(GATES)[:1], since=1000.0, until=2000.0)
    measured = seen.metrics["error"]
    assert isinstance(measured, Measured)
    assert sum(measured.requests.values()) == 1000


def test_sums_are_those_of_a_tally(log: Path) -> None:
    """SQL and Python add alike; requests refused for the caller's fault count for nobody."""
    import duckdb

    files = str(log / "requests" / "*.parquet")
    rows = duckdb.execute(
        f"SELECT arm, unit, ok FROM '{files}' WHERE model = 'm' AND route = 3 AND status <> 422 "
        "AND override = '' ORDER BY \"at\""
    ).fetchall()
    measured = observe(log, 1e9).metrics["error"]
    assert isinstance(measured, Measured)
    tally = Tally(0.0, 1.0, measured.centre)
    for arm, unit, ok in rows:
        tally.add(arm, unit, float(not ok))
    assert_same(measured.arms, tally.measured().arms)


def test_the_first_of_values_that_came_together_is_that_of_the_first_request_id(
    tmp_path: Path,
) -> None:
    """Labels that are sent in one go come at one moment, in whichever file their request lies."""
    writer = Log(tmp_path)
    for name, i in (("1", 2), ("2", 1)):
        writer.request(i, unit="u", score=i / 10)
        writer.label(i, 5.0, True)
        writer.close(name)
    brier = observe(tmp_path, 1e9).metrics["brier"]
    assert isinstance(brier, Measured)
    assert brier.arms["stable"].first + brier.centre == pytest.approx((1 - 0.1) ** 2)


def test_a_unit_in_two_arms_is_counted_and_left_out(tmp_path: Path) -> None:
    """Its requests are in no sum."""
    writer = Log(tmp_path)
    for i in range(10):
        writer.request(i, arm="candidate" if i >= 7 else "stable")
    writer.request(10, unit="u0", arm="candidate", ok=False)
    writer.close()
    seen = observe(tmp_path, 1e9)
    assert (seen.crossed, seen.units) == (1, {"stable": 6, "candidate": 3})
    measured = seen.metrics["error"]
    assert isinstance(measured, Measured)
    assert {arm: s.n for arm, s in measured.arms.items()} == {"stable": 6, "candidate": 3}


def test_what_a_fallback_touched_counts_against_the_arm_and_not_as_its_quality(
    tmp_path: Path,
) -> None:
    """Rule 6: the failed arm gets the error; the answer of another does not improve its score."""
    writer = Log(tmp_path)
    writer.request(0, ok=False, fallback="timeout", served_by="y", score=0.9)
    writer.label(0, 1.0, True)
    writer.close()
    seen = observe(tmp_path, 1e9)
    error, brier = seen.metrics["error"], seen.metrics["brier"]
    assert isinstance(error, Measured)
    assert isinstance(brier, Measured)
    assert error.arms["stable"].events == 1
    assert brier.arms == {}


def test_an_unknown_cost_is_not_zero(tmp_path: Path) -> None:
    """Rule 7: it is not measured."""
    writer = Log(tmp_path)
    writer.request(0, cost=None)
    writer.request(1, cost=2.0)
    writer.close()
    cost = observe(tmp_path, 1e9).metrics["cost"]
    assert isinstance(cost, Measured)
    assert (cost.arms["stable"].n, cost.centre) == (1.0, 2.0)


def test_an_empty_log_is_not_measured(tmp_path: Path) -> None:
    """No traffic, no verdict."""
    verdict = judge(observe(tmp_path, 1e9), GATES)
    assert verdict.outcome is Outcome.NOT_MEASURED
    assert verdict.reason == "there was no traffic"


def test_a_value_out_of_bounds_stops_the_judge(tmp_path: Path) -> None:
    """A probability that is none is named, not averaged in."""
    writer = Log(tmp_path)
    writer.request(0, score=1.5)
    writer.label(0, 1.0, False)
    writer.close()
    with pytest.raises(DataError, match=r"'brier' has the value 2\.25"):
        observe(tmp_path, 10.0)


PAIRED = {"delay", "disagreement", "shift"}


@pytest.mark.parametrize("name", sorted(BUILT_IN.keys() - PAIRED))
def test_every_built_in_metric_reads_a_log(log: Path, name: str) -> None:
    """Its SQL runs, its values lie within its bounds, and its name is the one it is found by."""
    metric = resolve(name)
    seen = LogEvidence(log).observe("m", 3, [metric], since=0.0, until=1e9)
    measured = seen.metrics[name]
    assert isinstance(measured, Measured)
    assert measured.arms.keys() == {"stable", "candidate"}
    assert metric.type in ("rate", "mean")


def test_an_unknown_metric_lists_the_known_ones() -> None:
    """As do a module that is not there, and options that a metric does not take."""
    for name in ("accuracy", "nowhere.at:All", "slipway.metrics.cost:Price"):
        with pytest.raises(ExpectationError) as caught:
            resolve(name)
        assert (
            "brier, cost, delay, disagreement, error, latency, shift, slow, wrong"
            in caught.value.do
        )
    with pytest.raises(ExpectationError, match="over_s"):
        resolve("slow", {"over_s": 1})


def test_a_gate_of_another_type_than_its_metric_is_refused() -> None:
    """A rate cannot be taken for a mean: its tests are other ones."""
    gates = parse({"gate": [{**GUARD, "metric": "error", "type": "mean"}]})
    with pytest.raises(ExpectationError, match="'error' is a rate"):
        measures(gates)


def test_newcomers_are_a_cohort_of_their_own(tmp_path: Path) -> None:
    """Units of the routes before are left out, from the first route that counts."""
    writer = Log(tmp_path)
    for i, (unit, route) in enumerate([("a", 1), ("b", 2), ("b", 3), ("c", 3), ("a", 3)]):
        writer.request(i, unit=unit, route=route)
    writer.close()
    source = LogEvidence(tmp_path)

    def units(**options: Any) -> int:
        seen = source.observe("m", 3, measures(GATES), since=0.0, until=9.0, **options)
        return seen.units["stable"]

    assert units() == 3
    assert units(newcomers_after=2) == 2
    assert units(newcomers_after=1) == 1


def test_units_that_stay_in_their_arm_go_on_counting(tmp_path: Path) -> None:
    """Under later routes that kept the arms' weights; what a unit sent in another arm does not."""
    writer = Log(tmp_path)
    rows = [("a", "stable", 1), ("a", "stable", 2), ("a", "member-1", 3), ("b", "member-1", 2),
            ("b", "member-1", 4), ("c", "stable", 4), ("d", "stable", 9)]  # fmt: skip
    for i, (unit, arm, route) in enumerate(rows):
        writer.request(i, unit=unit, arm=arm, route=route)
    writer.close()
    seen = LogEvidence(tmp_path).observe(
        "m", 2, measures(GATES), since=0.0, until=99.0, going_on=[3, 4]
    )
    assert dict(seen.units) == {"stable": 2, "member-1": 1}
    told = next(iter(seen.metrics.values()))
    assert isinstance(told, Measured)
    assert told.requests == {"stable": 2, "member-1": 2}  # a's second, c's; both of b's
    assert seen.crossed == 0


def test_a_unit_in_two_arms_of_one_route_is_found_though_others_follow(tmp_path: Path) -> None:
    """It did not move with a new route: the split itself is broken."""
    writer = Log(tmp_path)
    for i, arm in enumerate(("stable", "member-1", "stable")):
        writer.request(i, unit="both", arm=arm, route=2)
    writer.request(3, unit="sound", arm="stable", route=2)
    writer.close()
    seen = LogEvidence(tmp_path).observe(
        "m", 2, measures(GATES), since=0.0, until=99.0, going_on=[3]
    )
    assert (dict(seen.units), seen.crossed) == ({"stable": 1}, 1)


def test_late_labels_contradict_a_pass(tmp_path: Path) -> None:
    """Those that came in time were kind to the candidate; those that came later are not."""
    writer, rng = Log(tmp_path), random.Random(1)
    for i in range(4000):
        arm = "candidate" if i % 4 == 0 else "stable"
        writer.request(i, arm=arm, at=i / 40)
        # Half of the labels come within a minute; the candidate's others are mostly bad.
        late = i % 8 < 4
        wrong = rng.random() < (0.5 if late and arm == "candidate" else 0.1)
        writer.label(i, i / 40 + (600 if late else 30), value=wrong)
    writer.close()
    gate = {**GUARD, "metric": "wrong", "type": "rate", "maturity": 60, "margin": {"absolute": 0.1}}
    gates = parse({"gate": [gate]})
    source = LogEvidence(tmp_path, {"stable": 0.75, "candidate": 0.25})

    def seen(asked: Gates, until: float) -> Evidence:
        return source.observe("m", 3, measures(asked), since=0.0, until=until)

    closed = judge(seen(gates, 200), gates)
    assert closed.outcome is Outcome.PASS
    longer = labelled(gates, 700)
    found = review(closed, seen(longer, 900), longer)
    assert not found.stands
    assert "later labels contradict the pass: wrong" in found.reason
    assert found.verdict.gates[0].units == (3000, 1000)
