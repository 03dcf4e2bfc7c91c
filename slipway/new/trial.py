"""Trying a new model folder with the very child processes that a release uses."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway import workshop
from slipway.spec import Spec

if TYPE_CHECKING:
    import pandas as pd

NO_TRACES = {"PYTHONDONTWRITEBYTECODE": "1"}


class Trial:
    """Snapshot and training of one spec, in a work folder outside the model's.

    The work folder stays where something failed: the error names the log in it.
    """

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._work = Path(tempfile.mkdtemp(prefix="slipway-new-"))
        self._snapshot = ""

    def snapshot(self, fixed: Path | None) -> pd.DataFrame:
        """The rows that a release would train on, without those of the fixed dataset.

        Raises:
            DataError: the data cannot be trained on.
        """
        import pandas as pd

        data = self._spec.data
        request = {
            "source": data.source,
            "params": data.params,
            "time": data.time,
            "unit": data.unit,
            "fixed": str(fixed or ""),
            "fixed_rows": data.fixed_rows,
        }
        self._snapshot = self._run("snapshot", request, data.timeout)["path"]
        return pd.read_parquet(self._snapshot)

    def train(self, fixed: Path) -> list[float]:
        """The answers for the fixed dataset of a model that learnt from the last snapshot.

        Raises:
            TrainerError: the trainer raised, or gave no model.
        """
        trainer = self._spec.trainer
        request = {
            "snapshot": self._snapshot,
            "trainer": trainer.use,
            "params": trainer.params,
            "seed": trainer.seed,
            "fixed": str(fixed),
        }
        self._run("train", request, trainer.timeout)
        answers: list[float] = json.loads((self._work / "native_scores.json").read_text())
        return answers

    def close(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self._work)

    def _run(self, verb: str, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        whole = {
            "folder": str(self._spec.folder),
            "features": [{"name": f.name, "kind": f.kind} for f in self._spec.data.features],
            "target": self._spec.data.target,
            "out": str(self._work),
            **request,
        }
        return workshop.run(verb, whole, cwd=self._spec.folder, timeout=timeout, env=NO_TRACES)
