"""Simulated traffic for ``benchmarks/verdicts.py``: an hour of requests of two arms, many times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MINUTES = 60
Array = np.ndarray


@dataclass(frozen=True)
class Cell:
    """One kind of traffic.

    Args:
        kind: ``steady``, ``diurnal`` (busy minutes are nine times the quiet ones, and fail more
            often) or ``correlated`` (users send ten requests on average with a heavy tail, and
            a few of them fail nearly always).
        rpm: requests a minute, of both arms.
        share: the candidate's.
        stable, candidate: chances of an event.
    """

    kind: str
    rpm: int
    share: float
    stable: float
    candidate: float


@dataclass
class Traffic:
    """Many runs of one cell.

    Args:
        counts: (runs, minutes, [stable, candidate], [requests, events]) of each minute.
        firsts: (runs, minutes, [stable, candidate]) units that had their first event in it.
        order: per run, the arm of each of those, one by one (True: the candidate).
        sums: (runs, minutes, 9): what ``unit_sums`` gives of each.
    """

    counts: Array
    firsts: Array
    order: list[Array]
    sums: Array


def simulate(cell: Cell, runs: int, rng: np.random.Generator) -> Traffic:
    """Runs of a cell."""
    if cell.kind == "correlated":
        return _correlated(cell, runs, rng)
    wave = 0.8 * np.sin(np.linspace(0, 2 * np.pi, MINUTES, endpoint=False))
    busy = 1 + wave if cell.kind == "diurnal" else np.ones(MINUTES)
    rates = np.outer(busy**0.5, (cell.stable, cell.candidate))
    mean = cell.rpm * np.outer(busy, (1 - cell.share, cell.share))
    events = rng.poisson(np.broadcast_to(mean * rates, (runs, MINUTES, 2)))
    good = rng.poisson(np.broadcast_to(mean * (1 - rates), (runs, MINUTES, 2)))
    counts = np.stack((good + events, events), -1)
    order = [_shuffled(mine, rng) for mine in events]
    return Traffic(counts, events, order, _request_sums(np.cumsum(counts, 1)))


def _shuffled(events: Array, rng: np.random.Generator) -> Array:
    """Events of one run, one by one: within a minute they come in any order."""
    minute = np.repeat(np.arange(MINUTES), events.sum(1))
    arm = np.repeat(np.tile([False, True], MINUTES), events.ravel())
    return arm[np.lexsort((rng.random(len(arm)), minute))]


def _request_sums(total: Array) -> Array:
    """``unit_sums`` where each request is a unit of its own, from counts so far."""
    columns = []
    for arm in (0, 1):
        n, k = total[..., arm, 0].astype(float), total[..., arm, 1].astype(float)
        p = k / np.maximum(n, 1)
        columns += [n, k, k * (1 - p), n * p * (1 - p) * (p**3 + (1 - p) ** 3)]
    pooled = (columns[1] + columns[5]) / np.maximum(columns[0] + columns[4], 1)
    return np.stack([*columns, pooled * (1 - pooled)], -1)


def _correlated(cell: Cell, runs: int, rng: np.random.Generator) -> Traffic:
    made = [_one_correlated(cell, rng) for _ in range(runs)]
    counts, firsts, order, sums = zip(*made, strict=True)
    return Traffic(np.array(counts), np.array(firsts), list(order), np.array(sums))


def _one_correlated(cell: Cell, rng: np.random.Generator) -> tuple[Array, Array, Array, Array]:
    """One run, user by user: how much each sends, how prone it is to fail, and when it did."""
    expected = cell.rpm * MINUTES
    activity = rng.pareto(1.5, max(expected // 10, 2)) + 0.1
    sent = rng.poisson(expected * activity / activity.sum())
    mine = rng.random(len(sent)) < cell.share
    rate = np.where(mine, cell.candidate, cell.stable)
    failed = rng.binomial(sent, rng.beta(3 * rate, 3 * (1 - rate)))
    users = np.flatnonzero(failed)
    event_user = np.repeat(np.arange(len(users)), failed[users])
    at = rng.random(len(event_user)) * MINUTES
    first = np.full(len(users), np.inf)
    np.minimum.at(first, event_user, at)
    sooner = np.argsort(first)
    order = mine[users[sooner]]
    arm = mine[users].astype(int)
    firsts = np.zeros((MINUTES, 2), int)
    np.add.at(firsts, (first.astype(int), arm), 1)
    events = np.zeros((MINUTES, 2), int)
    np.add.at(events, (at.astype(int), arm[event_user]), 1)
    requests = [rng.multinomial(sent[mine == a].sum(), [1 / MINUTES] * MINUTES) for a in (0, 1)]
    counts = np.stack((np.maximum(np.stack(requests, 1), events), events), -1)
    totals = np.zeros((len(users), MINUTES))
    np.add.at(totals, (event_user, at.astype(int)), 1)
    sums = unit_sums(np.cumsum(totals, 1), sent, users, mine)
    return counts, firsts, order, sums


def unit_sums(totals: Array, sent: Array, users: Array, mine: Array) -> Array:
    """What linearisation needs at the end of each minute of one run.

    Args:
        totals: (users with events, minutes) their events so far.
        sent: each user's requests in the hour, taken to be spread evenly.
        users: which users those with events are.
        mine: whether each user is the candidate's.

    Returns:
        (minutes, 9): of stable, then of the candidate: requests n, events y, and the sums over
        users of d^2 and d^4 with d = y_u - (y/n) n_u; then the variance of one request.
    """
    passed = np.arange(1, MINUTES + 1) / MINUTES
    quiet = np.ones(len(sent), bool)
    quiet[users] = False
    columns: list[Array] = []
    for arm in (False, True):
        y_u, n_u = totals[mine[users] == arm], sent[users][mine[users] == arm]
        n, y = sent[mine == arm].sum() * passed, y_u.sum(0)
        rate = y / np.maximum(n, 1e-9)
        d = y_u - np.outer(n_u, passed) * rate
        rest = sent[quiet & (mine == arm)].astype(float)
        d2 = (d**2).sum(0) + (rate * passed) ** 2 * (rest**2).sum()
        d4 = (d**4).sum(0) + (rate * passed) ** 4 * (rest**4).sum()
        columns += [n, y, d2, d4]
    pooled = (columns[1] + columns[5]) / (columns[0] + columns[4])
    return np.stack([*columns, pooled * (1 - pooled)], -1)
