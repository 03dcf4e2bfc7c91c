"""Requests that arrive together are answered by one run of the engine.

Nobody waits for company: what the event loop has read in one turn is run at the end of that turn.
While the engine runs, the next requests gather in the sockets, so batches grow by themselves with
the load and are single rows without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from slipway.serving.engine import Engine
from slipway.serving.signature import Table


class Job(NamedTuple):
    """A checked table, and who is told the outcome: predictions, or why there are none."""

    table: Table
    rows: int
    done: Callable[[list[float]], None]
    failed: Callable[[Exception], None]


class Batcher:
    """Gathers jobs within one turn of the event loop.

    Args:
        engine: what answers.
        max_rows: the most rows of one run.
    """

    def __init__(self, engine: Engine, max_rows: int) -> None:
        self._engine = engine
        self._max_rows = max_rows
        self._jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        """Answer a job at the end of this turn of the event loop."""
        if not self._jobs:
            asyncio.get_running_loop().call_soon(self._run)
        self._jobs.append(job)

    def _run(self) -> None:
        jobs, self._jobs = self._jobs, []
        while jobs:
            size = _how_many(jobs, self._max_rows)
            batch, jobs = jobs[:size], jobs[size:]
            self._answer(batch)

    def _answer(self, batch: list[Job]) -> None:
        try:
            predictions = self._engine.predict(_together(batch))
        except Exception as error:  # handed to whoever asked; one bad row must not fail the others
            if len(batch) == 1:
                batch[0].failed(error)
                return
            for job in batch:
                self._answer([job])
            return
        start = 0
        for job in batch:
            job.done(predictions[start : start + job.rows])
            start += job.rows


def _how_many(jobs: list[Job], max_rows: int) -> int:
    """How many jobs from the front fit into one run: at least one."""
    rows = 0
    for count, job in enumerate(jobs):
        rows += job.rows
        if count and rows > max_rows:
            return count
    return len(jobs)


def _together(batch: list[Job]) -> Table:
    if len(batch) == 1:
        return batch[0].table
    return {name: [value for job in batch for value in job.table[name]] for name in batch[0].table}
