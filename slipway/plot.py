"""The confidence sequences over time, with the moment of decision, as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.errors import UsageError
from slipway.verdict import Finding

if TYPE_CHECKING:
    from slipway.gates import Gates
    from slipway.replay import Look

_COLOURS = {
    Finding.WORSE: "tab:red",
    Finding.BETTER: "tab:green",
    Finding.NO_WORSE: "tab:green",
    Finding.UNDECIDED: "tab:grey",
    Finding.NOT_MEASURED: "tab:grey",
}


def draw(
    path: Path, answers: Mapping[str, Sequence[Look]], gates: Gates, baseline: str, dated: bool
) -> None:
    """Draw one panel per gate and candidate.

    Args:
        path: where the PNG goes.
        answers: candidate to its looks, oldest first, with intervals.
        gates: that they were judged by.
        baseline: the arm that they were compared with.
        dated: whether times are seconds since 1970.

    Raises:
        UsageError: it cannot be written there.
    """
    from matplotlib.figure import Figure

    panels = [
        (arm, i) for arm, looks in answers.items() for i in range(len(looks[-1].verdict.gates))
    ]
    figure = Figure(figsize=(8, 2.6 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, (arm, i) in zip(axes, panels, strict=True):
        axis.set_ylabel(f"{arm} less {baseline}")
        _panel(axis, answers[arm], i, gates.gates[i].lower_is_better, dated)
    try:
        figure.savefig(path, dpi=120)
    except OSError as error:
        raise UsageError(
            f"the picture cannot be written: {error.strerror or error}",
            where=str(path),
            do="make room, or give another path",
        ) from error


def _panel(axis: Any, looks: Sequence[Look], i: int, lower: bool, dated: bool) -> None:
    seen = [
        (datetime.fromtimestamp(look.at, UTC) if dated else look.at, gate, gate.interval)
        for look in looks
        if (gate := look.verdict.gates[i]).interval is not None
    ]
    last = looks[-1].verdict.gates[i]
    axis.set_title(f"{last.metric}: {last.outcome.replace('_', ' ')}", loc="left")
    axis.axhline(0.0, color="black", linewidth=0.8)
    if not seen:
        axis.text(0.5, 0.5, "no interval yet", transform=axis.transAxes, ha="center")
        return
    times = [at for at, _, _ in seen]
    colour = _COLOURS[last.outcome]
    lows, highs = [s[2][0] for s in seen], [s[2][1] for s in seen]
    axis.fill_between(times, lows, highs, color=colour, alpha=0.25, step="post", label="interval")
    effects = [gate.effect for _, gate, _ in seen]
    axis.plot(times, effects, color=colour, drawstyle="steps-post", label="effect")
    axis.axhline(
        last.margin if lower else -last.margin, color="tab:orange", linestyle=":", label="margin"
    )
    if last.outcome is not Finding.UNDECIDED:
        since = next(
            k for k, _ in enumerate(seen) if all(s[1].outcome == last.outcome for s in seen[k:])
        )
        axis.axvline(times[since], color=colour, linestyle="--", label="decided")
    axis.legend(loc="upper right", fontsize="small", ncols=4)
    # The first intervals span everything; the picture is of where they end.
    reach = max(abs(lows[-1]), abs(highs[-1]), abs(last.margin)) * 4
    axis.set_ylim(max(min(lows), -reach), min(max(highs), reach))
