"""Published time-uniform boundaries, as functions of numbers: the references of ``sequential``.

A boundary u(v) is crossed by a centred sum at intrinsic time v (its variance so far) with a
chance of at most alpha, ever. Each is held by a test to the values that its authors published.

Sources: [CS] Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic
confidence sequences", Annals of Statistics, 2021, arXiv 1810.08240. [Q] Howard and Ramdas,
"Sequential estimation of quantiles with applications to A/B testing and best-arm
identification", Bernoulli, 2022, arXiv 1906.09712.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from slipway.sequential import best_rho


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that rises through 0 between low and high does so, by bisection."""
    for _ in range(100):
        middle = (low + high) / 2.0
        if f(middle) < 0.0:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0


def mixture_bound(log_mixture: Callable[[float], float], alpha: float, highest: float) -> float:
    """The sum at which a mixture supermartingale reaches 1/alpha, or ``highest`` if it cannot."""
    need = math.log(1.0 / alpha)
    reach = 1.0
    while reach < highest and log_mixture(reach) < need:
        reach *= 2.0
    return root(lambda s: log_mixture(s) - need, 0.0, min(reach, highest))


def gamma_exponential(s: float, v: float, v_opt: float, c: float, alpha_opt: float = 0.05) -> float:
    """Log of the gamma-exponential mixture, for sub-exponential sums of scale c ([CS] prop. 9)."""
    from scipy.special import gammainc, gammaln

    rho, c2 = best_rho(v_opt, alpha_opt, one_sided=True), c * c
    a, b, x = rho / c2, (v + rho) / c2, (c * s + v + rho) / c2
    start = a * math.log(a) - gammaln(a) - math.log(gammainc(a, a))
    now = gammaln(b) + math.log(gammainc(b, x)) - b * math.log(x) + (c * s + v) / c2
    return float(start + now)


def gamma_poisson(s: float, v: float, v_opt: float, c: float, alpha_opt: float = 0.05) -> float:
    """Log of the gamma-Poisson mixture, for sub-Poisson sums of scale c ([CS] prop. 10)."""
    from scipy.special import gammaincc, gammaln

    rho, c2 = best_rho(v_opt, alpha_opt, one_sided=True), c * c
    a, b = rho / c2, (v + rho) / c2
    k = s / c + b
    start = a * math.log(a) - gammaln(a) - math.log(gammaincc(a, a))
    return float(start + gammaln(k) + math.log(gammaincc(k, b)) - k * math.log(b) + v / c2)


def beta_binomial(
    s: float,
    v: float,
    v_opt: float,
    g: float,
    h: float,
    *,
    one_sided: bool,
    alpha_opt: float = 0.05,
) -> float:
    """Log of the beta-binomial mixture, for increments in [-g, h] ([CS] props. 7 and 8)."""
    r = max(best_rho(v_opt, alpha_opt, one_sided=one_sided) - g * h, 1e-3 * g * h)
    down, up = g * (g + h), h * (g + h)
    x = h / (g + h) if one_sided else 1.0
    return (
        v / (g * h) * math.log(g + h)
        - (v + h * s) / up * math.log(g)
        - (v - g * s) / down * math.log(h)
        + _log_beta((r + v - g * s) / down, (r + v + h * s) / up, x)
        - _log_beta(r / down, r / up, x)
    )


def _log_beta(a: float, b: float, x: float) -> float:
    """Log of the incomplete beta function up to x, not regularised."""
    whole = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    if x == 1.0:
        return whole
    from scipy.special import betainc

    return whole + math.log(betainc(a, b, x))


def poly_stitching(
    v: float, alpha: float, v_min: float, c: float, s: float = 1.4, eta: float = 2.0
) -> float:
    """The polynomial stitched boundary, for sub-gamma sums of scale c ([CS] eq. 10)."""
    from scipy.special import zeta

    at = max(v, v_min)
    k1, k2 = (eta**0.25 + eta**-0.25) / math.sqrt(2.0), (math.sqrt(eta) + 1.0) / 2.0
    ell = s * math.log(math.log(eta * at / v_min))
    ell += math.log(zeta(s) / (alpha * math.log(eta) ** s))
    lead = k2 * c * ell
    return float(math.sqrt(k1 * k1 * at * ell + lead * lead) + lead)


def empirical_process_lil(t: int, alpha: float, t_min: float, a: float = 0.85) -> float:
    """How far an empirical distribution function ever is from the true one ([Q] thm. 2)."""
    if t < t_min:
        return math.inf
    c = root(lambda c: alpha - _lil_error(c, a), 1.0, 1000.0)
    return a * math.sqrt((math.log(1.0 + math.log(t / t_min)) + c) / t)


