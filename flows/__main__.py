"""Run one flow in this process: ``python -m flows NAME '{"parameter": value}'``.

Brings a Prefect server along where none is named (see ``tasks.prefect_server``). It starts while
this process imports its libraries, so neither waits for the other.
"""

from __future__ import annotations

import importlib
import json
import logging
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from slipway import collector
from slipway.ending import ENDING
from slipway.errors import SlipwayError
from slipway.home import Home


class Terminal(logging.Filter):
    """What the person at the terminal sees and presses.

    An error of ours is told by ``main`` at the end, once and without tracebacks: Prefect's own
    words about it stay in its record and its UI. Ctrl-C and SIGTERM are noted, since a library may
    turn them into an error of its own, as DuckDB does, or lose them.
    """

    @property
    def interrupted(self) -> int:
        """The signal that told this process to end; 0 for none."""
        return ENDING.sent

    def interrupt(self, sent: int, _frame: FrameType | None) -> None:
        """Ctrl-C was pressed, or the machine wants us to end."""
        ENDING.sent = sent
        raise KeyboardInterrupt

    def lost(self, told: sys.UnraisableHookArgs) -> None:
        """Tell what was raised where nobody hears it; an interrupt is noted already."""
        if not (self.interrupted and told.exc_type is KeyboardInterrupt):
            sys.__unraisablehook__(told)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the terminal shows a line of the log."""
        error = record.exc_info[1] if record.exc_info else None
        ended = record.getMessage().startswith("Finished in state Failed(")
        return not (ended or self.interrupted or isinstance(error, SlipwayError))


def main(name: str, parameters: str) -> int:
    """Run a flow. Returns the exit code: 0 done, 1 refused, 2 wrong usage, 130 or 143 ended."""
    terminal = Terminal()
    ends = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, terminal.interrupt) for each in ends]
    sys.unraisablehook = terminal.lost
    try:
        result = _run(name, json.loads(parameters), terminal)
    except (KeyboardInterrupt, Exception) as error:
        if terminal.interrupted:
            sys.stderr.write(f"slipway {name}: interrupted; run the same again and it goes on\n")
            return 128 + terminal.interrupted
        if not isinstance(error, SlipwayError):
            raise
        sys.stderr.write(f"slipway {name}: {error}\n")
        return error.exit_code
    finally:
        for each, handler in zip(ends, before, strict=True):
            signal.signal(each, handler)
        sys.unraisablehook = sys.__unraisablehook__
    if result is not None:
        sys.stdout.write(f"{result}\n")
    return 0


INSPECTORS = {"release": ["tasks.suite"], "demo": ["tasks.suite"], "watch": ["tasks.drift"]}
LIBRARIES = {"release": ["skops.io", "mlflow.sklearn"], "demo": ["skops.io", "mlflow.sklearn"]}
"""What a flow will need in any case, and what is slow to import, by the flow's name.

skops comes first: its import looks through all modules that are loaded, for each of its types.
"""


def _run(name: str, parameters: dict[str, Any], terminal: Terminal) -> Any:
    from tasks.prefect_server import connect
    from tasks.warm import early

    server = connect(Home.of().root)  # before the first import of prefect
    with early(*INSPECTORS.get(name, ())):
        with collector.paused():
            for library in LIBRARIES.get(name, ()):
                importlib.import_module(library)
            flow = getattr(importlib.import_module(f"flows.{name}"), name)
        server.ready()
        return _told(flow, parameters, terminal)


def _told(flow: Callable[..., Any], parameters: dict[str, Any], terminal: Terminal) -> Any:
    for handler in logging.getLogger().handlers:
        handler.addFilter(terminal)
    try:
        return flow(**parameters)
    finally:
        for handler in logging.getLogger().handlers:
            handler.removeFilter(terminal)


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "{}")
    # At the end of a short run it warns that events are still to be sent, and then sends them.
    logging.getLogger("EventsWorker").setLevel(logging.ERROR)
    collector.done()
    sys.exit(code)
