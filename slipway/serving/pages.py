"""The gateway's own pages: alive, ready, metrics, version."""

from __future__ import annotations

from time import monotonic

from slipway import __version__
from slipway.serving.exchange import JSON, Exchange
from slipway.serving.metrics import Metrics
from slipway.serving.routes import Book

_TEXT = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
_FIXED = {
    b"/healthz": b'{"status":"alive"}',
    b"/ping": b"\n",
    b"/health": b"\n",
    b"/version": __version__.encode(),
    b"/v2": b'{"name":"slipway","version":"%b","extensions":[]}' % __version__.encode(),
    b"/v2/health/live": b'{"live":true}',
}
_READY = (b"/readyz", b"/v2/health/ready")
_METRICS = b"/metrics"
_PATHS = "POST /{model}/invocations, POST /{model}/feedback, GET /healthz, /readyz, /metrics"


class Pages:
    """Answers what is asked of the gateway itself."""

    def __init__(self, book: Book, metrics: Metrics) -> None:
        self._book, self._metrics = book, metrics

    def show(self, exchange: Exchange) -> None:
        """Answer, if only by saying what there is."""
        path, shown = exchange.path, exchange.path.decode("latin-1")
        if path not in _FIXED and path not in _READY and path != _METRICS:
            known = ", ".join(sorted(self._book.served)) or "none yet"
            do = f"{_PATHS}; models served: {known}"
            exchange.refuse(404, "there is nothing at this path", shown, do)
        elif exchange.method not in (b"GET", b"HEAD"):
            exchange.refuse(405, "this path is only read", shown, "use GET")
        elif path in _FIXED:
            exchange.respond(200, _FIXED[path], JSON)
        elif path == _METRICS:
            self._show_metrics(exchange)
        elif self._book.served:
            exchange.respond(200, b'{"status":"ready","ready":true}', JSON)
        else:
            exchange.refuse(503, "no route is known yet", do="release a model first")

    def _show_metrics(self, exchange: Exchange) -> None:
        metrics, now = self._metrics, monotonic()
        for served in self._book.served.values():
            metrics.set("slipway_route_number", served.number, model=served.model)
            left = max(0.0, served.lease_until - now)
            metrics.set("slipway_lease_seconds_left", left, model=served.model)
            for arm in served.arms:
                metrics.set("slipway_breaker_state", arm.breaker.state(now), **arm.labels)
        exchange.respond(200, metrics.text(), _TEXT)
