"""A small real bundle for the container tier: a trained pipeline as ONNX, and its own answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway import bundle
from slipway.release import Bundle, Column, digest

NAMES = ("distance", "hour", "gust")


@dataclass(frozen=True)
class Small:
    """A bundle, rows that its pipeline has not seen, and what the pipeline says of them."""

    bundle: Bundle
    rows: list[list[float]]
    answers: list[float]

    @property
    def body(self) -> dict[str, Any]:
        """The rows as a request in MLflow's protocol."""
        return {"dataframe_split": {"columns": list(NAMES), "data": self.rows}}


def make(folder: Path, seed: int = 0) -> Small:
    """Train on rows drawn with a seed, export, and write the bundle."""
    import numpy as np
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    random = np.random.default_rng(seed)
    rows = random.uniform([100, 5, 0], [3000, 24, 40], (240, 3)).round(1)
    late = rows[:, 1] + rows[:, 2] / 4 + random.normal(0, 4, 240) > 22
    model = make_pipeline(_columns(), StandardScaler(), LogisticRegression()).fit(
        rows[:200], late[:200]
    )
    graph = to_onnx(
        model,
        initial_types=[(n, FloatTensorType([None, 1])) for n in NAMES],
        options={id(model): {"zipmap": False}},
    )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    files = bundle.write(
        folder / "bundle",
        model="flights",
        engine="onnx",
        model_file=folder / "model.onnx",
        signature=[Column(n, "number") for n in NAMES],
        output="probability",
    )
    made = Bundle(digest(["candidate", seed]), "onnx", files, str(folder / "bundle"))
    unseen = rows[200:]
    return Small(made, unseen.tolist(), model.predict_proba(unseen)[:, 1].tolist())


def _columns() -> Any:
    """Three inputs of one column each become one of three."""
    from sklearn.compose import ColumnTransformer

    return ColumnTransformer([(n, "passthrough", [i]) for i, n in enumerate(NAMES)])
