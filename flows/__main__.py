"""Run one flow in this process: ``python -m flows NAME '{"parameter": value}'``.

Brings a Prefect server along where none is named (see ``tasks.prefect_server``). It starts while
this process imports its libraries, so neither waits for the other.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys

from slipway.errors import SlipwayError
from slipway.home import Home


def main(name: str, parameters: str) -> int:
    """Run a flow; an error of ours is told in its own words, without a traceback."""
    from tasks.prefect_server import connect

    try:
        server = connect(Home.of().root)  # before the first import of prefect
        flow = getattr(importlib.import_module(f"flows.{name}"), name)
        server.ready()
        for handler in logging.getLogger().handlers:
            handler.addFilter(_worth_showing)
        result = flow(**json.loads(parameters))
    except SlipwayError as error:
        sys.stderr.write(f"slipway {name}: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write(f"slipway {name}: interrupted; run the same again and it goes on\n")
        return 130
    if result is not None:
        sys.stdout.write(f"{result}\n")
    return 0


def _worth_showing(record: logging.LogRecord) -> bool:
    """Leave out of the terminal what `main` tells at the end, once and without tracebacks.

    Prefect's own record of the run, and its UI, keep all of it.
    """
    error = record.exc_info[1] if record.exc_info else None
    ended = record.getMessage().startswith("Finished in state Failed(")
    return not ended and not isinstance(error, SlipwayError)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "{}"))
