"""The ports: what strategies, metrics, runtimes and stores must be able to do.

A port exists only where two real implementations do. Each has a public conformance check in
``slipway.conformance`` that finds new classes by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from slipway.evidence import Evidence
    from slipway.ledger import Draft, Entry
    from slipway.release import Release
    from slipway.rollout import ModelState, Step
    from slipway.routing import Lease, Route
    from slipway.terms import Limits
    from slipway.verdict import Verdict


@runtime_checkable
class Metric(Protocol):
    """A live metric: one number per request, as an SQL expression over the inference log.

    An expression, not a function, so that ten million rows are judged where they lie and no
    user code runs inside the judge. The columns it may use are those of
    ``slipway.stores.inference_log``. It yields NULL where a request says nothing of the metric
    (its label has not come yet, say); NULL is *not measured*, never zero.

    Attributes:
        name: what gates call it.
        type: ``rate`` (0 or 1) or ``mean``.
        low, high: bounds of its values, or None where it has none.
    """

    name: str
    type: str
    low: float | None
    high: float | None

    def sql(self) -> str:
        """The expression."""
        ...


@runtime_checkable
class Strategy(Protocol):
    """What to do next in a rollout: a pure function of its state, a verdict and the time."""

    name: str

    def next(self, state: ModelState, verdict: Verdict, now: float) -> Step:
        """The next step. Only a verdict of *pass* may raise a share."""
        ...


@runtime_checkable
class Runtime(Protocol):
    """Where replicas run. Every call is idempotent; what runs already is adopted.

    Made as ``Class(folder, **options)``: the folder is its own in Slipway's home, the options are
    the spec's. It sees and stops only what was started for that folder.
    """

    name: str

    def start(self, release: Release, replicas: int, limits: Limits) -> tuple[str, ...]:
        """Start, or adopt, replicas that answer; on failure leave nothing that this call started.

        Args:
            release: its bundle and image are found by its locators.
            replicas: how many shall run.
            limits: what each may use, where the runtime can hold it.

        Returns:
            Their ``host:port``, in an order that stays.

        Raises:
            RuntimeFailure: they do not start or answer, or what runs them cannot be reached.
        """
        ...

    def stop(self, release_id: str) -> None:
        """Stop a release's replicas; nothing runs is no error."""
        ...

    def list(self) -> Mapping[str, tuple[str, ...]]:
        """Release id to the endpoints of replicas that are alive.

        A release is told as long as there is anything of it to stop: with no endpoints where its
        replicas have ended, or start again and again.
        """
        ...

    def logs(self, release_id: str) -> Iterator[str]:
        """The last lines of a release's replicas."""
        ...

    def probe(self, endpoint: str) -> bool:
        """Whether a replica says that it is ready."""
        ...


@runtime_checkable
class LedgerStore(Protocol):
    """An append-only store of entries and manifests, one hash chain per model."""

    def append(self, draft: Draft, *, expect: str) -> Entry:
        """Append after the entry whose hash is ``expect``.

        Raises:
            LedgerConflict: the chain's head is another one by now.
        """
        ...

    def entries(self, model: str) -> tuple[Entry, ...]:
        """A model's entries, oldest first."""
        ...

    def models(self) -> tuple[str, ...]:
        """Every model that has an entry, by name."""
        ...

    def stamp(self) -> object:
        """Another value once anyone has written since; None where that is not told cheaply.

        For those who look several times a second, and need not read what has not changed.
        """
        ...

    def put_manifest(self, release: Release) -> None:
        """Keep a manifest by its id; the same one twice is no error."""
        ...

    def manifest(self, release_id: str) -> Release:
        """The manifest of a release id, or of an unambiguous beginning of one."""
        ...

    def renew(self, model: str, route: int, seconds: float, now: float) -> Lease:
        """Renew the lease of a route. Not a ledger entry: only grants and expiries are."""
        ...

    def place(self, release_id: str, endpoints: Sequence[str]) -> None:
        """Say where a release answers now; no endpoints forgets it."""
        ...

    def placed(self, release_id: str) -> tuple[str, ...]:
        """Where a release answers, as last said."""
        ...

    def stand_by(self, release_id: str, until: float) -> None:
        """Say that a release is being started for a route to come, and is needed until then.

        Nobody may stop it as surplus meanwhile; whoever starts it and dies is forgotten in time.
        """
        ...

    def standing_by(self, now: float) -> frozenset[str]:
        """The releases that are needed although no entry says so yet."""
        ...

    def lease(self, model: str) -> Lease | None:
        """The last lease granted for a model, of whatever route."""
        ...

    def faults(self, model: str) -> list[str]:
        """What is wrong with a model's chain; empty when it is whole."""
        ...

    def route(self, model: str) -> Route | None:
        """What gateways serve: the table of the last entry, placed, with its lease."""
        ...

    def acknowledge(self, gateway: str, model: str, route: int, now: float) -> None:
        """A gateway says which route number it serves."""
        ...

    def acknowledged(self, model: str) -> Mapping[str, tuple[int, float]]:
        """Gateway to (route number, when it last said so)."""
        ...

    def lock(self, model: str) -> AbstractContextManager[None]:
        """One release at a time per model; freed when its holder dies.

        Raises:
            Busy: another holder has it.
        """
        ...


@runtime_checkable
class EvidenceSource(Protocol):
    """Where evidence comes from."""

    def observe(
        self, model: str, route: int, metrics: Sequence[Metric], *, since: float, until: float
    ) -> Evidence:
        """The evidence of one route, per unit and metric."""
        ...
