"""An expectation pack: all that a model must meet before it ships, chosen in advance.

A pack is a folder: ``suite.json`` (a Great Expectations suite for the snapshot), ``fixed_set.toml``
with the frozen rows it names, ``edge_cases.jsonl`` and ``gates.toml``. Its digest covers every
byte, so a report says exactly what a candidate was held against.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.errors import ExpectationError, SlipwayError
from slipway.release import Check, digest, digest_bytes, digest_file

FILES = ("suite.json", "fixed_set.toml", "edge_cases.jsonl", "gates.toml")
OFFLINE_METRICS = (
    "accuracy",
    "auc",
    "brier",
    "calibration_error",
    "latency_p99_ms",
    "mae",
    "rmse",
)
LOWER_IS_BETTER = ("brier", "calibration_error", "latency_p99_ms", "mae", "rmse")
BOUNDS = ("min", "max", "not_worse_than_stable")
MUSTS = ("between", "finite", "not_higher_than", "not_lower_than", "refused", "same_as")


@dataclass(frozen=True, slots=True)
class FixedSet:
    """The frozen rows: named by digest, never trained on.

    Args:
        path: a CSV or Parquet file with the features, the target, and time and unit if there are.
        digest: what its bytes must give.
    """

    path: Path
    digest: str
    rows: int


@dataclass(frozen=True, slots=True)
class EdgeCase:
    """One request whose answer must satisfy something, why it is there, and since when."""

    name: str
    input: Mapping[str, Any]
    must: Mapping[str, Any]
    why: str
    since: str


@dataclass(frozen=True, slots=True)
class OfflineGate:
    """A bound on a figure over the fixed dataset, or over its worst slice.

    Args:
        metric: one of ``OFFLINE_METRICS``.
        bound: ``min``, ``max`` or ``not_worse_than_stable``.
        limit: the bound's value; for ``not_worse_than_stable`` the margin allowed.
        slice: a column whose every value must meet the bound by itself.
        min_rows: slices with fewer rows are not judged (and are counted in the reason).
    """

    metric: str
    bound: str
    limit: float
    slice: str = ""
    min_rows: int = 50

    @property
    def name(self) -> str:
        """What reports call it."""
        where = f" by {self.slice}" if self.slice else ""
        return f"{self.metric}{where} {self.bound.replace('_', ' ')} {self.limit:g}"


@dataclass(frozen=True, slots=True)
class Pack:
    """A pack as read: whole, or not at all."""

    folder: Path
    digest: str
    suite: Mapping[str, Any]
    fixed_set: FixedSet
    edge_cases: tuple[EdgeCase, ...]
    offline: tuple[OfflineGate, ...]
    live: Mapping[str, Any]


def load(folder: Path) -> Pack:
    """Read a pack, checking all of it.

    Raises:
        ExpectationError: a part is missing, empty, malformed, or the fixed dataset's bytes are
            not those it names; all faults are named.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ExpectationError(
            f"the expectation pack lacks {', '.join(missing)}",
            where=str(folder),
            do="a model ships against expectations chosen in advance: write them "
            "('slipway new' lays down a working pack to start from)",
        )
    faults: list[str] = []
    suite = _read(faults, folder / "suite.json", json.loads, {})
    if not suite.get("expectations"):
        faults.append("suite.json: it holds no expectations (allowed: at least one)")
    fixed = _fixed_set(faults, folder)
    cases = _edge_cases(faults, folder / "edge_cases.jsonl")
    gates = _read(faults, folder / "gates.toml", tomllib.loads, {})
    offline = _offline(faults, gates.get("offline", []))
    live = {key: value for key, value in gates.items() if key != "offline"}
    _live(faults, live)
    if faults or fixed is None:
        raise ExpectationError(
            "the expectation pack has faults:\n" + "\n".join(f"    {f}" for f in faults),
            where=str(folder),
            do="mend each; docs/how-to/expectations.md shows every key",
        )
    contents = {name: digest_file(folder / name) for name in FILES}
    return Pack(folder, digest(contents), suite, fixed, cases, offline, live)


def _read(faults: list[str], path: Path, parse: Callable[[str], Any], empty: Any) -> Any:
    try:
        return parse(path.read_text())
    except (ValueError, OSError) as error:
        faults.append(f"{path.name}: cannot be read: {error}")
        return empty


