"""Route tables as the gateway serves them: compiled, swapped whole, leased by its own clock."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic

from slipway.policy import Policy
from slipway.routing import FALLBACK, SHADOW, Arm, Lease, Route, assign, salt_key
from slipway.serving.forward import Deadlines, Replica
from slipway.serving.metrics import Metrics


class ServedArm:
    """An arm with its replicas and its counters."""

    __slots__ = ("errors", "leased", "name", "release", "replicas", "requests", "seconds", "turn")

    def __init__(self, model: str, arm: Arm, replicas: tuple[Replica, ...], metrics: Metrics):
        self.name = arm.name
        self.release = arm.release
        self.leased = arm.leased
        self.replicas = replicas
        self.turn = 0
        labels = {"model": model, "release": arm.release, "arm": arm.name}
        self.requests = metrics.at("slipway_requests_total", **labels)
        self.seconds = metrics.at("slipway_request_seconds", **labels)

    def replica(self) -> Replica | None:
        """The next replica, in turn."""
        if not self.replicas:
            return None
        self.turn = (self.turn + 1) % len(self.replicas)
        return self.replicas[self.turn]


class Served:
    """One model's route, ready to serve."""

    def __init__(self, route: Route, replicas: Mapping[str, Replica], metrics: Metrics) -> None:
        table = route.table
        self.model = table.model
        self.name = table.model.encode()
        self.number = table.number
        self.policy = Policy.from_record(table.policy)
        self.arms = tuple(
            ServedArm(
                table.model,
                arm,
                tuple(replicas[e] for e in route.endpoints.get(arm.release, ())),
                metrics,
            )
            for arm in table.arms
        )
        self._key = salt_key(table.salt)
        self._weights = [0.0 if a.name in (SHADOW, FALLBACK) else a.share for a in table.arms]
        self._alone = len([w for w in self._weights if w > 0]) == 1
        self._only = max(range(len(self._weights)), key=self._weights.__getitem__)
        self.chains = tuple(self._chain(arm) for arm in self.arms)
        self.lease_until = -1.0
        self.renewal = -1

    def _chain(self, first: ServedArm) -> tuple[ServedArm, ...]:
        chain = [first, self.arms[0]]
        for name in self.policy.fallbacks:
            chain += [arm for arm in self.arms if arm.name == name]
        return tuple(dict.fromkeys(chain))

    def assign(self, unit: str) -> int:
        """The slot of a unit's arm, lease or not."""
        if self._alone:
            return self._only
        return assign(unit, self._key, self._weights)

    def lease_out(self) -> bool:
        """Whether the leased arms may serve no longer."""
        return monotonic() >= self.lease_until

    def renew(self, lease: Lease | None, until: float) -> None:
        """Take a lease over, if it is this route's and fresh."""
        if lease and lease.route == self.number and lease.renewal > self.renewal:
            self.renewal, self.lease_until = lease.renewal, until


class Book:
    """Every model's route. Changed only between two requests, on the event loop's thread."""

    def __init__(self, metrics: Metrics) -> None:
        self.served: dict[str, Served] = {}
        self._metrics = metrics
        self._deadlines = Deadlines()
        self._replicas: dict[str, Replica] = {}

    def apply(self, route: Route, lease_until: float) -> Served:
        """Put a route in force, whole; or only take its lease over where it is in force already.

        Args:
            lease_until: when its lease runs out, by this process's monotonic clock.

        Raises:
            SpecError: the table's policy has faults; what was served before stays.
        """
        model = route.table.model
        for endpoints in route.endpoints.values():
            for endpoint in endpoints:
                if endpoint not in self._replicas:
                    self._replicas[endpoint] = Replica(endpoint, self._deadlines)
        before = self.served.get(model)
        served = Served(route, self._replicas, self._metrics)
        if before and before.number == served.number:
            served.lease_until, served.renewal = before.lease_until, before.renewal
        served.renew(route.lease, lease_until)
        self.served[model] = served
        self._drop_unused(model, route)
        return served

    def _drop_unused(self, model: str, route: Route) -> None:
        used = {r.endpoint for s in self.served.values() for a in s.arms for r in a.replicas}
        for endpoint in set(self._replicas) - used:
            self._replicas.pop(endpoint).close()
