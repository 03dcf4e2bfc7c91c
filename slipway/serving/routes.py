"""Route tables as the gateway serves them: compiled, swapped whole, leased by its own clock."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import NamedTuple

from slipway.policy import Policy
from slipway.routing import FALLBACK, SHADOW, Arm, Lease, Route, assign, salt_key
from slipway.serving.access import OVERRIDE, Door
from slipway.serving.breaker import Breaker
from slipway.serving.content import AnswerCheck
from slipway.serving.fallback import LastGood, compile_rule
from slipway.serving.forward import Deadlines, Replica
from slipway.serving.guard import InputGuard
from slipway.serving.metrics import Metrics
from slipway.serving.rows import constants_of
from slipway.serving.shared import Spot, Table

_REMEMBERED_UNITS = 50_000


class ServedArm:
    """An arm with its replicas, its breaker and its counters.

    Attributes:
        lines: the response headers that tell this arm as assigned, and its release as server.
        own: the same where the arm itself answered.
    """

    def __init__(
        self,
        model: str,
        arm: Arm,
        number: int,
        policy: Policy,
        replicas: tuple[Replica, ...],
        breaker: Breaker,
        metrics: Metrics,
    ) -> None:
        self.name, self.release, self.leased, self.share = (
            *(arm.name, arm.release, arm.leased, arm.share),
        )
        self.replicas = replicas
        self.breaker = breaker
        self.budget = policy.budget_seconds(arm.name)
        self.prices = policy.prices_of(arm.name)
        self.lines = (
            f"x-slipway-release: {arm.release}\r\nx-slipway-arm: {arm.name}\r\n"
            f"x-slipway-route: {number}\r\n"
        ).encode()
        self.own = b"%bx-slipway-served-by: %b\r\n" % (self.lines, arm.release.encode())
        self.constants = constants_of(model, arm.name, arm.release, number)
        self.labels = {"model": model, "release": arm.release, "arm": arm.name}
        self.good = metrics.at("slipway_requests_total", **self.labels, status="2xx")
        self.seconds = metrics.at("slipway_request_seconds", **self.labels)
        self.mirrors = 0
        self._turn = 0

    def replica(self, besides: Replica | None = None) -> Replica | None:
        """The next replica in turn, passing over those that rest, unless all do.

        Args:
            besides: one that was asked already, passed over where there is another.
        """
        count = len(self.replicas)
        if count == 0:
            return None
        if count == 1:
            return self.replicas[0]
        now = monotonic()
        for _ in range(count):
            self._turn = (self._turn + 1) % count
            found = self.replicas[self._turn]
            if found.resting_until <= now and found is not besides:
                return found
        return found if found is not besides else self.replicas[self._turn - 1]


class Place(NamedTuple):
    """What a unit was given: worked out once per route, and then remembered.

    Args:
        slot: of its arm.
        text: the unit as logged.
        logged: whether its requests are.
        mirrored: whether they go to the shadow too.
        bucket: where its rate is kept, where one is declared.
    """

    slot: int
    text: str
    logged: bool
    mirrored: bool
    bucket: Spot | None


class Served:
    """One model's route, ready to serve."""

    def __init__(self, route: Route, parts: Parts) -> None:
        table = route.table
        self.model, self.name, self.number = table.model, table.model.encode(), table.number
        self.policy = policy = Policy.from_record(table.policy)
        self.arms = tuple(
            ServedArm(
                table.model,
                arm,
                table.number,
                policy,
                tuple(parts.replicas[e] for e in route.endpoints.get(arm.release, ())),
                parts.breaker(table.model, arm.release, policy),
                parts.metrics,
            )
            for arm in table.arms
        )
        self.deadlines = parts.deadlines
        unit = policy.unit
        self.unit_header = unit.name.lower().encode() if unit.source == "header" else b""
        self.shadow = next((a for a in self.arms if a.name == SHADOW and a.share > 0), None)
        self.chains = {arm.name: self._chain(arm) for arm in self.arms}
        self.check = AnswerCheck(policy.answer)
        self.guard = InputGuard(table.model, policy.guard, parts.buckets)
        self.door = Door(table.model, policy.access, parts.key)
        self.rule = compile_rule(policy.rule) if policy.rule else None
        self.last_good = parts.last_good(table.model, policy)
        self.pass_headers = (*_PASSED, *(h.lower().encode() for h in policy.pass_headers))
        self.hedge = policy.hedge_ms / 1000.0 if policy.hedge_ms else 0.0
        self.lease_until, self.renewal = -1.0, -1
        self._key = salt_key(table.salt)
        self._sample_key, self._shadow_key = salt_key("log"), salt_key(f"{table.salt} shadow")
        self._weights = [0.0 if a.name in (SHADOW, FALLBACK) else a.share for a in table.arms]
        self._places: dict[bytes, Place] = {}

    def _chain(self, first: ServedArm) -> tuple[ServedArm, ...]:
        chain = [first, self.arms[0]]
        for name in self.policy.fallbacks:
            chain += [arm for arm in self.arms if arm.name == name]
        return tuple(dict.fromkeys(chain))

    def arm(self, name: str) -> ServedArm | None:
        """The arm of that name."""
        return next((a for a in self.arms if a.name == name), None)

    def place(self, unit: bytes) -> Place:
        """What a unit is given: the same on every gateway."""
        place = self._places.get(unit)
        if place is None:
            if len(self._places) >= _REMEMBERED_UNITS:
                self._places.clear()
            place = self._places[unit] = self.work_out(unit)
        return place

    def work_out(self, unit: bytes) -> Place:
        """The same, without remembering it: for a unit that nobody will name again."""
        share = self.policy.log.sample
        return Place(
            assign(unit, self._key, self._weights),
            unit.decode("utf-8", "replace"),
            share >= 1.0 or _drawn(unit, self._sample_key, share),
            self.shadow is not None and _drawn(unit, self._shadow_key, self.shadow.share),
            self.guard.bucket(unit),
        )

    def override(
        self, headers: dict[bytes, bytes], unit: str | None, now: float, arm: ServedArm
    ) -> tuple[ServedArm, str]:
        """The arm that a tester is given instead, and how it was chosen; else the same arm."""
        name = self.door.override(headers, unit, now)
        chosen = self.arm(name) if name else None
        if chosen is None:
            return arm, ""
        return chosen, "signed" if OVERRIDE in headers else "allow"

    def renew(self, lease: Lease | None, until: float) -> None:
        """Take a lease over, if it is this route's and fresh."""
        if lease and lease.route == self.number and lease.renewal > self.renewal:
            self.renewal, self.lease_until = lease.renewal, until


