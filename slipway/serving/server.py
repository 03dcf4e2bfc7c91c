"""The model server inside a bundle: ``python BUNDLE/serve.py --port 8080``.

Speaks MLflow's scoring protocol and the Open Inference Protocol V2 over REST. Serving ONNX it
imports neither pandas nor scikit-learn. ``SLIPWAY_ENGINE_THREADS`` gives the ONNX engine more than
one thread; more replicas usually serve better.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from math import isfinite
from pathlib import Path
from urllib.parse import quote

from slipway import __version__
from slipway.errors import SlipwayError
from slipway.serving.batch import Batcher, Job
from slipway.serving.engine import Engine, load
from slipway.serving.exchange import JSON, Exchange, header_lines
from slipway.serving.http1 import serve
from slipway.serving.protocols import mlflow_scoring, open_inference
from slipway.serving.signature import BadInput, Table

log = logging.getLogger(__name__)

ErrorBody = Callable[[BadInput], bytes]
Encode = Callable[[list[float]], tuple[bytes, bytes]]
"""Predictions to a body and rendered headers."""


class ModelServer:
    """Routes requests to protocols, and what they decode to the engine."""

    def __init__(self, engine: Engine) -> None:
        self._manifest = engine.manifest
        self._signature = engine.manifest.requests()
        self._batcher = Batcher(engine, engine.manifest.max_rows)
        model = f"/v2/models/{quote(engine.manifest.model, safe='')}"
        fixed = {
            "/ping": b"\n",
            "/health": b"\n",
            "/v2": open_inference.server_metadata(__version__),
            "/v2/": open_inference.server_metadata(__version__),
            "/v2/health/live": b'{"live":true}',
            "/v2/health/ready": b'{"ready":true}',
            model: open_inference.model_metadata(engine.manifest),
            f"{model}/ready": json.dumps({"name": engine.manifest.model, "ready": True}).encode(),
        }
        self._fixed = {path.encode(): (body, JSON) for path, body in fixed.items()}
        self._fixed[b"/version"] = (__version__.encode(), b"content-type: text/plain\r\n")
        self._posts: dict[bytes, Callable[[Exchange], None]] = {
            b"/invocations": self._invocations,
            f"{model}/infer".encode(): self._infer,
        }

    def handle(self, exchange: Exchange) -> None:
        """Answer one request, now or at the end of the event loop's turn."""
        path, method = exchange.path, exchange.method
        post, fixed = self._posts.get(path), self._fixed.get(path)
        if post and method == b"POST":
            try:
                post(exchange)
            except BadInput as error:
                exchange.respond(error.status, _error_body(path)(error), JSON)
        elif fixed and method in (b"GET", b"HEAD"):
            exchange.respond(200, *fixed)
        elif path == b"/memory" and method == b"GET":
            exchange.respond(200, b'{"bytes":%d}' % memory(), JSON)
        else:
            _respond_no_route(exchange, "POST" if post else "GET, HEAD" if fixed else "")

    def _invocations(self, exchange: Exchange) -> None:
        content_type = exchange.headers.get(b"content-type", b"").decode("latin-1")
        table = mlflow_scoring.decode(content_type, exchange.body, self._signature)
        self._predict(exchange, table, lambda rows: (mlflow_scoring.encode(rows), JSON))

    def _infer(self, exchange: Exchange) -> None:
        length = exchange.headers.get(open_inference.BINARY_HEADER.encode())
        request, table = open_inference.decode(
            exchange.body, length.decode("latin-1") if length is not None else None
        )
        self._predict(exchange, table, partial(_inference, self._manifest.model, request))

    def _predict(self, exchange: Exchange, table: Table, encode: Encode) -> None:
        checked = self._signature.check(table)
        rows = len(next(iter(checked.values())))
        done = partial(_respond_predictions, exchange, encode)
        self._batcher.submit(Job(checked, rows, done, partial(_respond_failure, exchange)))


def _inference(
    model: str, request: open_inference.Request, rows: list[float]
) -> tuple[bytes, bytes]:
    body, json_length = open_inference.encode(model, request, rows)
    if json_length is None:
        return body, JSON
    length = {open_inference.BINARY_HEADER: str(json_length)}
    return body, b"content-type: application/octet-stream\r\n" + header_lines(length)


def _error_body(path: bytes) -> ErrorBody:
    v2 = path.startswith(b"/v2")
    return open_inference.encode_error if v2 else mlflow_scoring.encode_error


def _respond_predictions(exchange: Exchange, encode: Encode, predictions: list[float]) -> None:
    if all(map(isfinite, predictions)):
        exchange.respond(200, *encode(predictions))
    else:  # JSON has no word for it, and a null would look like an answer
        row = next(i for i, value in enumerate(predictions) if not isfinite(value))
        error = ArithmeticError(f"the answer for row {row} is {predictions[row]}")
        _respond_failure(exchange, error)


def _respond_failure(exchange: Exchange, error: Exception) -> None:
    if not isinstance(error, BadInput):
        log.error("the model failed on a request", exc_info=error)
        error = BadInput(
            f"the model failed on this request: {type(error).__name__}: {error}"[:300],
            do="see the model server's log",
            status=500,
            code="INTERNAL_ERROR",
        )
    exchange.respond(error.status, _error_body(exchange.path)(error), JSON)


def _respond_no_route(exchange: Exchange, allowed: str) -> None:
    path = exchange.path.decode("latin-1")
    if allowed:
        error = BadInput("the method is not allowed", where=path, do=f"use {allowed}", status=405)
    else:
        error = BadInput(
            "there is nothing here", where=path, do="POST to /invocations, or see /v2", status=404
        )
    headers = JSON + header_lines({"allow": allowed}) if allowed else JSON
    exchange.respond(error.status, _error_body(exchange.path)(error), headers)


def memory() -> int:
    """Bytes of memory that this process holds and that cannot be had again without ending it.

    What it has mapped of files is left out: the kernel takes that back when memory is short, and so
    counts no container as out of memory for it. Where there is no ``/proc``, the most it ever had.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    held = dict(line.split(":", 1) for line in lines)
    return sum(int(held[name].split()[0]) << 10 for name in ("RssAnon", "RssShmem"))


def announce(path: Path, host: str, port: int) -> None:
    """Say, in a file that appears whole, where this process answers."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps({"pid": os.getpid(), "host": host, "port": port}))
    part.replace(path)


async def _serve(bundle: Path, host: str, port: int, file: Path | None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    engine = load(bundle)
    server = await serve(ModelServer(engine).handle, host, port)
    # What is loaded stays: the garbage collector need not walk it again on every round.
    gc.collect()
    gc.freeze()
    if file is not None:
        announce(file, host, server.port)
    log.info("%s answers at http://%s:%d", engine.manifest.model, host, server.port)
    await stop.wait()
    await server.drain()


def main(bundle: Path, arguments: list[str] | None = None) -> int:
    """Serve a bundle until SIGTERM or SIGINT, then answer what was asked and stop.

    Args:
        bundle: the bundle's directory.
        arguments: the command line's, without the program.

    Returns:
        The exit code: 0, or 1 with the reason on stderr.
    """
    parser = argparse.ArgumentParser(description="Serve the model in this bundle.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0 for any free one")
    parser.add_argument("--announce", type=Path, help="write pid, host and port here when ready")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")

    import uvloop

    try:
        uvloop.run(_serve(bundle, options.host, options.port, options.announce))
    except (SlipwayError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
