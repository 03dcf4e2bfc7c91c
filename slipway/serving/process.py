"""What every serving process does: listen, announce where, run until told to stop, drain.

Needs nothing of slipway but the HTTP module, so that a bundle can carry a copy.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from slipway.serving.http1 import Server


def announce(path: str | os.PathLike[str], host: str, port: int) -> None:
    """Write ``{"pid", "host", "port"}`` to a file, whole or not at all.

    Whoever started the process waits for this file: it appears once the process can answer.
    """
    target = Path(path)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.write_text(json.dumps({"pid": os.getpid(), "host": host, "port": port}))
    part.replace(target)


def run(
    start: Callable[[], Awaitable[Server]],
    *,
    host: str,
    announce_to: str = "",
    grace_seconds: float = 10.0,
    stopped: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Serve until SIGTERM or SIGINT, then answer what was asked and end.

    Args:
        start: makes the server listen; called on the event loop.
        host: as announced.
        announce_to: the file to announce in, or empty.
        grace_seconds: how long requests under way may still take.
        stopped: called on the loop after the drain.

    Returns:
        The exit code: 0, or 1 where connections outlived the grace time.
    """

    async def main() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = await start()
        if announce_to:
            announce(announce_to, host, server.port)
        await stop.wait()
        cut = await server.drain(grace_seconds)
        if stopped:
            await stopped()
        return 1 if cut else 0

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main())


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's where it is there; Python's own serves too, slower."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
