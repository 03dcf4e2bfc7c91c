"""Who gets which arm: a pure function of (unit, salt, weights), and the numbered route table.

Assignment is weighted rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to
increase hit rates", 1998; weights by the exponential race of Efraimidis and Spirakis, 2006). Each
arm draws an exponential time at a rate equal to its weight, from a hash of the unit; the earliest
wins. Raising one arm's weight only shortens that arm's times, so it only moves units *into* it:
nobody is moved who need not be.

The hash is ``slipway1``: BLAKE2b of the unit, keyed with the salt, personalised with the version.
Its test vectors are in ``docs/routing-vectors.json``; changing one of them is a new version.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slipway.errors import UsageError

HASH_VERSION = "slipway1"
_PERSON = HASH_VERSION.encode()
_SLOTS_PER_HASH = 8  # a BLAKE2b digest of 64 bytes holds eight draws of 64 bits
_UNIT = 2.0**-53

STABLE = "stable"
CANDIDATE = "candidate"
SHADOW = "shadow"
FALLBACK = "fallback"


def salt_key(salt: str) -> bytes:
    """The hash key of a salt: at most 64 bytes are allowed, so a long salt is itself hashed."""
    raw = salt.encode()
    return raw if len(raw) <= 64 else hashlib.blake2b(raw, digest_size=32).digest()


def draws(unit: bytes, key: bytes, slots: int) -> list[float]:
    """One uniform draw in (0, 1) per slot, each a pure function of (unit, key, slot)."""
    out: list[float] = []
    for block in range(0, slots, _SLOTS_PER_HASH):
        data = hashlib.blake2b(
            unit,
            digest_size=64,
            key=key,
            person=_PERSON,
            salt=block.to_bytes(4, "little"),
        ).digest()
        for slot in range(min(_SLOTS_PER_HASH, slots - block)):
            word = int.from_bytes(data[8 * slot : 8 * slot + 8], "little")
            # 53 bits and a half step: never 0 and never 1, so the logarithm is finite and not 0.
            out.append(((word >> 11) + 0.5) * _UNIT)
    return out


def assign(unit: str | bytes, salt: str | bytes, weights: Sequence[float]) -> int:
    """The slot that wins a unit.

    Args:
        unit: who is assigned, as sent.
        salt: the rollout's id, so that each rollout draws its first users afresh.
        weights: one non-negative weight per slot; only their ratios matter.

    Returns:
        The index into ``weights``; an arm of weight 0 never wins.

    Raises:
        UsageError: no weight is positive.

    >>> assign("N14228", "rollout-1", [99, 1])
    0
    >>> assign("N14228", "rollout-1", [0, 1])
    1
    """
    raw = unit.encode() if isinstance(unit, str) else unit
    key = salt_key(salt) if isinstance(salt, str) else salt
    best, winner = math.inf, -1
    for slot, (weight, draw) in enumerate(zip(weights, draws(raw, key, len(weights)), strict=True)):
        if weight > 0.0:
            arrival = -math.log(draw) / weight
            if arrival < best:
                best, winner = arrival, slot
    if winner < 0:
        raise UsageError(
            "no arm has a positive weight", do="give at least one arm a share of the traffic"
        )
    return winner


@dataclass(frozen=True, slots=True)
class Arm:
    """A release in its place in traffic.

    Args:
        name: ``stable``, ``candidate``, ``shadow``, ``fallback``, or a league member's name.
        release: the release's id.
        share: the share of units it is assigned, 0 to 1 (for a shadow: of requests mirrored).
        leased: whether the share expires unless the judge renews it.
    """

    name: str
    release: str
    share: float
    leased: bool = False

    @property
    def takes_users(self) -> bool:
        """Whether users are assigned to it: not to a shadow, nor to a fallback."""
        return self.name not in (SHADOW, FALLBACK)


@dataclass(frozen=True, slots=True)
class RouteTable:
    """Which arm gets which share: numbered, applied whole.

    The position of an arm is its hash slot, so an arm keeps its position while a rollout lasts.

    Args:
        number: grows by one with every change of traffic of this model.
        salt: the rollout's id.
        arms: stable first. Shares of arms that take users sum to 1.
        lease_seconds: how long a leased share lasts without a renewal.
        policy: how the gateway serves this model (unit, time budgets, checks, fallbacks), as in
            the ``serving`` section of the spec.
    """

    model: str
    number: int
    salt: str
    arms: tuple[Arm, ...]
    lease_seconds: float
    policy: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.arms or self.arms[0].name != STABLE:
            raise UsageError("a route table's first arm is stable", where=self.model)
        total = sum(a.share for a in self.arms if a.takes_users)
        if abs(total - 1.0) > 1e-9 or any(not 0.0 <= a.share <= 1.0 for a in self.arms):
            raise UsageError(
                f"the shares of route {self.number} sum to {total:g}, not 1", where=self.model
            )

    @property
    def stable(self) -> Arm:
        """The arm that everyone falls back to."""
        return self.arms[0]

    def arm(self, name: str) -> Arm | None:
        """The arm of that name, if it is in the table."""
        return next((a for a in self.arms if a.name == name), None)

    def assign(self, unit: str) -> Arm:
        """The arm of a unit. Shadows and fallbacks are not assigned users."""
        weights = [a.share if a.takes_users else 0.0 for a in self.arms]
        return self.arms[assign(unit, self.salt, weights)]

    def record(self) -> dict[str, Any]:
        """The table as plain JSON values."""
        return {
            "model": self.model,
            "number": self.number,
            "salt": self.salt,
            "arms": [
                {"name": a.name, "release": a.release, "share": a.share, "leased": a.leased}
                for a in self.arms
            ],
            "lease_seconds": self.lease_seconds,
            "policy": dict(self.policy),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> RouteTable:
        """Read a recorded table back."""
        return cls(
            model=record["model"],
            number=record["number"],
            salt=record["salt"],
            arms=tuple(Arm(**a) for a in record["arms"]),
            lease_seconds=record["lease_seconds"],
            policy=record["policy"],
        )


@dataclass(frozen=True, slots=True)
class Lease:
    """The judge's word that leased arms of one route may serve a while longer.

    Args:
        route: the route number it is for; a lease of another route is worth nothing.
        renewal: grows with every renewal, so that a gateway sees a fresh one without comparing
            clocks.
        at: wall-clock seconds of the renewal, by the judge's clock.
        seconds: how long it lasts.
    """

    route: int
    renewal: int
    at: float
    seconds: float

    @property
    def ends(self) -> float:
        """When it runs out, by the judge's clock."""
        return self.at + self.seconds

    def left(self, now: float) -> float:
        """Seconds left at ``now``; a clock that runs behind the judge's can only shorten it."""
        return max(0.0, min(self.seconds, self.ends - now))


@dataclass(frozen=True, slots=True)
class Route:
    """All that a gateway needs of one model: the table, where its releases answer, the lease.

    Args:
        endpoints: release id to the ``host:port`` of its replicas.
        lease: None where no arm is leased or the lease was never granted.
    """

    table: RouteTable
    endpoints: Mapping[str, tuple[str, ...]]
    lease: Lease | None
