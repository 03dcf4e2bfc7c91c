"""The evidence source of the gateway's inference log."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.evidence import Evidence, Measure
from slipway.stores.kept import discard, file_of, held, longest

if TYPE_CHECKING:
    import duckdb

    from slipway.ports import Metric
    from slipway.routing import RouteTable

log = logging.getLogger(__name__)

SETTLED_SECONDS = 60.0
"""How long after it was answered a request is surely in the log: its gateway's writer may be behind
and its clock apart. Sums are kept of what is older; younger rows are read anew by each look."""

_SUMS = 4
"""How sums are counted; kept sums of another number are not gone on from. 2: a request whose label
comes after a look is counted once. 3: of values that came together, the first is settled. 4: of
settled rows alone, with a unit's first route."""

DRAWN = "coalesce(override, '') = '' AND fallback <> 'lease_expired'"
"""Requests whose arm the draw decided: a tester's choice, or the refuge of an expired lease, says
nothing of the arms, and would make its unit seem to have been in two of them."""

_PAIRS = """
CREATE TEMP VIEW {name} AS
SELECT own.*, peer.ok AS peer_ok, peer.latency_ms AS peer_latency_ms, peer.score AS peer_score,
       peer.prediction AS peer_prediction
FROM {rows} AS own JOIN requests AS peer USING (request_id, model, route, "at")
WHERE own.arm = 'shadow' AND peer.arm <> 'shadow' AND peer.fallback = ''
"""
"""The shadow's answers, each with the one that its user got from the arm assigned (``peer_``)."""


class LogEvidence:
    """Evidence from a log directory.

    Args:
        folder: the log's directory.
        shares: arm name to share of the route that is asked for, where they are known.
        cache: a file to keep the sums of earlier looks in, so that a look reads only what is
            new; without one, every look reads all of the route. The evidence is the same. It
            may be deleted at any time, and is where it is of no use.
        settled: how many seconds after a request came its row is surely in the log. A file is
            only begun once that has passed twice.
        paired: whether it is the evidence of a shadow: of its answers alone, each with the
            answer that the request's user got in the columns ``peer_ok``, ``peer_latency_ms``,
            ``peer_score`` and ``peer_prediction``.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        shares: Mapping[str, float] | None = None,
        cache: str | os.PathLike[str] | None = None,
        paired: bool = False,
        settled: float = SETTLED_SECONDS,
    ) -> None:
        self._folder = folder
        self._shares = dict(shares or {})
        self._cache = Path(cache) if cache is not None else None
        self._paired, self._settled = paired, settled

    def observe(
        self,
        model: str,
        route: int,
        metrics: Sequence[Metric | Measure],
        *,
        since: float,
        until: float,
        newcomers_after: int | None = None,
        going_on: Sequence[int] = (),
    ) -> Evidence:
        """The evidence of one route number, from requests with since <= at < until.

        Args:
            metrics: as ``slipway.metrics.measures`` makes them.
            newcomers_after: leave out units that were seen from this route number on before this
                route's, so that what remains is a cohort (``slipway.cohorts``). ``since`` is no
                later than the first of those routes.
            going_on: later route numbers under which the arms that are compared kept their
                weights: their requests count too, but for units that were moved to another arm
                than they first came to, or that come back to it.

        Raises:
            DataError: a bounded metric gave a value outside its bounds, or one is not finite.
        """
        # What counts nowhere is read too, since whether it does may only be known later.
        before = range(route if newcomers_after is None else newcomers_after, route)
        routes = ", ".join(str(int(number)) for number in (*before, route, *going_on))
        where = f"model = {_text(model)} AND {DRAWN} AND route IN ({routes})"
        first = "min(route) OVER (PARTITION BY unit)"
        apart = f"{first} < {int(route)} OR route > {first}" if before or going_on else ""
        asked = _Asked(where, since, until, apart, tuple(map(_measure, metrics)))
        if self._cache is None or until - since < 2 * self._settled:
            return self._look(asked, None)
        with held(self._cache) as mine:
            return self._go_on(asked, self._cache) if mine else self._look(asked, None)

    def _go_on(self, asked: _Asked, cache: Path) -> Evidence:
        """Look with the sums kept so far; without, where the file is of no use."""
        import duckdb

        try:
            return self._look(asked, cache)
        except (duckdb.Error, OSError) as error:
            log.warning("%s is thrown away, and all of the route is read: %s", cache, error)
            discard(cache)
        return self._look(asked, None)

    def _look(self, asked: _Asked, cache: Path | None) -> Evidence:
        from slipway.stores.gather import Gathering, Source
        from slipway.stores.inference_log import open_log

        db = open_log(self._folder, asked.since)
        try:
            _attach(
                db,
                cache,
                repr((asked.where, asked.since, asked.apart, asked.measures, self._paired)),
            )
            source = Source(*self._tables(db), asked.where, asked.since, apart=asked.apart)
            settled = math.inf if cache is None else self._settled
            return Gathering(db, source, asked.measures, settled).look(asked.until, self._shares)
        finally:
            db.close()

    def _tables(self, db: duckdb.DuckDBPyConnection) -> tuple[str, str]:
        """Where requests are read, and where those with what came back later."""
        if not self._paired:
            return "requests", "judged"
        for rows in ("requests", "judged"):
            db.execute(_PAIRS.format(name=f"paired_{rows}", rows=rows))
        return "paired_requests", "paired_judged"


def of_open(
    folder: str | os.PathLike[str],
    table: RouteTable,
    rollout: str,
    route: int,
    shares: Mapping[str, float],
    paired: bool = False,
) -> LogEvidence:
    """Evidence for looks at one route of an open rollout, whose sums are kept from look to look.

    Where answers may be streams no sums are kept: a request may be missing for any time.

    Args:
        folder, shares, paired: as of ``LogEvidence``.
        table: the one in force.
        rollout, route: whose sums they are, as of ``file_of``.
    """
    missing = longest(table)
    if missing is None:
        return LogEvidence(folder, shares, paired=paired)
    file = file_of(folder, table.model, rollout, route)
    return LogEvidence(folder, shares, file, paired, missing + SETTLED_SECONDS)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a look asks for; see ``Source`` and ``LogEvidence.observe``."""

    where: str
    since: float
    until: float
    apart: str
    measures: tuple[Measure, ...]


def _attach(db: duckdb.DuckDBPyConnection, cache: Path | None, asked: str) -> None:
    """Attach the sums kept so far, if they are those of what is asked."""
    if cache is None:
        db.execute("ATTACH ':memory:' AS kept")
        return
    identity = f"{_SUMS} {asked} {db.execute('SELECT version()').fetchone()}"
    db.execute(f"ATTACH {_text(str(cache))} AS kept")
    db.execute("CREATE TABLE IF NOT EXISTS kept.identity (told VARCHAR)")
    if db.execute("SELECT told FROM kept.identity").fetchall() != [(identity,)]:
        db.execute("DETACH kept")
        discard(cache)
        db.execute(f"ATTACH {_text(str(cache))} AS kept")
        db.execute("CREATE TABLE kept.identity AS SELECT $told AS told", {"told": identity})


def _measure(metric: Metric | Measure) -> Measure:
    """A bare metric is a measure of the same name."""
    if isinstance(metric, Measure):
        return metric
    return Measure(metric.name, metric.sql(), metric.type, metric.low, metric.high)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