def _lil_error(c: float, a: float) -> float:
    """The error that [Q] thm. 2 bounds, at its best epoch length eta."""

    def error(eta: float) -> float:
        spread = a - math.sqrt(2.0 * (eta - 1.0) / c)
        gamma = 2.0 / eta * spread * spread
        if spread <= 0.0 or gamma <= 1.0:
            return math.inf
        return 4.0 * math.exp(-gamma * c) * (1.0 + 1.0 / ((gamma - 1.0) * math.log(eta)))

    # Where the spread shrinks until gamma is 1, the bound ends.
    end = root(lambda e: math.sqrt(e / 2) + math.sqrt(2 * (e - 1) / c) - a, 1.0, 2.0 * a * a)
    return error(_lowest(error, 1.0, end))


def double_stitching(
    p: float,
    t: float,
    alpha: float,
    t_opt: float,
    delta: float = 0.5,
    s: float = 1.4,
    eta: float = 2.0,
) -> float:
    """How far the count below the p-quantile ever strays, at all p together ([Q] thm. 3)."""
    from scipy.special import zeta

    at = max(t, t_opt)
    logit = math.log(p / (1.0 - p))
    moved = 1.0 / (1.0 + math.exp(-logit - 2.0 * delta * math.sqrt(t_opt * eta / at)))
    r = p if p >= 0.5 else min(0.5, moved)
    variance = r * (1.0 - r)
    j = math.sqrt(at / t_opt) * abs(logit) / (2.0 * delta) + 1.0
    z = zeta(s)
    ell = s * math.log(math.log(eta * at / t_opt)) + s * math.log(j)
    ell += math.log(2.0 * z * (2.0 * z + 1.0) / (alpha * math.log(eta) ** s))
    k1, k2 = (eta**0.25 + eta**-0.25) / math.sqrt(2.0), (math.sqrt(eta) + 1.0) / 2.0
    lead = k2 * (1.0 - 2.0 * p) / 3.0 * ell
    drift = delta * math.sqrt(eta * at * variance / t_opt)
    return float(drift + math.sqrt(k1 * k1 * variance * at * ell + lead * lead) + lead)


def quantile_p_value(
    a: Sequence[float], b: Sequence[float], p: float, t_opt: float, alpha_opt: float = 0.05
) -> float:
    """A p-value, valid at all times, of: two samples have the same p-quantile ([Q] sec. 5).

    Whatever the common quantile x is, each arm's count of values below it is a fair game; the
    evidence is that of the x against which there is least.
    """
    import numpy as np

    points = np.unique(np.concatenate((np.asarray(a, float), np.asarray(b, float))))
    logs = np.zeros(len(points))
    for sample in (np.sort(np.asarray(a, float)), np.sort(np.asarray(b, float))):
        n, v = len(sample), p * (1.0 - p) * len(sample)

        def wealth(count: float, n: int = n, v: float = v) -> float:
            return beta_binomial(
                count - p * n, v, t_opt * p * (1.0 - p), p, 1.0 - p, one_sided=False,
                alpha_opt=alpha_opt,
            )  # fmt: skip

        # Wealth is convex in the count; at a value of the sample, any count between those
        # below it and those up to it is possible.
        calm = _lowest(wealth, 0.0, float(n))
        below, up_to = np.searchsorted(sample, points), np.searchsorted(sample, points, "right")
        logs += [wealth(c) for c in np.clip(calm, below, up_to)]
    return float(min(1.0, math.exp(-logs.min())))


def _lowest(f: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley is lowest, by ternary search."""
    for _ in range(80):
        third = (high - low) / 3.0
        if f(low + third) < f(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2.0


def bernoulli_interval(
    events: int, trials: int, alpha: float, t_opt: float, alpha_opt: float = 0.05
) -> tuple[float, float]:
    """The confidence sequence of a rate, from its two-sided beta-binomial mixture ([CS] sec. 4)."""
    seen, need, edge = events / trials, math.log(1.0 / alpha), 1e-12

    def refuted(p: float) -> float:
        p = min(max(p, edge), 1.0 - edge)
        v_opt, v = p * (1.0 - p) * t_opt, p * (1.0 - p) * trials
        s = (seen - p) * trials
        return beta_binomial(s, v, v_opt, p, 1.0 - p, one_sided=False, alpha_opt=alpha_opt) - need

    low = 1.0 - root(lambda q: refuted(1.0 - q), 1.0 - seen, 1.0 - edge) if events else 0.0
    high = root(refuted, seen, 1.0 - edge) if events < trials else 1.0
    return low, high
