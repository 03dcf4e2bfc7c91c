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
from slipway.gates import GATE_KEYS, LARGEST, parse
from slipway.release import Check, digest, digest_file

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
Rule = tuple[Callable[[Any], bool], str]


def _number(value: Any) -> bool:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return plain and abs(value) <= LARGEST


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _changed(slack: str) -> Rule:
    """A demand on the answer to the same request with some of its values changed."""

    def holds(told: Any) -> bool:
        known = isinstance(told, Mapping) and {"change"} <= set(told) <= {"change", slack}
        return known and isinstance(told["change"], Mapping) and _number(told.get(slack, 0.0))

    return holds, f'{{"change": {{column: value}}, "{slack}": number}}'


MUSTS: Mapping[str, Rule] = {
    "between": (
        lambda v: isinstance(v, list) and len(v) == 2 and all(map(_number, v)) and v[0] <= v[1],
        "[low, high]",
    ),
    "finite": (lambda v: v is True, "true"),
    "not_higher_than": _changed("slack"),
    "not_lower_than": _changed("slack"),
    "refused": (lambda v: v is True, "true"),
    "same_as": _changed("tolerance"),
}
CASE: Mapping[str, Rule] = {
    "name": (_text, "a text that is not empty"),
    "input": (lambda v: isinstance(v, Mapping), "an object of columns and values"),
    "must": (lambda v: isinstance(v, Mapping) and bool(v), f"at least one of {', '.join(MUSTS)}"),
    "why": (_text, "a text that is not empty"),
    "since": (_text, "a date as text"),
}
FIXED: Mapping[str, Rule] = {
    "file": (_text, "a file's name"),
    "digest": (_text, "sha256: and 64 hex digits"),
    "rows": (lambda v: type(v) is int and v > 0, "a whole number from 1"),
}
OFFLINE: Mapping[str, Rule] = {
    "metric": (lambda v: v in OFFLINE_METRICS, ", ".join(OFFLINE_METRICS)),
    "slice": (_text, "a column's name"),
    "min_rows": GATE_KEYS["min_units"][:2],
    **dict.fromkeys(BOUNDS, (_number, "a number from -1e60 to 1e60")),
}


def _wrong(place: str, found: Mapping[str, Any], rules: Mapping[str, Rule]) -> list[str]:
    """The values that break their rule, each with its place, what was found, what is allowed."""
    return [
        f"{place}{key}: found {value!r:.80} (allowed: {rules[key][1]})"
        for key, value in found.items()
        if key in rules and not rules[key][0](value)
    ]


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
    if not isinstance(suite, Mapping) or not suite.get("expectations"):
        faults.append("suite.json: it holds no expectations (allowed: at least one)")
    fixed = _fixed_set(faults, folder)
    cases = _edge_cases(faults, folder / "edge_cases.jsonl")
    gates = _read(faults, folder / "gates.toml", tomllib.loads, {})
    offline = read_offline(faults, gates.get("offline", []))
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
        return parse(path.read_text(encoding="utf-8-sig"))  # a byte-order mark is no text
    except (ValueError, OSError) as error:
        faults.append(f"{path.name}: cannot be read: {error}")
        return empty


def _fixed_set(faults: list[str], folder: Path) -> FixedSet | None:
    raw = _read(faults, folder / "fixed_set.toml", tomllib.loads, {})
    wrong = [f"fixed_set.toml: lacks {key}" for key in FIXED if key not in raw]
    wrong += _wrong("fixed_set.toml: ", raw, FIXED)
    path = folder / str(raw.get("file", ""))
    if not wrong and not path.is_file():
        wrong = [f"fixed_set.toml: the file '{raw['file']}' is not there"]
    if wrong:
        faults += wrong
        return None
    actual = digest_file(path)
    if actual != raw["digest"]:
        faults.append(
            f"fixed_set.toml: '{raw['file']}' gives {actual}, not {raw['digest']}: the fixed "
            "dataset was changed; restore it, or freeze a new one under a new digest"
        )
    return FixedSet(path, raw["digest"], raw["rows"])