def _fixed_set(faults: list[str], folder: Path) -> FixedSet | None:
    raw = _read(faults, folder / "fixed_set.toml", tomllib.loads, {})
    wrong = [key for key in ("file", "digest", "rows") if key not in raw]
    if wrong:
        faults.append(f"fixed_set.toml: lacks {', '.join(wrong)}")
        return None
    path = folder / raw["file"]
    if not path.is_file():
        faults.append(f"fixed_set.toml: the file '{raw['file']}' is not there")
        return None
    actual = digest_bytes(path.read_bytes())
    if actual != raw["digest"]:
        faults.append(
            f"fixed_set.toml: '{raw['file']}' gives {actual}, not {raw['digest']}: the fixed "
            "dataset was changed; restore it, or freeze a new one under a new digest"
        )
    return FixedSet(path, raw["digest"], int(raw["rows"]))


def _edge_cases(faults: list[str], path: Path) -> tuple[EdgeCase, ...]:
    cases: list[EdgeCase] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        place = f"edge_cases.jsonl:{number}"
        try:
            raw = json.loads(line)
            case = EdgeCase(**raw)
        except (ValueError, TypeError) as error:
            faults.append(f"{place}: {error} (allowed: name, input, must, why, since)")
            continue
        unknown = sorted(set(case.must) - set(MUSTS))
        if unknown or not case.must:
            faults.append(f"{place}: must {unknown or 'nothing'} (allowed: {', '.join(MUSTS)})")
        if any(c.name == case.name for c in cases):
            faults.append(f"{place}: the name '{case.name}' is taken")
        cases.append(case)
    if not cases:
        faults.append("edge_cases.jsonl: it holds no cases (allowed: at least one)")
    return tuple(cases)


def _offline(faults: list[str], raw: Sequence[Mapping[str, Any]]) -> tuple[OfflineGate, ...]:
    gates: list[OfflineGate] = []
    allowed = {"metric", "slice", "min_rows", *BOUNDS}
    for index, gate in enumerate(raw):
        place = f"gates.toml: offline.{index}"
        unknown = sorted(set(gate) - allowed)
        bounds = [b for b in BOUNDS if b in gate]
        if unknown:
            faults.append(f"{place}: unknown key {unknown} (allowed: {', '.join(sorted(allowed))})")
        if gate.get("metric") not in OFFLINE_METRICS:
            faults.append(
                f"{place}.metric: found {gate.get('metric')!r} "
                f"(allowed: {', '.join(OFFLINE_METRICS)})"
            )
        elif len(bounds) != 1:
            faults.append(f"{place}: has {len(bounds)} bounds (allowed: one of {', '.join(BOUNDS)})")
        else:
            limit = float(gate[bounds[0]])
            options = {k: gate[k] for k in ("slice", "min_rows") if k in gate}
            gates.append(OfflineGate(gate["metric"], bounds[0], limit, **options))
    if not raw:
        faults.append("gates.toml: it holds no [[offline]] gate (allowed: at least one)")
    return tuple(gates)


def _live(faults: list[str], live: Mapping[str, Any]) -> None:
    from slipway.gates import parse

    try:
        parse(live)
    except SlipwayError as error:
        faults.append(f"gates.toml: {error.what}")


# Applying the offline part


@dataclass(frozen=True, slots=True)
class Scored:
    """The fixed dataset with a release's answers.

    Args:
        answers: one number per row.
        truth: the target, one number per row.
        slices: column name to its value per row, for the columns that gates slice by.
        latency_p99_ms: of single requests to the bundle; None where it was not measured.
    """

    answers: Sequence[float]
    truth: Sequence[float]
    slices: Mapping[str, Sequence[str]]
    latency_p99_ms: float | None = None


def figure(metric: str, scored: Scored, rows: Sequence[int] | None = None) -> float | None:
    """A figure over all or some rows; None where these rows cannot give it."""
    import numpy as np

    if metric == "latency_p99_ms":
        return scored.latency_p99_ms
    answers, truth = np.asarray(scored.answers, float), np.asarray(scored.truth, float)
    if rows is not None:
        answers, truth = answers[list(rows)], truth[list(rows)]
    if not len(answers) or not np.isfinite(answers).all():
        return None
    value = _FIGURES[metric](answers, truth)
    return None if value is None or not math.isfinite(value) else round(float(value), 12)


def _auc(answers: Any, truth: Any) -> float | None:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(truth, answers)) if len(set(truth)) == 2 else None


def _calibration_error(answers: Any, truth: Any) -> float:
    """Expected calibration error over ten bins of equal width (Naeini et al., 2015)."""
    import numpy as np

    bins = np.clip((answers * 10).astype(int), 0, 9)
    weight = np.bincount(bins, minlength=10)
    gap = np.bincount(bins, answers - truth, minlength=10)
    return float(np.abs(gap[weight > 0]).sum() / len(answers))


_FIGURES: dict[str, Callable[[Any, Any], float | None]] = {
    "accuracy": lambda a, t: float(((a >= 0.5) == (t >= 0.5)).mean()),
    "auc": _auc,
    "brier": lambda a, t: float(((a - t) ** 2).mean()),
    "calibration_error": _calibration_error,
    "mae": lambda a, t: float(abs(a - t).mean()),
    "rmse": lambda a, t: float(((a - t) ** 2).mean() ** 0.5),
}


