"""The confidence sequences over time, with the moment of decision, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.errors import UsageError
from slipway.league import Place
from slipway.verdict import Finding, GateResult, Outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from slipway.gates import Gates
    from slipway.rounds import Look

_COLOURS = {
    Finding.WORSE: "tab:red",
    Finding.BETTER: "tab:green",
    Finding.NO_WORSE: "tab:green",
    Finding.UNDECIDED: "tab:grey",
    Finding.NOT_MEASURED: "tab:grey",
}


def draw(
    path: Path,
    answers: Mapping[str, Look],
    drawn: Mapping[str, Sequence[Look]],
    gates: Gates,
    baseline: str,
    dated: bool,
) -> None:
    """Draw the ``figure`` into a file, ``path``.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        figure(answers, drawn, gates, baseline, dated).savefig(path, dpi=120)
    except OSError as error:
        raise UsageError(
            f"the picture cannot be written: {error.strerror or error}",
            where=str(path),
            do="make room, or give another path",
        ) from error


def figure(
    answers: Mapping[str, Look],
    drawn: Mapping[str, Sequence[Look]],
    gates: Gates,
    baseline: str,
    dated: bool,
) -> Figure:
    """One panel per gate and candidate.

    Args:
        answers: candidate to the look that is told of it.
        drawn: candidate to its looks, oldest first, with intervals.
        gates: that they were judged by.
        baseline: the arm that they were compared with.
        dated: whether times are seconds since 1970.
    """
    from matplotlib.figure import Figure

    panels = [
        (arm, gate, i) for arm, look in answers.items() for i, gate in enumerate(look.verdict.gates)
    ]
    found = Figure(figsize=(8, 2.6 * len(panels) + 0.3), layout="constrained")
    axes = found.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for axis, (arm, told, i) in zip(axes, panels, strict=True):
        axis.set_ylabel(f"{arm} less {baseline}")
        axis.set_title(f"{told.metric}: {told.outcome.replace('_', ' ')}", loc="left")
        _panel(axis, drawn[arm], i, told, gates.gates[i].lower_is_better, dated)
    axes[-1].set_xlabel("time (UTC)" if dated else "time")
    return found


def _panel(
    axis: Any, looks: Sequence[Look], i: int, told: GateResult, lower: bool, dated: bool
) -> None:
    """One gate over all looks, in the colour of what is told of it."""
    seen = [
        (_time(look, dated), gate.effect, gate.interval)
        for look in looks
        if (gate := look.verdict.gates[i]).interval is not None
    ]
    axis.axhline(0.0, color="black", linewidth=0.8)
    if not seen:
        axis.text(0.5, 0.5, "no interval yet", transform=axis.transAxes, ha="center")
        return
    times, effects, intervals = zip(*seen, strict=True)
    lows, highs = zip(*intervals, strict=True)
    colour = _COLOURS[told.outcome]
    axis.fill_between(times, lows, highs, color=colour, alpha=0.25, step="post", label="interval")
    point = "o" if len(times) == 1 else None
    axis.plot(times, effects, color=colour, drawstyle="steps-post", marker=point, label="effect")
    margin = told.margin if lower else -told.margin
    axis.axhline(margin, color="tab:orange", linestyle=":", label="margin")
    marked = [(times[-1], intervals[-1]), *_mark(axis, looks, i, dated)]
    for at, (low, high) in marked:  # an interval at the last look, or the only one, has no area
        axis.plot([at, at], [low, high], color=colour, linewidth=3, solid_capstyle="butt")
    axis.legend(loc="upper right", fontsize="small", ncols=4)
    # The first intervals span everything; the picture is of where they end, and of the decision.
    ends = [abs(end) for _, interval in marked[1:] for end in interval]
    reach = max(abs(lows[-1]) * 4, abs(highs[-1]) * 4, abs(margin) * 4, *(1.2 * e for e in ends))
    axis.set_ylim(max(min(lows), -reach), min(max(highs), reach))


def _mark(
    axis: Any, looks: Sequence[Look], i: int, dated: bool
) -> list[tuple[Any, tuple[float, float]]]:
    """Mark when the outcome was first decided: when, and the gate's interval then, if any."""
    first = next((look for look in looks if look.settled), None)
    if first is None:
        return []
    colour = "tab:red" if first.settled in (Outcome.FAIL, Place.OUT) else "tab:green"
    at = _time(first, dated)
    axis.axvline(at, color=colour, linestyle="--", label=f"first decision: {first.settled}")
    interval = first.verdict.gates[i].interval
    return [(at, interval)] if interval else []


def _time(look: Look, dated: bool) -> Any:
    return datetime.fromtimestamp(look.at, UTC) if dated else look.at
