"""The evidence source of the gateway's inference log."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.evidence import Evidence, Measure

if TYPE_CHECKING:
    import duckdb

    from slipway.ports import Metric

SETTLED_SECONDS = 3.0
"""How old a row must be before a look that goes on from earlier ones reads it: by then it is
surely in the log, so that none is passed over."""


_SUMS = 3
"""How sums are counted; kept sums of another number are not gone on from. 2: a request whose label
comes after a look is counted once. 3: of values that came together, the first is settled."""

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
            new; without one, every look reads all of the route.
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
    ) -> None:
        self._folder = folder
        self._shares = dict(shares or {})
        self._cache = Path(cache) if cache is not None else None
        self._paired = paired

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
                route's, so that what remains is a cohort (``slipway.cohorts``).
            going_on: later route numbers under which the arms that are compared kept their
                weights: their requests count too, but for units that were moved to another arm
                than they first came to, or that come back to it.

        Raises:
            DataError: a bounded metric gave a value outside its bounds, or one is not finite.
        """
        from slipway.stores.gather import Gathering, Source
        from slipway.stores.inference_log import open_log

        measures = [_measure(m) for m in metrics]
        of = f"model = {_text(model)} AND {DRAWN}"
        where = f"{of} AND route = {int(route)}"
        if going_on:
            those = f"{of} AND route IN ({', '.join(str(int(r)) for r in (route, *going_on))})"
            # A unit in two arms of its first route stays in both, and is found to have crossed.
            first = f"SELECT unit, min(route) FROM requests WHERE {those} GROUP BY unit"  # noqa: S608
            came = f"SELECT unit, arm FROM requests WHERE {those} AND (unit, route) IN ({first})"  # noqa: S608
            where = f"{those} AND (unit, arm) IN ({came})"
        if newcomers_after is not None:
            where += (
                f" AND unit NOT IN (SELECT unit FROM requests WHERE {of} "  # noqa: S608
                f"AND route >= {int(newcomers_after)} AND route < {int(route)})"
            )
        db = open_log(self._folder)
        try:
            self._attach(db, repr((where, since, measures, self._paired)))
            end = until - SETTLED_SECONDS if self._cache else until
            source = Source(*self._tables(db), where, since)
            return Gathering(db, source, measures).look(end, self._shares)
        finally:
            db.close()

    def _tables(self, db: duckdb.DuckDBPyConnection) -> tuple[str, str]:
        """Where requests are read, and where those with what came back later."""
        if not self._paired:
            return "requests", "judged"
        for rows in ("requests", "judged"):
            db.execute(_PAIRS.format(name=f"paired_{rows}", rows=rows))
        return "paired_requests", "paired_judged"

    def _attach(self, db: duckdb.DuckDBPyConnection, asked: str) -> None:
        """Attach the sums kept so far, if they are those of what is asked."""
        identity = f"{_SUMS} {asked} {db.execute('SELECT version()').fetchone()}"
        if self._cache is None:
            db.execute("ATTACH ':memory:' AS kept")
            return
        db.execute(f"ATTACH {_text(str(self._cache))} AS kept")
        db.execute("CREATE TABLE IF NOT EXISTS kept.identity (told VARCHAR)")
        if db.execute("SELECT told FROM kept.identity").fetchall() != [(identity,)]:
            db.execute("DETACH kept")
            self._cache.unlink()
            db.execute(f"ATTACH {_text(str(self._cache))} AS kept")
            db.execute("CREATE TABLE kept.identity AS SELECT $told AS told", {"told": identity})


def _measure(metric: Metric | Measure) -> Measure:
    """A bare metric is a measure of the same name."""
    if isinstance(metric, Measure):
        return metric
    return Measure(metric.name, metric.sql(), metric.type, metric.low, metric.high)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
