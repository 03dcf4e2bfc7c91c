"""``python -m slipway.serving.gateway``: the gateway's process, a ledger and a log wired in."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.serving.dispatch import Gateway
from slipway.serving.http1 import Server, serve
from slipway.serving.metrics import Metrics
from slipway.serving.process import run
from slipway.serving.request_id import Minter, load_key
from slipway.serving.routes import Book

if TYPE_CHECKING:
    from slipway.ports import LedgerStore
    from slipway.routing import Route
    from slipway.stores.inference_log import LogWriter

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25
POLL_SECONDS = 0.25
ACKNOWLEDGE_SECONDS = 5.0


class Watcher:
    """Reads routes from a ledger on a thread of its own and hands what is new to the loop."""

    def __init__(self, url: str, name: str, gateway: Gateway) -> None:
        self._url, self._name, self._gateway = url, name, gateway
        self._loop = asyncio.get_running_loop()
        self._seen: dict[str, Route] = {}
        self._told: dict[str, tuple[int, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="routes", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the poll under way."""
        self._stop.set()
        self._thread.join(5.0)

    def _watch(self) -> None:
        store: LedgerStore | None = None
        failing = False
        while not self._stop.is_set():
            try:
                store = store or _open(self._url)
                self._poll(store)
                failing = False
            except Exception as error:
                # Whatever is wrong with the ledger, users are served with the routes known.
                if not failing:
                    log.error(
                        "the ledger cannot be read, serving on with the last routes: %s", error
                    )
                failing = True
                self._loop.call_soon_threadsafe(self._count_failure)
            self._stop.wait(POLL_SECONDS)

    def _poll(self, store: LedgerStore) -> None:
        for model in store.models():
            route = store.route(model)
            if route is None:
                continue
            if route != self._seen.get(model):
                left = route.lease.left(time.time()) if route.lease else 0.0
                self._put_in_force(route, time.monotonic() + left)
            number, told = self._told.get(model, (-1, 0.0))
            now = time.time()
            if self._seen[model].table.number != number or now - told > ACKNOWLEDGE_SECONDS:
                number = self._seen[model].table.number
                store.acknowledge(self._name, model, number, now)
                self._told[model] = (number, now)

    def _put_in_force(self, route: Route, lease_until: float) -> None:
        """Swap on the loop, and wait until it is done: only then may it be acknowledged."""

        async def swap() -> None:
            self._gateway.book.apply(route, lease_until)

        asyncio.run_coroutine_threadsafe(swap(), self._loop).result(timeout=30.0)
        self._seen[route.table.model] = route

    def _count_failure(self) -> None:
        metrics = self._gateway.metrics
        metrics.cells[metrics.at("slipway_route_polls_failed_total")] += 1


def _open(url: str) -> LedgerStore:
    from slipway.stores.sql_ledger import open_ledger

    return open_ledger(url)


class Process:
    """One gateway process: what is started, and what is stopped in turn."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.log: LogWriter
        self.watcher: Watcher
        self._flusher: asyncio.TimerHandle

    async def start(self) -> Server:
        """Listen, then look for routes: liveness does not wait for the ledger."""
        from slipway.stores.inference_log import LogWriter

        options = self.options
        metrics = Metrics()
        self.log = LogWriter(Path(options.log))
        key = load_key(Path(options.key_file or Path(options.log) / "request-ids.key"))
        gateway = Gateway(Book(metrics), Minter(key, os.urandom(4)), self.log, metrics)
        server = await serve(gateway.handle, options.host, options.port, admit=gateway.admit)
        name = options.name or f"{options.host}:{server.port}"
        self.watcher = Watcher(options.ledger, name, gateway)
        self.watcher.start()
        self._flush()
        return server

    def _flush(self) -> None:
        self.log.flush()
        self._flusher = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    async def stop(self) -> None:
        """After the drain: no more routes, every row on disk."""
        self._flusher.cancel()
        self.watcher.stop()
        self.log.close()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    own = argparse.ArgumentParser(prog="python -m slipway.serving.gateway", description=__doc__)
    own.add_argument("--host", default="127.0.0.1")
    own.add_argument("--port", type=int, default=8700, help="0 for any free one")
    own.add_argument("--ledger", required=True, help="URL of the ledger whose routes are served")
    own.add_argument("--log", required=True, help="directory of the inference log")
    own.add_argument("--key-file", default="", help="secret of request ids (default: in the log)")
    own.add_argument("--announce", default="", help="file to write pid, host and port to")
    own.add_argument("--name", default="", help="how this gateway signs its acknowledgements")
    own.add_argument("--grace", type=float, default=10.0, help="seconds to drain on SIGTERM")
    return own


def main(arguments: list[str]) -> int:
    """Serve until told to stop."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    # The route thread must give the event loop its turn at once, not after Python's usual 5 ms.
    sys.setswitchinterval(0.0005)
    process = Process(options)
    return run(
        process.start,
        host=options.host,
        announce_to=options.announce,
        grace_seconds=options.grace,
        stopped=process.stop,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