def check_offline(gate: OfflineGate, scored: Scored, stable: Scored | None) -> Check:
    """One offline gate's result. A comparison without a stable release is *no baseline*."""
    if gate.bound == "not_worse_than_stable" and stable is None:
        return Check(gate.name, "pass", "no baseline: the first release has nothing to compare with")
    if gate.slice:
        return _check_slices(gate, scored, stable)
    return _judge(gate, figure(gate.metric, scored), stable and figure(gate.metric, stable))


def _check_slices(gate: OfflineGate, scored: Scored, stable: Scored | None) -> Check:
    groups: dict[str, list[int]] = {}
    for row, value in enumerate(scored.slices[gate.slice]):
        groups.setdefault(value, []).append(row)
    judged = {k: rows for k, rows in groups.items() if len(rows) >= gate.min_rows}
    if not judged:
        reason = f"no {gate.slice} has {gate.min_rows} rows"
        return Check(gate.name, "not_measured", reason)
    sign = -1.0 if gate.metric in LOWER_IS_BETTER else 1.0
    figures = {k: figure(gate.metric, scored, rows) for k, rows in judged.items()}
    unmeasured = sorted(k for k, v in figures.items() if v is None)
    if unmeasured:
        return Check(gate.name, "not_measured", f"{gate.metric} has no value for {unmeasured}")
    worst = min(figures, key=lambda k: sign * (figures[k] or 0.0))
    theirs = figure(gate.metric, stable, judged[worst]) if stable else None
    result = _judge(gate, figures[worst], theirs)
    skipped = len(groups) - len(judged)
    reason = f"worst {gate.slice} '{worst}': {result.reason} ({skipped} with too few rows left out)"
    return Check(gate.name, result.outcome, reason, result.value, result.observed)


def _judge(gate: OfflineGate, value: float | None, stable: float | None) -> Check:
    if value is None:
        return Check(gate.name, "not_measured", f"{gate.metric} could not be measured")
    if gate.bound == "not_worse_than_stable":
        if stable is None:
            return Check(gate.name, "not_measured", "stable's figure could not be measured")
        worse = value - stable if gate.metric in LOWER_IS_BETTER else stable - value
        good = worse <= gate.limit
        reason = f"{value:.4f} against stable's {stable:.4f}, worse by {worse:.4f}"
    else:
        good = value >= gate.limit if gate.bound == "min" else value <= gate.limit
        reason = f"{value:.4f}, {gate.bound} {gate.limit:g}"
    outcome = "pass" if good else "fail"
    if gate.metric == "latency_p99_ms":  # a timing differs on every run: kept out of the digest
        return Check(gate.name, outcome, reason, None, f"{value:.2f} ms")
    return Check(gate.name, outcome, reason, value)


def check_edge_case(case: EdgeCase, answer: Callable[[Mapping[str, Any]], float | None]) -> Check:
    """One edge case's result.

    Args:
        answer: asks the bundle; None means that it refused the request as the caller's fault.
    """
    mine = answer(case.input)
    faults = [f for must, told in case.must.items() if (f := _breach(case, must, told, mine, answer))]
    name = f"edge case: {case.name}"
    if faults:
        return Check(name, "fail", "; ".join(faults), _rounded(mine))
    reason = "refused, as it must be" if mine is None else f"answered {mine:.4f}"
    return Check(name, "pass", reason, _rounded(mine))


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 9)


def _breach(
    case: EdgeCase,
    must: str,
    told: Any,
    mine: float | None,
    answer: Callable[[Mapping[str, Any]], float | None],
) -> str:
    """What breaks one demand, or nothing."""
    if must == "refused":
        return "" if (mine is None) == bool(told) else "it was answered, and must be refused"
    if mine is None:
        return "it was refused, and must be answered"
    if must == "finite":
        return "" if math.isfinite(mine) else f"the answer {mine} is not finite"
    if must == "between":
        low, high = told
        return "" if low <= mine <= high else f"the answer {mine:.4f} is outside {low} to {high}"
    other = answer({**case.input, **told["change"]})
    if other is None:
        return f"with {told['change']} it was refused"
    gap = mine - other
    broken = {
        "not_lower_than": -gap > told.get("slack", 0.0),
        "not_higher_than": gap > told.get("slack", 0.0),
        "same_as": abs(gap) > told.get("tolerance", 0.0),
    }[must]
    wanted = must.replace("_", " ")
    return f"{mine:.4f} is {wanted} {other:.4f} (with {told['change']}) broken" if broken else ""
