"""The rule that the benchmark of verdicts calls Kayenta's is Kayenta's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from benchmarks.kayenta import classify, mean_ratio, shifts, superiority, z_of_shift
from slipway.replay import quantile

SHARED = Path(os.environ.get("SLIPWAY_SHARED", Path(__file__).parents[3] / "shared"))
VECTORS = SHARED / "vectors" / "kayenta_mannwhitney_classifier.json"
ALLOWED = {"Increase": ("High",), "Decrease": ("Low",), "Either": ("High", "Low")}


def test_a_shift_of_all_values_is_high() -> None:
    """Five values against zeros: its case 'Tied Ranks With Zeros' has the interval 54.5 to 57.4."""
    zeros, values = np.zeros(5), np.array([54.9, 54.5, 55.1, 55.6, 57.4])
    lower, estimate, upper = shifts(zeros, values, 0.95)
    assert (lower, upper) == pytest.approx((54.5, 57.4), abs=0.01)
    assert estimate == pytest.approx(55.1, abs=0.01)
    assert classify(zeros, values, 0.1, 0.95) == "High"
    assert classify(values, zeros, 0.1, 0.95) == "Low"
    assert classify(zeros, np.array([])) == "Nodata"
    assert classify(values, values[::-1]) == "Pass"


def _label(case: dict[str, Any]) -> str:
    """What our rule says of a published case."""
    told = case["params"]
    arms = [
        np.array([np.nan if x is None else x for x in case[k]]) for k in ("control", "experiment")
    ]
    if "Remove" not in case["nan_strategy"] and not (len(arms[0]) and len(arms[1])):
        return "Pass"  # nothing is put in for what is missing on either side
    cles = told.get("effectSizeMeasure") == "cles"
    usual = (0.5, 0.5) if cles else (1.0, 1.0)
    label = classify(
        *arms, told["tolerance"], told["confLevel"],
        tuple(told.get("effectSizeThresholds", usual)), superiority if cles else mean_ratio,
    )  # fmt: skip
    return label if label == "Nodata" or label in ALLOWED[case["direction"]] else "Pass"


collected = pytest.mark.skipif(
    not VECTORS.is_file() and "SLIPWAY_SHARED" not in os.environ,
    reason="the collected vectors are not beside the project",
)


@collected
def test_every_published_case_is_classified_alike() -> None:
    """The Mann-Whitney cases of its own tests, and the intervals that were found for them."""
    cases = [
        c
        for c in json.loads(VECTORS.read_text())["cases"]
        if c["classifier"] == "MannWhitneyClassifier" and "classification" in c["expect"]
    ]
    wrong = [c["name"] for c in cases if _label(c) != c["expect"]["classification"]]
    assert not wrong
    assert len(cases) >= 30


@collected
def test_its_statistics_are_ours() -> None:
    """Effect sizes as its own tests have them; its percentiles are those of a replay."""
    told = json.loads(VECTORS.with_name("kayenta_stats_outliers.json").read_text())
    for case in told["percentile_R7"]:
        found = quantile([float(x) for x in case["data"]], case["p"] / 100.0)
        assert found == pytest.approx(case["expect"], abs=case.get("tol", 1e-9))
    for case in told["cles"]:
        arms = (np.array(case[arm], float) for arm in ("control", "experiment"))
        assert superiority(*arms) == pytest.approx(case["expect"], abs=case.get("tol", 1e-9))


@collected
def test_long_series_compare_as_in_r() -> None:
    """Mann-Whitney by its normal approximation, corrected for continuity and ties."""
    evens, others = np.arange(0.0, 1000.0, 2.0), np.arange(-41.0, 1158.0, 2.0)
    tied = np.concatenate((evens[:30], others[30:]))
    told = json.loads(VECTORS.with_name("go_mannwhitney_ttest.json").read_text())["mann_whitney"]
    for case, control in zip(told[-3:], (others, evens, tied), strict=True):
        z = z_of_shift(control, evens, 0.0, corrected=True)
        if case["U"] != evens.size * control.size / 2:
            assert float(ndtr(z)) == pytest.approx(case["p_less"], rel=1e-9)
        else:  # at the middle R's correction goes away from 0, and ours stays there
            assert z == 0.0