def _edge_cases(faults: list[str], path: Path) -> tuple[EdgeCase, ...]:
    cases: list[EdgeCase] = []
    lines = _read(faults, path, str.splitlines, [])
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
        except ValueError as error:
            faults.append(f"{path.name}:{number}: cannot be read: {error}")
            continue
        wrong = _case_faults(f"{path.name}:{number}", raw, {c.name for c in cases})
        faults += wrong
        if not wrong:
            cases.append(EdgeCase(**raw))
    if not any(line.strip() for line in lines):
        faults.append(f"{path.name}: it holds no cases (allowed: at least one)")
    return tuple(cases)


def _case_faults(place: str, raw: Any, taken: set[str]) -> list[str]:
    if not isinstance(raw, Mapping) or set(raw) != set(CASE):
        keys = sorted(raw) if isinstance(raw, Mapping) else raw
        return [f"{place}: found {keys!r:.80} (allowed: exactly {', '.join(CASE)})"]
    wrong = _wrong(f"{place}: ", raw, CASE)
    if wrong:
        return wrong
    unknown = sorted(set(raw["must"]) - set(MUSTS))
    if unknown:
        wrong.append(f"{place}: must {', '.join(unknown)} (allowed: {', '.join(MUSTS)})")
    if "refused" in raw["must"] and len(raw["must"]) > 1:
        wrong.append(f"{place}: must be refused, and answered (allowed: one of them)")
    if raw["name"] in taken:
        wrong.append(f"{place}: the name '{raw['name']}' is taken")
    return wrong + _wrong(f"{place}: must ", raw["must"], MUSTS)


def read_offline(faults: list[str], raw: Any) -> tuple[OfflineGate, ...]:
    """The offline gates of a parsed ``gates.toml``; what is wrong with them joins the faults."""
    if not isinstance(raw, list) or not raw:
        faults.append("gates.toml: it holds no [[offline]] gate (allowed: at least one)")
        return ()
    gates: list[OfflineGate] = []
    for index, gate in enumerate(raw):
        wrong = _offline_faults(f"gates.toml: offline.{index}", gate)
        faults += wrong
        if not wrong:
            bound = next(b for b in BOUNDS if b in gate)
            kinds: Any = {"slice": str, "min_rows": int}  # 100.0 is a whole number, too
            options = {k: kind(gate[k]) for k, kind in kinds.items() if k in gate}
            gates.append(OfflineGate(gate["metric"], bound, float(gate[bound]), **options))
    return tuple(gates)


def _offline_faults(place: str, gate: Any) -> list[str]:
    if not isinstance(gate, Mapping):
        return [f"{place}: found {gate!r:.80} (allowed: a table)"]
    wrong = [f"{place}: unknown key '{key}' (allowed: {', '.join(OFFLINE)})"
             for key in sorted(set(gate) - set(OFFLINE))]  # fmt: skip
    wrong += _wrong(f"{place}.", {"metric": None, **gate}, OFFLINE)
    bounds = [b for b in BOUNDS if b in gate]
    if len(bounds) != 1:
        wrong.append(f"{place}: has {len(bounds)} bounds (allowed: one of {', '.join(BOUNDS)})")
    return wrong


def _live(faults: list[str], live: Mapping[str, Any]) -> None:
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
        return Check(
            gate.name, "pass", "no baseline: the first release has nothing to compare with"
        )
    if gate.slice:
        return _check_slices(gate, scored, stable)
    return _judge(
        gate, figure(gate.metric, scored), figure(gate.metric, stable) if stable else None
    )


def _check_slices(gate: OfflineGate, scored: Scored, stable: Scored | None) -> Check:
    if gate.slice not in scored.slices:
        return Check(gate.name, "not_measured", f"the fixed dataset has no column '{gate.slice}'")
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
    faults = [
        f for must, told in case.must.items() if (f := _breach(case, must, told, mine, answer))
    ]
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
        return "" if mine is None else "it was answered, and must be refused"
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
    # Told as what must hold: an answer that is no number compares as false, and so breaks it.
    kept = {
        "not_lower_than": gap >= -told.get("slack", 0.0),
        "not_higher_than": gap <= told.get("slack", 0.0),
        "same_as": abs(gap) <= told.get("tolerance", 0.0),
    }[must]
    wanted = must.replace("_", " ")
    return "" if kept else f"{mine:.4f} must be {wanted} {other:.4f} (with {told['change']})"
