"""A gateway's supervisor: starts workers, reads the ledger, tells them the routes.

It is a process of its own, so that no database driver runs in a process that serves. A worker that
dies is replaced. If the ledger cannot be read, the workers serve on with the routes they have, and
leases run out by their own clocks.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from slipway.errors import SlipwayError
from slipway.serving.channel import Lines, route_message, send
from slipway.serving.metrics import Metrics
from slipway.serving.worker import Common, work
from slipway.stores.inference_log import load_feedback, needs_compaction, note_unclean_ends

if TYPE_CHECKING:
    from slipway.ports import LedgerStore
    from slipway.routing import Route

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
ACKNOWLEDGE_SECONDS = 5.0
RESTART_SECONDS = 0.5
FORGET_SECONDS = 3600.0
"""How often the log is looked through for rows that are kept no longer."""


@dataclass
class Member:
    """A worker as its supervisor sees it.

    Args:
        number: its place among the workers.
        serves: model to the route number it says it serves.
    """

    number: int
    pid: int
    end: socket.socket
    lines: Lines = field(default_factory=Lines)
    listening: bool = False
    serves: dict[str, int] = field(default_factory=dict)


class Supervisor:
    """Starts and ends the workers, and keeps them told.

    Args:
        common: what the workers share.
        workers: how many.
        open_store: opens the ledger; called after the workers have been started.
        name: how this gateway signs what it serves.
        compact_seconds: how often segments of the log are looked through for compaction; 0 never.
        ready: called once, when every worker listens.
    """

    def __init__(
        self,
        common: Common,
        workers: int,
        open_store: Callable[[], LedgerStore],
        *,
        name: str,
        compact_seconds: float,
        ready: Callable[[], None],
    ) -> None:
        self._common, self._open_store, self._name = common, open_store, name
        self._compact_seconds, self._ready = compact_seconds, ready
        self._members: dict[int, Member] = {}
        self._selector = selectors.DefaultSelector()
        self._routes: dict[str, Route] = {}
        self._told: dict[str, tuple[int, float]] = {}
        self._store: LedgerStore | None = None
        self._stamp: object = None
        self._failing = self._stopping = False
        self._restart_at: dict[int, float] = dict.fromkeys(range(workers), 0.0)
        self._compacted = self._forgot = time.monotonic()
        self._compaction: subprocess.Popen[bytes] | None = None
        self._metrics = Metrics(common.metrics, workers)  # the region after the workers' own

    def run(self) -> int:
        """Serve until told to stop. Returns the exit code."""
        self._listen_to_signals()
        self._start_missing()
        self._load_feedback()
        while not self._stopping:
            if all(m.listening for m in self._members.values()) and self._members:
                self._announce()
                self._follow_ledger()
                self._compact()
            self._wait(POLL_SECONDS)
            self._start_missing()
        return self._end()

    # Workers.

    def _start_missing(self) -> None:
        now = time.monotonic()
        for number, at in tuple(self._restart_at.items()):
            if at <= now:
                del self._restart_at[number]
                self._start(number)

    def _start(self, number: int) -> None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            self._become_worker(number, theirs)
        theirs.close()
        member = self._members[pid] = Member(number, pid, ours)
        self._selector.register(ours, selectors.EVENT_READ, member)
        for route in self._routes.values():
            send(ours, route_message(route, _until(route)))

    def _become_worker(self, number: int, end: socket.socket) -> None:
        """In the child: nothing of the supervisor's may stay open, or its death would not show."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            for key in tuple(self._selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
            self._selector.close()
            code = work(self._common, number, end)
        except Exception:
            log.exception("worker %d failed", number)
        finally:
            logging.shutdown()
            os._exit(code)

    def _bury(self, member: Member) -> None:
        """A worker's end of the line closes only when it dies: wait for that, and replace it."""
        _, status = os.waitpid(member.pid, 0)
        log.error(
            "worker %d (pid %d) ended with %d: its last second of the inference log may be missing",
            *(member.number, member.pid, os.waitstatus_to_exitcode(status)),
        )
        self._selector.unregister(member.end)
        member.end.close()
        del self._members[member.pid]
        self._restart_at[member.number] = time.monotonic() + RESTART_SECONDS

    def _wait(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            if isinstance(key.data, Member):
                self._hear(key.data)
            else:
                self._signals.recv(64)

    def _hear(self, member: Member) -> None:
        data = member.end.recv(1 << 16)
        if not data:
            self._bury(member)
        for message in member.lines.feed(data):
            if "listening" in message:
                member.listening = True
            else:
                member.serves[message["model"]] = message["serves"]

    def _announce(self) -> None:
        ready, self._ready = self._ready, lambda: None
        ready()

    # The ledger.

    def _follow_ledger(self) -> None:
        try:
            self._store = self._store or self._open_store()
            stamp = self._store.stamp()  # before reading: what is written meanwhile is read again
            if stamp is None or stamp != self._stamp:
                for model in self._store.models():
                    self._follow(self._store, model)
            self._stamp = stamp
            for model, route in self._routes.items():
                self._acknowledge(self._store, model, route.table.number)
            self._failing = False
        except SlipwayError as error:
            self._metrics.count("slipway_ledger_failures_total")
            if not self._failing:
                log.error("serving on with the last routes: %s", error)
            self._failing = True

    def _follow(self, store: LedgerStore, model: str) -> None:
        route = store.route(model)
        if route is None:
            return
        if route != self._routes.get(model):
            self._routes[model] = route
            for member in self._members.values():
                send(member.end, route_message(route, _until(route)))

    def _acknowledge(self, store: LedgerStore, model: str, number: int) -> None:
        """Say which route is served, once all workers serve it, and then now and again."""
        now = time.time()
        told, at = self._told.get(model, (-1, 0.0))
        served = all(m.serves.get(model) == number for m in self._members.values())
        if served and (told != number or now - at > ACKNOWLEDGE_SECONDS):
            store.acknowledge(self._name, model, number, now)
            self._told[model] = (number, now)

    # The log.

    def _load_feedback(self) -> None:
        """Fill the shared memory of feedback from the log, in a child: it takes DuckDB."""
        note_unclean_ends(self._common.log_folder)
        if not any((self._common.log_folder / "feedback").glob("*")):
            return
        if os.fork() == 0:
            try:
                load_feedback(self._common.log_folder, self._common.feedback)
            finally:
                os._exit(0)

    def _compact(self) -> None:
        now = time.monotonic()
        if self._compaction is not None and self._compaction.poll() is None:
            return
        if not self._compact_seconds or now - self._compacted < self._compact_seconds:
            return
        self._compacted = now
        kept = keep_days(self._routes)
        forget = bool(kept) and now - self._forgot >= FORGET_SECONDS
        if forget or needs_compaction(self._common.log_folder):
            self._forgot = now if forget else self._forgot
            command = [sys.executable, "-m", "slipway.stores.inference_log", "compact"]
            command += [str(self._common.log_folder)]
            command += [f"{model}={days:g}" for model, days in kept.items()] if forget else []
            self._compaction = subprocess.Popen(command)

    # The end.

    def _listen_to_signals(self) -> None:
        self._signals, waker = socket.socketpair()
        waker.setblocking(False)
        self._signals.setblocking(False)
        self._waker = waker
        signal.set_wakeup_fd(waker.fileno())
        self._selector.register(self._signals, selectors.EVENT_READ, None)
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True

    def _pass_on(self, number: int, frame: object) -> None:
        for pid in self._members:
            os.kill(pid, number)

    def _end(self) -> int:
        """Let the workers answer what was asked; the worst of their exit codes."""
        for pid in self._members:
            os.kill(pid, signal.SIGTERM)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in self._members]
        if self._compaction is not None:
            self._compaction.wait()
        return max(map(abs, codes), default=0)


def keep_days(routes: Mapping[str, Route]) -> dict[str, float]:
    """How many days each model's rows are kept, for those that do not keep them for ever."""
    found = {m: r.table.policy.get("log", {}).get("keep_days") for m, r in routes.items()}
    return {model: float(days) for model, days in found.items() if days is not None}


def _until(route: Route) -> float:
    """When a route's lease runs out, by the monotonic clock."""
    return time.monotonic() + (route.lease.left(time.time()) if route.lease else 0.0)
