"""The rules that ``benchmarks/verdicts.py`` compares, on arrays of many runs.

Each gives, per run, the candidate's requests at the rollback, infinite where there was none.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import rankdata

from benchmarks.kayenta import classify
from benchmarks.verdict_traffic import MINUTES, Array, Traffic
from slipway.inference import TRUSTED_UNITS, TUNED
from slipway.sequential import refuted


@cache
def boundary(share: float, alpha: float, most: int) -> Array:
    """The least of 0, 1, ... events in all that must be the candidate's to refute equality."""
    least, found = 0, []
    for events in range(most + 1):
        while least <= events and not refuted(events - least, least, share, 1.0, alpha, above=True):
            least += 1
        found.append(least)
    return np.array(found)


def slipway(
    traffic: Traffic, share: float, alpha: float, counted: float, normal: float
) -> tuple[Array, Array]:
    """Slipway's *worse* at no margin: looking after every event, and every minute.

    Args:
        alpha: the gate's part.
        counted, normal: the parts of it that the test of counts and the normal one have.
    """
    most = 1 << max(8, int(traffic.firsts.sum((1, 2)).max()).bit_length())
    least = boundary(share, alpha * counted, most)
    total = np.cumsum(traffic.counts, 1)[:, :, 1, 0]
    firsts = np.cumsum(traffic.firsts, 1)
    over = firsts[..., 1] >= least[firsts.sum(-1)]
    over |= _normal(traffic.sums, alpha * normal)
    minutely = _at(over, total)
    each = minutely.copy()
    ends = firsts.sum(-1)
    for run, order in enumerate(traffic.order):
        crossed = np.flatnonzero(np.cumsum(order) >= least[1 : len(order) + 1])
        if len(crossed):
            event = int(crossed[0]) + 1
            minute = int(np.searchsorted(ends[run], event))
            start, before = (ends[run, minute - 1], total[run, minute - 1]) if minute else (0, 0)
            part = (event - start) / (ends[run, minute] - start)
            each[run] = min(each[run], before + part * (total[run, minute] - before))
    return each, minutely


def normal_log_e(sums: Array) -> tuple[Array, Array]:
    """``slipway.inference.NormalTest`` of *worse* at no margin: log e-value, effective units."""
    n_s, y_s, dd_s, d4_s, n_c, y_c, dd_c, d4_c, variance = np.moveaxis(sums, -1, 0)
    with np.errstate(all="ignore"):
        effective = np.nan_to_num(np.minimum(3 * dd_s**2 / d4_s, 3 * dd_c**2 / d4_c))
        v = dd_s * dd_c / (dd_s + dd_c) / variance
        z = (y_c / n_c - y_s / n_s) / np.sqrt(dd_s / n_s**2 + dd_c / n_c**2)
        log_e = np.full(v.shape, -np.inf)
        for rho, part in TUNED:
            s = z * np.sqrt(v / (v + rho))
            one = 0.5 * np.log(rho / (v + rho)) + s * s / 2 + np.log(2 * part * ndtr(s))
            log_e = np.logaddexp(log_e, one)
    return np.where(np.isfinite(log_e), log_e, -np.inf), effective


def _normal(sums: Array, alpha: float) -> Array:
    """Whether it decides, per run and minute."""
    log_e, effective = normal_log_e(sums)
    need = math.log(1 / alpha)
    return (log_e >= need) & (effective >= TRUSTED_UNITS * need)


def _at(over: Array, total: Array) -> Array:
    """The candidate's requests at the first minute that is over."""
    first = over.argmax(1)
    return np.where(over.any(1), total[np.arange(len(total)), first], np.inf)


def threshold(traffic: Traffic) -> Array:
    """Flagger's way: success below 99 % in a minute is a failed check; five of them roll back."""
    n, k = traffic.counts[:, :, 1, 0], traffic.counts[:, :, 1, 1]
    failed = (n > 0) & (k > 0.01 * n)
    return _at(np.cumsum(failed, 1) >= 5, np.cumsum(n, 1))


def _z(traffic: Traffic) -> tuple[Array, Array, Array]:
    """Difference, pooled variance and the candidate's requests, so far at each minute."""
    total = np.cumsum(traffic.counts, 1).astype(float)
    n_s, k_s, n_c, k_c = (total[:, :, a, b] for a in (0, 1) for b in (0, 1))
    with np.errstate(all="ignore"):
        p = (k_s + k_c) / (n_s + n_c)
        return k_c / n_c - k_s / n_s, p * (1 - p) * (1 / n_s + 1 / n_c), n_c


def z_test(traffic: Traffic, alpha: float) -> Array:
    """A one-sided two-proportion z-test, once a minute, as if each were the only one."""
    gap, variance, n = _z(traffic)
    with np.errstate(all="ignore"):
        return _at(np.nan_to_num(gap / np.sqrt(variance)) > -ndtri(alpha), n)


def msprt(traffic: Traffic, alpha: float, tau: float = 0.01) -> Array:
    """The mixture sequential probability ratio test of Johari et al. (2017), once a minute.

    Its variance is an estimate, as usual; tau is how large an effect is expected.
    """
    gap, variance, n = _z(traffic)
    with np.errstate(all="ignore"):
        ratio = 0.5 * np.log(variance / (variance + tau**2))
        ratio += gap**2 * tau**2 / (2 * variance * (variance + tau**2))
        return _at(
            np.nan_to_num(ratio, nan=-np.inf, posinf=-np.inf) * (gap > 0) >= math.log(1 / alpha), n
        )


def mann_whitney(traffic: Traffic) -> Array:
    """Kayenta's way: Mann-Whitney on error rates by minute at 98 %, judged at the end.

    Only where the test itself finds a shift can the interval lie above the tolerance.
    """
    with np.errstate(all="ignore"):
        rates = traffic.counts[..., 1] / traffic.counts[..., 0]
    stable, candidate = np.nan_to_num(rates[:, :, 0]), np.nan_to_num(rates[:, :, 1])
    ranks = rankdata(np.concatenate((stable, candidate), 1), axis=1)
    u = ranks[:, MINUTES:].sum(1) - MINUTES * (MINUTES + 1) / 2
    ties = np.array([(np.unique(r, return_counts=True)[1] ** 3).sum() for r in ranks])
    size = 2 * MINUTES
    spread = MINUTES**2 / 12 * (size + 1 - (ties - size) / (size * (size - 1)))
    with np.errstate(all="ignore"):
        z = (u - MINUTES**2 / 2 - 0.5) / np.sqrt(spread)
    high = np.nan_to_num(z) > -ndtri(0.01)
    for run in np.flatnonzero(high):
        high[run] = classify(stable[run], candidate[run]) == "High"
    return np.where(high, traffic.counts[:, :, 1, 0].sum(1), np.inf)
