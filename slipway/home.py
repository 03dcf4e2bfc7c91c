"""Where Slipway keeps its things on this machine, and which addresses it uses.

One folder, ``$SLIPWAY_HOME`` (default ``.slipway`` in the working directory):

    ledger.db       the ledger, unless $SLIPWAY_LEDGER names a database
    snapshots/      training data by digest
    candidates/     trained models by what made them
    bundles/        what serves, by digest
    releases/       manifests, bills of materials and signatures, by release
    log/            the gateway's inference log, and what looks at it have summed so far
    run/            what runs now: announcements and logs of the gateway and replicas
    runs/           what runs left behind: reports, pages
    mlflow.db, mlartifacts/   the registry, unless the spec names a tracking URI
    prefect/        Prefect's own state, unless $PREFECT_API_URL names a server
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folder and the addresses."""

    root: Path
    ledger_url: str

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> Home:
        """The home that the environment names."""
        root = Path(environ.get("SLIPWAY_HOME", ".slipway")).resolve()
        return cls(root, environ.get("SLIPWAY_LEDGER", f"sqlite:///{root / 'ledger.db'}"))

    @property
    def log(self) -> Path:
        """The inference log's folder."""
        return self.root / "log"

    @property
    def run(self) -> Path:
        """Announcements and logs of what runs now."""
        return self.root / "run"

    @property
    def gateway(self) -> Path:
        """The announcement of this machine's gateway."""
        return self.run / "gateway.json"

    def folder(self, *parts: str) -> Path:
        """A folder below the root, made where it is missing."""
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def tracking_uri(self, declared: str) -> str:
        """The registry's address: what the spec declares, or SQLite in this folder."""
        return declared or os.environ.get("MLFLOW_TRACKING_URI") or self.own_tracking_uri

    @property
    def own_tracking_uri(self) -> str:
        """The registry in this folder."""
        return f"sqlite:///{self.root / 'mlflow.db'}"