def _drawn(unit: bytes, key: bytes, share: float) -> bool:
    """Whether a unit is among a share of units."""
    if share <= 0.0 or share >= 1.0:
        return share >= 1.0
    return assign(unit, key, (share, 1.0 - share)) == 0


_PASSED = (b"content-type", b"traceparent", b"tracestate", b"inference-header-content-length")


class Parts:
    """What outlives a route: replicas and their connections, breakers, last good answers.

    Args:
        key: the gateways' secret.
        buckets: the workers' shared table of rates.
    """

    def __init__(self, metrics: Metrics, key: bytes, buckets: Table) -> None:
        self.metrics, self.key, self.buckets = metrics, key, buckets
        self.deadlines = Deadlines()
        self.replicas: dict[str, Replica] = {}
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._last_good: dict[str, LastGood] = {}

    def breaker(self, model: str, release: str, policy: Policy) -> Breaker:
        """The breaker of a release, as it stands."""
        breaker = self._breakers.get((model, release))
        if breaker is None:
            breaker = self._breakers[model, release] = Breaker(policy.breaker)
        breaker.settings = policy.breaker
        return breaker

    def last_good(self, model: str, policy: Policy) -> LastGood | None:
        """The last good answers of a model, kept while the policy's section stays the same."""
        if policy.cache is None:
            return None
        kept = self._last_good.get(model)
        if kept is None or kept.settings != policy.cache:
            kept = self._last_good[model] = LastGood(policy.cache)
        return kept

    def add_replicas(self, route: Route) -> None:
        """Have a replica for each of a route's endpoints."""
        for endpoint in {e for endpoints in route.endpoints.values() for e in endpoints}:
            if endpoint not in self.replicas:
                self.replicas[endpoint] = Replica(endpoint, self.deadlines)

    def drop_unused(self, all_served: Mapping[str, Served]) -> None:
        """Forget what no route names any more."""
        arms = [(s.model, arm) for s in all_served.values() for arm in s.arms]
        used = {replica.endpoint for _, arm in arms for replica in arm.replicas}
        for endpoint in set(self.replicas) - used:
            self.replicas.pop(endpoint).close()
        releases = {(model, arm.release) for model, arm in arms}
        for gone in set(self._breakers) - releases:
            del self._breakers[gone]


class Book:
    """Every model's route. Changed only between two requests, on the event loop's thread."""

    def __init__(self, parts: Parts) -> None:
        self.served: dict[str, Served] = {}
        self.parts = parts
        self.changed: Callable[[], None] = lambda: None

    def apply(self, route: Route, lease_until: float) -> None:
        """Put a route in force, whole; or only take its lease over where it is in force already.

        Args:
            lease_until: when its lease runs out, by this process's monotonic clock.

        Raises:
            SpecError: the table's policy has faults; what was served before stays.
        """
        model = route.table.model
        before = self.served.get(model)
        self.parts.add_replicas(route)
        served = Served(route, self.parts)
        if before and before.number == served.number:
            served.lease_until, served.renewal = before.lease_until, before.renewal
        served.renew(route.lease, lease_until)
        self.served[model] = served
        self.parts.drop_unused(self.served)
        self.changed()

    def renew(self, model: str, lease: Lease, lease_until: float) -> None:
        """Take a lease over for a route in force."""
        served = self.served.get(model)
        if served:
            served.renew(lease, lease_until)
