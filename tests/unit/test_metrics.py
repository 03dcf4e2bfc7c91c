"""Metrics over several workers, in Prometheus's text format."""

from prometheus_client.parser import text_string_to_metric_families

from slipway.serving.metrics import Metrics, Shared

LABELS = {"model": 'a "b" \\c', "release": "r", "arm": "stable"}


def samples(metrics):
    """Every sample of the exposition, by name and labels, as Prometheus's own parser reads it."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def value(metrics, name, **labels):
    """One sample."""
    return samples(metrics)[name, tuple(sorted(labels.items()))]


def test_workers_are_added_up():
    """Any worker tells the sum of all; gauges that cannot be added tell the highest."""
    shared = Shared(workers=2, region_bytes=65536)
    one, two = Metrics(shared, 0), Metrics(shared, 1)
    one.count("slipway_errors_total", **LABELS, kind="timeout")
    two.count("slipway_errors_total", **LABELS, kind="timeout")
    one.set("slipway_route_number", 7, model="m")
    two.set("slipway_route_number", 8, model="m")
    for metrics in (one, two):
        assert value(metrics, "slipway_errors_total", **LABELS, kind="timeout") == 2
        assert value(metrics, "slipway_route_number", model="m") == 8


def test_a_worker_that_takes_a_dead_ones_place_counts_on():
    """Counters never go back; gauges start anew."""
    shared = Shared(workers=1, region_bytes=65536)
    first = Metrics(shared, 0)
    first.count("slipway_errors_total", **LABELS, kind="timeout")
    first.set("slipway_in_flight", 5)
    first.observe(first.at("slipway_request_seconds", **LABELS), 0.004)
    second = Metrics(shared, 0)
    second.count("slipway_errors_total", **LABELS, kind="timeout")
    second.observe(second.at("slipway_request_seconds", **LABELS), 0.004)
    assert value(second, "slipway_errors_total", **LABELS, kind="timeout") == 2
    assert value(second, "slipway_in_flight") == 0
    assert value(second, "slipway_request_seconds_count", **LABELS) == 2


def test_a_histogram_is_cumulative():
    """Each bucket counts what is at most its bound; the sum and the count are right."""
    metrics = Metrics(Shared(region_bytes=65536))
    place = metrics.at("slipway_request_seconds", **LABELS)
    for seconds in (0.0005, 0.001, 0.0015, 99.0):
        metrics.observe(place, seconds)
    name = "slipway_request_seconds"
    assert value(metrics, f"{name}_bucket", **LABELS, le="0.001") == 2
    assert value(metrics, f"{name}_bucket", **LABELS, le="0.002") == 3
    assert value(metrics, f"{name}_bucket", **LABELS, le="10.0") == 3
    assert value(metrics, f"{name}_bucket", **LABELS, le="+Inf") == 4
    assert value(metrics, f"{name}_count", **LABELS) == 4
    assert abs(value(metrics, f"{name}_sum", **LABELS) - 99.003) < 1e-9


def test_a_full_region_loses_series_and_nothing_else():
    """Series beyond the room are not counted; those before them are right."""
    metrics = Metrics(Shared(region_bytes=4096))
    for number in range(200):
        metrics.count("slipway_errors_total", **LABELS, kind=str(number))
    assert value(metrics, "slipway_errors_total", **LABELS, kind="0") == 1
    assert 0 < len(samples(metrics)) < 200
