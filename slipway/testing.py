"""Public fakes that pass the same conformance checks as the real parts, and builders of values.

They keep everything in memory and read no clock, so a whole rollout is played in microseconds:

>>> clock = ManualClock(1000.0)
>>> clock.advance(30.0)
1030.0
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from slipway.errors import Busy, LedgerConflict, LedgerError, RuntimeFailure
from slipway.league import LeagueVerdict
from slipway.ledger import Draft, Entry, faults, head, seal
from slipway.lifecycle import Event
from slipway.plan import Plan
from slipway.release import (
    PREFIX,
    Bundle,
    Candidate,
    Check,
    Column,
    Image,
    Release,
    Report,
    Snapshot,
    Version,
    bind,
    canonical,
    digest,
)
from slipway.routing import STABLE, Arm, Lease, Route, RouteTable
from slipway.terms import Limits
from slipway.verdict import Outcome, Verdict


class ManualClock:
    """A clock that stands still until it is told how far to move."""

    def __init__(self, now: float = 1_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """What time it is."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Move forward, and say what time it is then."""
        self.now += seconds
        return self.now


class MemoryLedger:
    """A ``LedgerStore`` in memory, for one process."""

    def __init__(self) -> None:
        self._entries: dict[str, list[Entry]] = {}
        self._manifests: dict[str, Release] = {}
        self._leases: dict[str, Lease] = {}
        self._placed: dict[str, tuple[str, ...]] = {}
        self._standing_by: dict[str, float] = {}
        self._acknowledged: dict[str, dict[str, tuple[int, float]]] = {}
        self._locked: set[str] = set()
        self._one_writer = threading.Lock()

    def append(self, draft: Draft, *, expect: str) -> Entry:
        """Append after the entry whose hash is ``expect``.

        Raises:
            LedgerConflict: the chain's head is another one by now.
        """
        # Through JSON and back, as a database would: what is kept is a copy, and plain.
        plain = replace(draft, at=float(draft.at), body=json.loads(canonical(dict(draft.body))))
        with self._one_writer:
            chain = self._entries.get(draft.model, [])
            if head(chain) != expect:
                raise LedgerConflict(f"another writer changed {draft.model} in between")
            entry = seal(plain, chain[-1] if chain else None)
            self._entries[draft.model] = [*chain, entry]
        return entry

    def entries(self, model: str) -> tuple[Entry, ...]:
        """A model's entries, oldest first."""
        return tuple(self._entries.get(model, ()))

    def stamp(self) -> object:
        """Not told: whoever asks reads anew."""
        return None

    def models(self) -> tuple[str, ...]:
        """Every model that has an entry, by name."""
        return tuple(sorted(self._entries))

    def faults(self, model: str) -> list[str]:
        """What is wrong with a model's chain; empty when it is whole."""
        chain = self.entries(model)
        return faults(chain, head(chain))

    def put_manifest(self, release: Release) -> None:
        """Keep a manifest by its id. The first record of an id stays."""
        self._manifests.setdefault(release.id, release)

    def manifest(self, release_id: str) -> Release:
        """The manifest of an id, or of its unambiguous beginning.

        Raises:
            LedgerError: none or several begin so.
        """
        start = PREFIX + release_id.removeprefix(PREFIX)
        found = [r for identity, r in self._manifests.items() if identity.startswith(start)]
        if len(found) != 1:
            raise LedgerError(f"{len(found)} releases begin with '{release_id}'")
        return found[0]

    def renew(self, model: str, route: int, seconds: float, now: float) -> Lease:
        """Renew the lease of a route by its next renewal number."""
        with self._one_writer:
            old = self._leases.get(model)
            lease = Lease(route, old.renewal + 1 if old else 1, now, seconds)
            self._leases[model] = lease
        return lease

    def lease(self, model: str) -> Lease | None:
        """The last lease granted for a model, of whatever route."""
        return self._leases.get(model)

    def place(self, release_id: str, endpoints: Sequence[str]) -> None:
        """Say where a release answers now; no endpoints forgets it."""
        self._placed.pop(release_id, None)
        if endpoints:
            self._placed[release_id] = tuple(endpoints)

    def placed(self, release_id: str) -> tuple[str, ...]:
        """Where a release answers; nothing where it was placed nowhere."""
        return self._placed.get(release_id, ())

    def stand_by(self, release_id: str, until: float) -> None:
        """Say that a release is being started for a route to come, and is needed until then."""
        self._standing_by[release_id] = until

    def standing_by(self, now: float) -> frozenset[str]:
        """The releases that are needed although no entry says so yet."""
        return frozenset(r for r, until in self._standing_by.items() if until > now)

    def route(self, model: str) -> Route | None:
        """What gateways serve: the last table recorded, where its releases answer, its lease."""
        bodies = [e.body["route"] for e in self.entries(model) if e.body.get("route")]
        if not bodies:
            return None
        table = RouteTable.from_record(bodies[-1])
        releases = [a.release for a in table.arms]
        placed = {r: self._placed[r] for r in releases if r in self._placed}
        lease = self.lease(model)
        return Route(table, placed, lease if lease and lease.route == table.number else None)

    def acknowledge(self, gateway: str, model: str, route: int, now: float) -> None:
        """A gateway says which route number it serves."""
        self._acknowledged.setdefault(model, {})[gateway] = (route, now)

    def acknowledged(self, model: str) -> Mapping[str, tuple[int, float]]:
        """Gateway to (route number, when it said so)."""
        return dict(self._acknowledged.get(model, {}))

    @contextmanager
    def lock(self, model: str) -> Iterator[None]:
        """Hold a model for one release.

        Raises:
            Busy: another holder has it.
        """
        if model in self._locked:
            raise Busy(f"another release of {model} is under way")
        self._locked.add(model)
        try:
            yield
        finally:
            self._locked.remove(model)


