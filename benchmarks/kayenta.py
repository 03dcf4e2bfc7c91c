"""Netflix's Kayenta's way to compare a metric of two arms, for ``benchmarks/verdicts.py``.

Values of a metric, minute by minute, are compared by a two-sided Mann-Whitney test: the metric is
*high* where the confidence interval of the shift lies above a part (the tolerance) of the shift's
own estimate, *low* where it lies below. A test holds this to the published cases of its judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtri
from scipy.stats import rankdata

Array = np.ndarray[Any, np.dtype[np.float64]]


def z_of_shift(control: Array, experiment: Array, shift: float, *, corrected: bool) -> float:
    """The Mann-Whitney z of the experiment moved down by a shift, as in R's ``wilcox.test``.

    Args:
        corrected: for continuity, towards 0.
    """
    m, n = len(experiment), len(control)
    ranks = rankdata(np.concatenate((experiment - shift, control)))
    ties = np.unique(ranks, return_counts=True)[1].astype(float)
    spread = m * n / 12 * (m + n + 1 - (ties**3 - ties).sum() / ((m + n) * (m + n - 1)))
    gap = float(ranks[:m].sum() - m * (m + 1) / 2 - m * n / 2)
    gap -= math.copysign(0.5, gap) if corrected and gap else 0.0
    return gap / math.sqrt(spread) if spread > 0.0 else 0.0


def shifts(control: Array, experiment: Array, confidence: float) -> tuple[float, float, float]:
    """The lower end, the estimate and the upper end of the experiment's shift."""
    low, high = experiment.min() - control.max(), experiment.max() - control.min()

    def root(z: float, corrected: bool = True) -> float:
        def f(d: float) -> float:
            return z_of_shift(control, experiment, d, corrected=corrected) - z

        if f(low) <= 0.0:
            return float(low)
        return float(high) if f(high) >= 0.0 else float(brentq(f, low, high, xtol=1e-4))

    z = float(ndtri(0.5 + confidence / 2))
    return root(z), root(0.0, corrected=False), root(-z)


def classify(
    control: Array,
    experiment: Array,
    tolerance: float = 0.25,
    confidence: float = 0.98,
    effects: tuple[float, float] = (1.0, 1.0),
    effect: Callable[[Array, Array], float] | None = None,
) -> str:
    """``Pass``, ``High``, ``Low`` or ``Nodata``, with the defaults of its production judge.

    Args:
        effects: at most (at least) which effect a low (high) metric must have.
        effect: of control and experiment; by default the ratio of their means.
    """
    if not len(control) or not len(experiment):
        return "Nodata"
    if len(np.unique(np.concatenate((control, experiment)))) == 1 or (
        len(control) == len(experiment) and (np.sort(control) == np.sort(experiment)).all()
    ):
        return "Pass"
    lower, estimate, upper = shifts(control, experiment, confidence)
    size = (effect or mean_ratio)(control, experiment)
    slack = tolerance * abs(estimate)
    if lower > slack and not size < effects[1]:
        return "High"
    return "Low" if upper < -slack and not size > effects[0] else "Pass"


def mean_ratio(control: Array, experiment: Array) -> float:
    """Experiment's mean over control's; not a number where either is 0."""
    means = float(control.mean()), float(experiment.mean())
    return means[1] / means[0] if all(means) else math.nan


def superiority(control: Array, experiment: Array) -> float:
    """The chance that a value of the experiment is above one of the control, ties half."""
    gaps = np.sign(experiment[:, None] - control[None, :])
    return float((gaps.mean() + 1.0) / 2.0)
