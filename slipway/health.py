"""What runs, as against what should: replicas and gateways, and whether they answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from slipway.daemon import answers
from slipway.rollout import ModelState

LOOK_SECONDS = 0.5
GATEWAY_SILENT_SECONDS = 8.0
"""A gateway that is alive acknowledges its routes every five seconds, and a look later."""


def of(
    state: ModelState,
    placed: Mapping[str, Sequence[str]],
    acknowledged: Mapping[str, tuple[int, float]],
    now: float,
    probe: Callable[[Sequence[str]], Mapping[str, bool]],
) -> dict[str, Any]:
    """What runs of a model.

    Args:
        placed: release id to the ``host:port`` where it was last said to answer.
        acknowledged: gateway to the route it serves and when it said so, in seconds.
        now: the same clock.
        probe: endpoints to whether each answers.

    Returns:
        ``replicas``, one row per endpoint of a release that should run (a release that is placed
        nowhere has a row with no endpoint), and ``gateways``, those that spoke lately.
    """
    found = probe([e for release in state.needed for e in placed.get(release, ())])
    replicas = [
        {"release": release, "endpoint": endpoint, "answers": found.get(endpoint, False)}
        for release in state.needed
        for endpoint in placed.get(release) or [""]
    ]
    gateways = [
        {"name": name, "route": route, "seconds_ago": round(max(now - at, 0.0), 1)}
        for name, (route, at) in sorted(acknowledged.items())
        if now - at <= GATEWAY_SILENT_SECONDS
    ]
    return {"replicas": replicas, "gateways": gateways}


def probe(endpoints: Sequence[str]) -> dict[str, bool]:
    """Ask replicas, all at once, whether they are ready."""
    if not endpoints:
        return {}
    with ThreadPoolExecutor(min(len(endpoints), 32)) as together:
        asked = together.map(lambda e: answers(e, "/ping", LOOK_SECONDS), endpoints)
        return dict(zip(endpoints, asked, strict=True))
