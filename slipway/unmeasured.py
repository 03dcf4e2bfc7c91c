"""Why there is nothing to judge a gate by: fail closed, in words."""

from __future__ import annotations

from slipway.evidence import Cohorts, Evidence, Measured, Tails
from slipway.gates import Gate
from slipway.inference import Pair


def _wanted(gate: Gate, pair: Pair) -> tuple[str, ...]:
    """The arms that a gate needs data of: beyond a limit, the candidate alone."""
    return (pair.candidate,) if gate.limit is not None else (pair.baseline, pair.candidate)


def due(evidence: Evidence, level: Measured | None, gate: Gate, pair: Pair) -> bool:
    """Whether so much was asked of the arms that silence says something: before, it is early."""
    if level is None and gate.type == "quantile":
        return False  # it has no evidence before its threshold is fixed
    asked = evidence.units if level is None else level.requests
    return all(asked.get(arm, 0) >= gate.min_units for arm in _wanted(gate, pair))


def unmeasured(
    seen: Measured | Tails | Cohorts | None,
    level: Measured | None,
    gate: Gate,
    units: tuple[int, int],
    pair: Pair,
) -> str:
    """Why a gate is not measured, or nothing."""
    if isinstance(seen, Tails) and seen.waiting:
        have, need = seen.waiting
        return (
            f"{gate.name} was not measured: it waits for the first {need} values of all arms "
            f"together, which say where to compare, and there are {have}"
        )
    if seen is None and gate.type == "quantile":
        return f"{gate.name} was not measured: too few values to say where to compare"
    wanted = _wanted(gate, pair)
    arms = (pair.baseline, pair.candidate)
    empty = " and ".join(arm for arm, n in zip(arms, units, strict=True) if not n and arm in wanted)
    if level is None or empty:
        return f"{gate.name} was not measured: no data{' of ' + empty if empty else ''}"
    for arm in wanted:
        asked = level.requests.get(arm, 0)
        if level.arms[arm].n < gate.coverage * asked:
            return (
                f"{gate.name} was measured for {level.arms[arm].n:.0f} of {asked} requests of "
                f"{arm}, fewer than the {100 * gate.coverage:g} % it must be"
            )
    stable = 0.0 if isinstance(seen, Tails) or not gate.relative else figure(seen, pair.baseline)
    if stable < 0.0:
        return (
            f"{gate.name} of {pair.baseline} is {stable:.4g}: a part of what is below 0 is no "
            "margin, so give it an absolute one"
        )
    return ""


def figure(seen: Measured | Cohorts | None, arm: str) -> float:
    """An arm's mean over all requests; 0 where there is none."""
    each = [m for m, _ in seen.each] if isinstance(seen, Cohorts) else [seen] if seen else []
    sums = [(m.arms[arm], m.centre) for m in each if arm in m.arms]
    n = sum(s.n for s, _ in sums)
    return sum(s.y + centre * s.n for s, centre in sums) / n if n else 0.0
