"""The garbage collector, kept from walking over what an import has made.

Imports make hundreds of thousands of objects that live as long as the process. Collecting while
they are made, and once more when the process ends, took a third of the time of a process that
imports Prefect or Great Expectations and does little else.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Run a block, of imports mostly, without collections; what it made is never collected."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def done() -> None:
    """Before a process ends: the interpreter's last collections find nothing to walk over.

    DuckDB's binding (nanobind) takes what was not collected for leaks, and says so on stderr; where
    it is loaded, the process ends the slow way.
    """
    if "duckdb" in sys.modules:
        gc.unfreeze()
    else:
        gc.freeze()
