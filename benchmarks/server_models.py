"""The models that ``benchmarks/server.py`` serves: trained here, stored as every server wants."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

NUMBERS = [f"n{i}" for i in range(10)]
TEXTS = ["carrier", "dest"]


@dataclass(frozen=True)
class Model:
    """A trained pipeline in every form: bundles, a joblib file, ONNX, an MLflow model."""

    name: str
    what: str
    folder: Path
    row: dict[str, Any]

    def split(self) -> dict[str, Any]:
        """The row in MLflow's form."""
        return {"dataframe_split": {"columns": list(self.row), "data": [list(self.row.values())]}}


def train(folder: Path) -> list[Model]:
    """Train the forest and the logistic pipeline and store them below a folder."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    frame, late = _data(20_000)
    forest = RandomForestClassifier(200, max_depth=8, random_state=0)
    models = {"forest": forest, "logistic": LogisticRegression(max_iter=300)}
    row = {name: frame[name].iloc[-1] for name in frame}
    row = {n: float(v) if isinstance(v, float) else v for n, v in row.items()}
    out = []
    for name, model in models.items():
        place = folder / name
        place.mkdir(parents=True)
        _store(_pipeline(model).fit(frame, late), place, frame)
        out.append(Model(name, f"{model!r} on 10 numbers and 2 texts", place, row))
    return out


def logistic(folder: Path, strength: float) -> Model:
    """Train the logistic pipeline with a strength of its own and store it in a folder."""
    from sklearn.linear_model import LogisticRegression

    frame, late = _data(20_000)
    folder.mkdir(parents=True)
    _store(_pipeline(LogisticRegression(C=strength, max_iter=300)).fit(frame, late), folder, frame)
    row = {n: frame[n].iloc[-1].item() if n in NUMBERS else frame[n].iloc[-1] for n in frame}
    return Model("logistic", f"C={strength}", folder, row)


def _data(rows: int) -> tuple[Any, Any]:
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(0)
    frame = pd.DataFrame({name: random.normal(size=rows) for name in NUMBERS})
    frame.loc[: rows // 20, "n1"] = math.nan
    frame["carrier"] = random.choice(list("ABCDEFGHIJ"), rows).astype(object)
    frame["dest"] = random.choice([f"D{i}" for i in range(100)], rows).astype(object)
    score = 2 * frame.n0 + frame.n2 * frame.n3 + (frame.carrier == "A")
    return frame, (score + random.normal(size=rows) > 0.5).astype(int)


def _pipeline(model: Any) -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    prepare = ColumnTransformer(
        [
            ("numbers", SimpleImputer(), NUMBERS),
            ("texts", OneHotEncoder(handle_unknown="ignore"), TEXTS),
        ]
    )
    return Pipeline([("prepare", prepare), ("model", model)])


def _store(pipeline: Any, place: Path, frame: Any) -> None:
    import joblib
    import skops.io
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    types = dict.fromkeys(NUMBERS, FloatTensorType) | dict.fromkeys(TEXTS, StringTensorType)
    graph = to_onnx(
        pipeline,
        initial_types=[(name, kind([None, 1])) for name, kind in types.items()],
        options={"zipmap": False},
    )
    (place / "model.onnx").write_bytes(graph.SerializeToString())
    joblib.dump(pipeline, place / "model.joblib")
    skops.io.dump(pipeline, place / "model.skops")
    _bundles(place, skops.io.get_untrusted_types(file=place / "model.skops"))
    _mlflow(pipeline, place, frame)


def _bundles(place: Path, trusted: list[str]) -> None:
    from slipway import bundle
    from slipway.release import Column

    signature = [Column(n, "number") for n in NUMBERS] + [Column(t, "text") for t in TEXTS]
    for engine in ("onnx", "skops"):
        bundle.write(
            place / f"bundle-{engine}",
            model="flights",
            engine=engine,
            model_file=place / f"model.{engine}",
            signature=signature,
            output="probability",
            trusted=trusted if engine == "skops" else (),
        )


def _mlflow(pipeline: Any, place: Path, frame: Any) -> None:
    import mlflow.sklearn
    from mlflow.models import infer_signature

    mlflow.sklearn.save_model(
        pipeline,
        place / "mlflow",
        signature=infer_signature(frame.head(), pipeline.predict_proba(frame.head())),
        pip_requirements=["scikit-learn"],
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",
    )
