"""Users of the small project: requests through the gateway, and what really happened afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from small_project import strokes
from workplace import Workplace, until

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
    (row,) = strokes(1, seed=0)
    body = {"dataframe_records": [{name: row[name] for name in FEATURES}]}
    path = f"/{model}/invocations"
    # A gateway looks for new routes four times a second: a model's first may not be there yet.
    until(lambda: place.post(path, body, unit="first").status == 200, 10, f"{model} served")
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


class Users:
    """Four users who ask without end for the length of a block.

    Args:
        body: what each asks.

    Attributes:
        faults: every answer that was none.
    """

    def __init__(self, place: Workplace, model: str, body: Any) -> None:
        self.place, self.path, self.body = place, f"/{model}/invocations", body
        self.faults: list[Any] = []
        self._met: set[str] = set()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(4)]

    def _ask(self, number: int) -> None:
        count = 0
        while not self._stop.is_set():
            count += 1
            try:
                answer = self.place.post(self.path, self.body, unit=f"u{number}-{count % 50}")
            except Exception as error:
                self.faults.append(error)
                continue
            self._met.add(answer.headers["x-slipway-served-by"])
            if answer.status != 200:
                self.faults.append(answer)

    def have_met(self, releases: set[str], *, anew: bool = False) -> None:
        """Wait until each of these releases has answered somebody; anew: from now on."""
        if anew:
            self._met = set()
        until(lambda: self.faults or releases <= self._met, 60, "answers of each release")
        assert self.faults == []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
