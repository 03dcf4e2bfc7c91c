"""A bundle as MLflow's ``python_function``: what ``mlflow.pyfunc.load_model`` gives of it.

Registered models whose pipeline holds the team's own types are the bundle itself, since it brings
that code along. This module is their loader (``loader_module``) and travels with the bundle; it
needs no MLflow. It answers exactly what the bundle's server answers, because it asks the same
engine after the same checks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slipway.serving.engine import Engine, load
from slipway.serving.signature import Signature

if TYPE_CHECKING:
    import pandas as pd


class Model:
    """What MLflow calls.

    Args:
        engine: the bundle's.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._signature = Signature(engine.manifest.signature, engine.manifest.max_rows)

    def predict(self, frame: pd.DataFrame) -> list[float]:
        """One prediction per row, however many.

        Raises:
            BadInput: the columns or their values do not match the signature.
        """
        whole = frame.astype(object).where(frame.notna(), None)
        answers: list[float] = []
        for start in range(0, max(len(whole), 1), self._signature.max_rows):
            part = whole.iloc[start : start + self._signature.max_rows]
            table = {str(name): part[name].tolist() for name in part.columns}
            answers += self._engine.predict(self._signature.check(table))
        return answers


def _load_pyfunc(path: str) -> Model:
    """MLflow's door: load the bundle in a folder."""
    return Model(load(Path(path)))