class FakeRuntime:
    """A ``Runtime`` whose replicas exist only as endpoints that answer.

    Args:
        broken: ids of releases whose replicas do not start.
    """

    name = "fake"

    def __init__(self, broken: Sequence[str] = ()) -> None:
        self.broken = frozenset(broken)
        self._running: dict[str, tuple[str, ...]] = {}
        self._ports = iter(range(40_001, 65_536))

    def start(self, release: Release, replicas: int, limits: Limits) -> tuple[str, ...]:
        """Start, or adopt, replicas that answer. Returns their ``host:port``.

        Raises:
            RuntimeFailure: the release is one of the broken ones.
        """
        if release.id in self.broken:
            raise RuntimeFailure("replica 0 ended; its last lines: none", where=release.id)
        running = self._running.get(release.id, ())
        fresh = [f"127.0.0.1:{next(self._ports)}" for _ in range(replicas - len(running))]
        self._running[release.id] = (*running, *fresh)
        return self._running[release.id][:replicas]

    def stop(self, release_id: str) -> None:
        """Stop a release's replicas; nothing runs is no error."""
        self._running.pop(release_id, None)

    def list(self) -> Mapping[str, tuple[str, ...]]:
        """Release id to the endpoints of replicas that are alive."""
        return dict(self._running)

    def logs(self, release_id: str) -> Iterator[str]:
        """One line per replica."""
        return (f"serving at {endpoint}" for endpoint in self._running.get(release_id, ()))

    def probe(self, endpoint: str) -> bool:
        """Whether a replica says that it is ready."""
        return any(endpoint in endpoints for endpoints in self._running.values())


def draft(model: str = "flights", event: Event = Event.OPENED, **changes: Any) -> Draft:
    """A draft with plausible values, any of them changed."""
    values: dict[str, Any] = {"at": 1_000.0, "actor": "anna", "reason": "a test", "body": {}}
    return Draft(model=model, event=event, **{**values, **changes})


def table(model: str = "flights", number: int = 1, **shares: float) -> RouteTable:
    """A route table: stable, and the other arms by name and share (leased)."""
    stable = Arm(STABLE, digest(STABLE), 1.0 - sum(shares.values()))
    others = (Arm(name, digest(name), share, leased=True) for name, share in shares.items())
    return RouteTable(model, number, "salt", (stable, *others), 60.0, {})


def chain(name: str = "a", **changes: Any) -> dict[str, Any]:
    """A whole chain of values that name their parents, as arguments of ``release.bind``.

    Args:
        name: stands for the training data; another name gives another chain.
        changes: link name to fields to replace, such as ``candidate={"seed": 2}``; later links
            then name the changed one.
    """

    def link(kind: str, value: Any) -> Any:
        return replace(value, **changes.get(kind, {}))

    columns = (Column("distance", "number"), Column("carrier", "text"))
    snapshot = link(
        "snapshot",
        Snapshot("flights", digest(name), 100, columns, "2013-01-01", "2013-03-31", "/data"),
    )
    candidate = link(
        "candidate",
        Candidate(
            model="flights",
            snapshot=snapshot.digest,
            code=digest("code"),
            commit="c0ffee",
            lock=digest("lock"),
            trainer="train:train",
            params={"trees": 10},
            seed=1,
            artefact=digest(f"model of {name}"),
            signature=columns,
            trusted=(),
            path="/candidate",
        ),
    )
    bundle = link(
        "bundle", Bundle(candidate.digest, "onnx", {"serve.py": digest("serve")}, "/bundle")
    )
    report = link(
        "report",
        Report(
            candidate.digest,
            bundle.digest,
            digest("pack"),
            "no baseline",
            (Check("auc min 0.7", "pass", "0.7312, min 0.7", 0.7312),),
        ),
    )
    version = Version("flights", candidate.digest, report.digest, "1", "run", "uri")
    version = link("version", version)
    image = link("image", Image(bundle.digest, digest("image"), "flights:1"))
    return {
        "snapshot": snapshot,
        "candidate": candidate,
        "bundle": bundle,
        "report": report,
        "version": version,
        "image": image,
    }


def release(name: str = "a") -> Release:
    """A bound release; another name gives another one."""
    return bind(**chain(name))


def plan(
    steps: Sequence[float] = (0.05, 0.25, 0.5),
    *,
    min_seconds: float = 0.0,
    max_seconds: float = 600.0,
    **changes: Any,
) -> Plan:
    """A canary's plan of these shares, with one least and most time for all of its steps."""
    times = {"min_seconds": min_seconds, "max_seconds": max_seconds}
    ladder = tuple({"share": share, **times} for share in steps)
    values: dict[str, Any] = {"strategy": "canary", "gates": {}, "serving": {}}
    return Plan(steps=ladder, **{**values, **changes})


def verdict(
    outcome: str,
    reason: str = "",
    next_share: float = 1.0,
    release: str = "",
    chances: Mapping[str, float] | None = None,
) -> Verdict:
    """A verdict of ``pass``, ``fail``, ``inconclusive`` or ``not_measured``, without its gates.

    Args:
        release: the member of a league that it is on.
        chances: each member's chance of being the best, by arm.
    """
    told = reason or f"the judge says {outcome}"
    if release:
        of = {"release": release, "chances": chances or {}}
        return LeagueVerdict(Outcome(outcome), told, (), 1, (100, 100), **of)  # type: ignore[arg-type]
    return Verdict(Outcome(outcome), told, (), 1, (100, 100), next_share=next_share)


__all__ = [
    "FakeRuntime",
    "ManualClock",
    "MemoryLedger",
    "chain",
    "draft",
    "plan",
    "release",
    "table",
    "verdict",
]
