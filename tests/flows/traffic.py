"""Users of the small project: requests through the gateway, and what really happened afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from small_project import strokes
from workplace import Workplace

FEATURES = ("temperature", "load", "material")


def send(place: Workplace, model: str, count: int, seed: int) -> list[str]:
    """Send ``count`` strokes, one request each, with the outcome at once. Who served each."""
    return [_one(place, model, row) for row in strokes(count, seed)]


def _one(place: Workplace, model: str, row: dict[str, object]) -> str:
    body = {"dataframe_records": [{name: row[name] for name in FEATURES}]}
    answer = place.post(f"/{model}/invocations", body, unit=str(row["machine"]))
    assert answer.status == 200, answer
    note = {
        "request_id": answer.headers["x-slipway-request-id"],
        "kind": "label",
        "value": row["failed"],
    }
    assert place.post(f"/{model}/feedback", note).status == 200
    return answer.headers["x-slipway-served-by"]


@contextmanager
def traffic(place: Workplace, model: str) -> Iterator[None]:
    """Strokes without end for the length of a block; a request that fails fails the block."""
    stop, faults = threading.Event(), []

    def run() -> None:
        seed = 100
        try:
            while not stop.is_set():
                send(place, model, 20, seed := seed + 1)
        except Exception as error:
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    assert not faults, faults
