"""One worker of a gateway: an event loop that serves, a thread that writes the log, no store.

Routes come from the supervisor. When it dies, the worker answers what was asked and ends: without
it nobody would tell the worker of a rollback.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from slipway.errors import SlipwayError
from slipway.serving.channel import Lines, Message, read_route, send
from slipway.serving.connection import Limits
from slipway.serving.dispatch import Gateway
from slipway.serving.feedback import Desk, Memory
from slipway.serving.http1 import Server, serve
from slipway.serving.metrics import Metrics, Shared
from slipway.serving.process import loop_factory
from slipway.serving.recorder import Recorder
from slipway.serving.request_id import Minter
from slipway.serving.routes import Book, Parts
from slipway.serving.shared import Table
from slipway.stores.log_writer import LogWriter

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.25
_MOST_BODY = 1 << 30  # of any model's policy; each model's own limit is applied before its body


@dataclass(frozen=True, slots=True)
class Common:
    """What all workers of a gateway share.

    Args:
        host, port: where they listen, together.
        log_folder: of the inference log.
        key: the gateways' secret.
        tls: certificate and key file, or empty.
        grace_seconds: how long requests under way may still take at the end.
        metrics, feedback, buckets: shared memory.
    """

    host: str
    port: int
    log_folder: Path
    key: bytes
    tls: tuple[str, str]
    grace_seconds: float
    metrics: Shared
    feedback: Table
    buckets: Table


class Worker:
    """The process's parts."""

    def __init__(self, common: Common, number: int, end: socket.socket) -> None:
        self._common, self._end = common, end
        self._stop = asyncio.Event()
        self._metrics = metrics = Metrics(common.metrics, number)
        self._log = LogWriter(common.log_folder)
        minter = Minter(common.key, os.urandom(4))
        self._book = Book(Parts(metrics, common.key, common.buckets))
        desk = Desk(minter, Memory(common.feedback), self._log, metrics)
        self._recorder = Recorder(metrics, self._log)
        self._gateway = Gateway(self._book, minter, self._recorder, desk)
        self._lines = Lines()
        self._context = _context(common.tls)

    async def run(self) -> int:
        """Serve until told to stop. Returns the exit code."""
        common, loop = self._common, asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_certificate)
        server = await serve(
            self._gateway.handle,
            common.host,
            common.port,
            limits=Limits(),
            admit=self._gateway.admit,
            reuse_port=True,
            tls=self._context,
        )
        self._end.setblocking(False)
        loop.add_reader(self._end, self._hear)
        send(self._end, {"listening": server.port})
        flusher = loop.create_task(self._flush())
        gc.collect()
        gc.freeze()  # what is here now stays: collections need not look at it
        gc.set_threshold(50_000, 20, 50)
        await self._stop.wait()
        return await self._end_well(server, flusher)

    async def _end_well(self, server: Server, flusher: asyncio.Task[None]) -> int:
        cut = await server.drain(self._common.grace_seconds)
        flusher.cancel()
        self._log.close()
        return 1 if cut else 0

    async def _flush(self) -> None:
        while True:
            self._log.flush()
            self._metrics.set("slipway_log_rows_dropped_total", self._log.dropped)
            self._metrics.set("slipway_in_flight", self._recorder.in_flight)
            await asyncio.sleep(FLUSH_SECONDS)

    def _reload_certificate(self) -> None:
        if self._context is None:
            return
        try:
            _context(self._common.tls)  # a pair that does not fit would spoil the one that serves
            self._context.load_cert_chain(*self._common.tls)
        except (OSError, ssl.SSLError) as error:
            told = "the certificate in %s cannot be read, the last one stays: %s"
            log.error(told, self._common.tls[0], error)
        else:
            log.info("the certificate has been read anew")

    # What the supervisor says.

    def _hear(self) -> None:
        try:
            data = self._end.recv(1 << 20)
        except BlockingIOError:
            return
        if not data:
            log.error("the supervisor has died: this worker ends")
            asyncio.get_running_loop().remove_reader(self._end)
            self._stop.set()
            return
        for message in self._lines.feed(data):
            self._take(message)

    def _take(self, message: Message) -> None:
        route, until = read_route(message)
        model, number = route.table.model, route.table.number
        try:
            self._book.apply(route, until)
        except SlipwayError as error:
            log.error(
                "route %d of %s cannot be served, the last one stays: %s", number, model, error
            )
            return
        send(self._end, {"model": model, "serves": number})


def _context(tls: tuple[str, str]) -> ssl.SSLContext | None:
    if not tls[0]:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*tls)
    return context


def work(common: Common, number: int, end: socket.socket) -> int:
    """Be a worker; returns the exit code."""

    async def main() -> int:
        return await Worker(common, number, end).run()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(main())
