"""The published boundaries, to the digits that were published."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from slipway import boundaries as b
from slipway.sequential import best_rho, normal_bound, normal_log_mixture

SHARED = Path(os.environ.get("SLIPWAY_SHARED", Path(__file__).parents[3] / "shared"))
VECTORS = SHARED / "vectors" / "confseq_boundaries.json"
TOLERANCE = 1e-5


def test_normal_mixtures_match_the_paper_s_reference_values() -> None:
    """Howard et al.'s reference implementation gives these for s = 10, v = v_opt = 100."""
    two, one = (best_rho(100, 0.05, one_sided=o) for o in (False, True))
    assert two == pytest.approx(12.60056, abs=TOLERANCE)
    told = normal_log_mixture(10, 100, two, one_sided=False)
    assert told == pytest.approx(-0.6510052, abs=TOLERANCE)
    assert normal_bound(100, 0.05, two, one_sided=False) == pytest.approx(30.35209, abs=TOLERANCE)
    told = normal_log_mixture(10, 100, one, one_sided=True)
    assert told == pytest.approx(-0.06502391, abs=TOLERANCE)
    assert normal_bound(100, 0.05, one, one_sided=True) == pytest.approx(27.66071, abs=TOLERANCE)


def test_other_mixtures_match_the_paper_s_reference_values() -> None:
    """Gamma-exponential, gamma-Poisson and beta-binomial mixtures, and where they reach 20."""
    tried = [
        (lambda s: b.gamma_exponential(s, 100, 100, 2), -0.2490165, 33.02017),
        (lambda s: b.gamma_poisson(s, 100, 100, 2), -0.06991219, 30.1949),
        (lambda s: b.beta_binomial(s, 100, 100, 0.2, 0.8, one_sided=False), -0.6941012, 31.4308),
        (lambda s: b.beta_binomial(s, 100, 100, 0.2, 0.8, one_sided=True), -0.07134019, 28.41238),
    ]
    for mixture, log_value, bound in tried:
        assert mixture(10) == pytest.approx(log_value, abs=TOLERANCE)
        assert b.mixture_bound(mixture, 0.05, 500) == pytest.approx(bound, abs=TOLERANCE)


def test_stitched_boundaries_match_the_paper_s_reference_values() -> None:
    """Polynomial and double stitching, and the law of the iterated logarithm for quantiles."""
    assert b.poly_stitching(100, 0.05, 10, 3) == pytest.approx(64.48755, abs=TOLERANCE)
    assert b.poly_stitching(100, 0.05, 10, -1) == pytest.approx(28.99389, abs=TOLERANCE)
    assert b.empirical_process_lil(1000, 0.05, 100) == pytest.approx(0.08204769, abs=TOLERANCE)
    for p, expected in ((0.5, 68.62803), (0.9, 43.72119), (0.1, 59.96521)):
        assert b.double_stitching(p, 1000, 0.05, 100) == pytest.approx(expected, abs=TOLERANCE)


def test_the_quantile_p_value_matches_the_paper_s_reference_values() -> None:
    """1..1000 against the same moved up, by the median and the ninth decile."""
    sample = list(range(1, 1001))
    for p, offset, expected in ((0.5, 85, 0.0838055), (0.5, 100, 0.0054947), (0.9, 55, 0.0340463)):
        moved = [x + offset for x in sample]
        assert b.quantile_p_value(sample, moved, p, 100) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("events", "trials", "t_opt", "expected"),
    [
        (700, 1000, 100, (0.651629, 0.745949)),
        (5, 50, 50, (0.013021, 0.269264)),
        (1, 2, 50, (0.0, 1.0)),
        (100, 200, 1, (0.328923, 0.671076)),
        (0, 1, 50, (0.0, 1.0)),
    ],
)
def test_the_interval_of_a_rate_matches_the_paper_s_reference_values(
    events: int, trials: int, t_opt: float, expected: tuple[float, float]
) -> None:
    """Bernoulli confidence sequences at alpha 0.05."""
    assert b.bernoulli_interval(events, trials, 0.05, t_opt) == pytest.approx(expected, abs=1e-5)


def _call(case: dict[str, Any]) -> Any:
    """What our function of a published case gives."""
    args = dict(case["args"])
    side = {"one_sided": args.pop("one_sided", True)}
    match case["fn"]:
        case "two_sided_normal_mixture.best_rho":
            return best_rho(args["v_opt"], args["alpha_opt"], one_sided=False)
        case "normal_log_mixture":
            rho = best_rho(args["v_opt"], 0.05, **side)
            return normal_log_mixture(args["s"], args["v"], rho, **side)
        case "normal_mixture_bound":
            rho = best_rho(args["v_opt"], 0.05, **side)
            return normal_bound(args["v"], args["alpha"], rho, **side)
        case "quantile_ab_p_value":
            offset = args.get("B_offset", 70)
            moved = [x + offset for x in range(1, 1001)]
            return b.quantile_p_value(range(1, 1001), moved, args["quantile_p"], 100)
        case "bernoulli_confidence_interval":
            return b.bernoulli_interval(
                *(args[k] for k in ("successes", "trials", "alpha", "t_opt"))
            )
        case "poly_stitching_bound":
            return b.poly_stitching(**args)
        case "empirical_process_lil_bound":
            return b.empirical_process_lil(args["t"], args["alpha"], args["t_min"], args["A"])
        case "double_stitching_bound":
            return b.double_stitching(*(args[k] for k in ("quantile_p", "t", "alpha", "t_opt")))
    kind, bounded = case["fn"].removesuffix("_log_mixture"), case["fn"].endswith("_bound")
    mixture = getattr(b, kind.removesuffix("_mixture_bound"))
    alpha, s, v = args.pop("alpha", 0.05), args.pop("s", 0.0), args.pop("v")
    options = side if "g" in args else {}
    if not bounded:
        return mixture(s, v, **args, **options)
    highest = v / args["g"] if "g" in args else float("inf")
    return b.mixture_bound(lambda at: mixture(at, v, **args, **options), alpha, highest)


@pytest.mark.skipif(
    not VECTORS.is_file() and "SLIPWAY_SHARED" not in os.environ,
    reason="the collected vectors are not beside the project",
)
def test_every_collected_vector_is_reproduced() -> None:
    """All published cases, also those not written out above."""
    cases = json.loads(VECTORS.read_text())["cases"]
    for case in cases:
        assert _call(case) == pytest.approx(case["expect"], abs=TOLERANCE), case
    assert len(cases) >= 30
