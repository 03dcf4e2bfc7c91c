"""The process of the embedded Prefect server; ``tasks.prefect_server`` starts it.

A plain ``prefect server start`` would leave two things to chance that this does not: it takes over
a socket that already listens, so no port can be lost between choosing and binding it, and it ends
by itself when nobody has used it for a while.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from slipway import collector
from tasks.prefect_server import HOST, IDLE_SECONDS, write_record

Message = MutableMapping[str, Any]
Asgi = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


class InUse:
    """An ASGI application that knows when it was last used."""

    def __init__(self, app: Asgi) -> None:
        self.app = app
        self.open = 0
        self.last = time.monotonic()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        """Pass a request on, and note that somebody is there."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        self.open += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.open -= 1
            self.last = time.monotonic()

    def idle(self) -> float:
        """Seconds since the last request or open connection."""
        return 0.0 if self.open else time.monotonic() - self.last


def _held(path: Path) -> bool:
    """Whether a run holds the lock, however quiet it is: a training may last hours."""
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def _serve(folder: Path, listener: socket.socket, idle_seconds: float) -> None:
    with collector.paused():
        import uvicorn
        from prefect.server.api.server import create_app

        app = InUse(create_app(final=True))
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=3)
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not serving.done():
        await asyncio.wait([serving], timeout=min(15.0, idle_seconds))
        if app.idle() >= idle_seconds and not _held(folder / "users.lock"):
            server.should_exit = True
    await serving


def main(folder: Path, descriptor: int) -> None:
    """Serve on an inherited listening socket until told to end or idle."""
    listener = socket.socket(fileno=descriptor)
    write_record(folder, f"http://{HOST}:{listener.getsockname()[1]}/api", os.getpid())
    idle_seconds = float(os.environ.get("SLIPWAY_PREFECT_IDLE", IDLE_SECONDS))
    asyncio.run(_serve(folder, listener, idle_seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
