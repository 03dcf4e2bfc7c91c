"""Where and how a release runs: the runtime, how many replicas, and what each may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that one replica may use; runtimes of containers hold it, a process is not held.

    Args:
        memory_mb: mebibytes of memory; a replica that needs more is ended.
        cpus: processors, 0.5 for half of one.
        pids: processes and threads.
    """

    memory_mb: int = 1024
    cpus: float = 1.0
    pids: int = 256

    def __post_init__(self) -> None:
        if min(self.memory_mb, self.cpus, self.pids) <= 0:
            raise ValueError(f"limits must be above zero: {self}")


@dataclass(frozen=True, slots=True)
class Terms:
    """Where and how a release runs, frozen into the entry that opens its rollout.

    Args:
        kind: a built-in runtime's name or ``package.module:Class``.
        replicas: how many.
        limits: what each may use.
        options: what the runtime is made with, such as an address or a namespace.
    """

    kind: str = "process"
    replicas: int = 1
    limits: Limits = Limits()
    options: Mapping[str, Any] = field(default_factory=dict)

    def shares_runtime(self, other: Terms) -> bool:
        """Whether both name one runtime, made alike."""
        return (self.kind, self.options) == (other.kind, other.options)

    def record(self) -> dict[str, Any]:
        """The terms as plain JSON values."""
        return {**asdict(self), "options": dict(self.options)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Terms:
        """Read recorded terms back; none at all are those of one process."""
        limits = Limits(**record.get("limits", {}))
        return cls(**{**record, "limits": limits})
