"""What `slipway release examples/flights` is compared with: the same library calls, in one script.

    python benchmarks/bare_release.py FOLDER

Load, check with Great Expectations, fit, score the fixed dataset, log and register with MLflow in
a fresh SQLite store, export to ONNX: as a competent engineer would write it, in order, in one
process. It leaves out what makes a release: nothing is frozen, nothing names its parent, no bundle
is started and asked, nothing is served, and there is no record of why.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FLIGHTS = Path(__file__).resolve().parents[1] / "examples" / "flights"
PACK = FLIGHTS / "expectations" / "flights"
TEXTS = ("carrier", "origin", "dest")
FEATURES = [
    *(*TEXTS, "weekday", "sched_dep_minute", "sched_arr_minute", "distance", "hour_departures"),
    *("airport_delay", "temp", "humid", "wind_speed", "precip", "pressure", "visib"),
]
NUMBERS = [name for name in FEATURES if name not in TEXTS]
REQUIREMENTS = ("scikit-learn", "skops", "numpy", "pandas", "mlflow")


def load() -> tuple[Any, Any]:
    """January to March without the fixed dataset, and the fixed dataset."""
    import data
    import pandas as pd

    kinds = dict.fromkeys(NUMBERS, "float64") | {"late": "int64"}
    since, until = (pd.Timestamp(day, tz="UTC") for day in ("2013-01-01", "2013-04-01"))
    rows = data.load(params={"delay_unit": "minutes"}, since=since, until=until).astype(kinds)
    fixed = pd.read_csv(PACK / "fixed_set.csv", parse_dates=["departs"]).astype(kinds)
    key = ["departs", "tailnum"]
    frozen = rows.set_index(key).index.isin(fixed.set_index(key).index)
    return rows[~frozen], fixed


def check(rows: Any) -> None:
    """Great Expectations, on the pack's own suite."""
    import great_expectations as gx

    suite = json.loads((PACK / "suite.json").read_text())
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("flights").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": rows})
    made = gx.ExpectationSuite(name=suite["name"], expectations=suite["expectations"])
    if not batch.validate(made).success:
        raise SystemExit("the data do not meet their expectations")


def score(model: Any, fixed: Any) -> dict[str, float]:
    """The area under the curve and the Brier score on the fixed dataset."""
    from sklearn.metrics import brier_score_loss, roc_auc_score

    found = model.predict_proba(fixed[FEATURES])[:, 1]
    return {
        "auc": float(roc_auc_score(fixed["late"], found)),
        "brier": float(brier_score_loss(fixed["late"], found)),
    }


def register(model: Any, metrics: dict[str, float], folder: Path) -> None:
    """Log and register with MLflow, with the signature and the requirements given."""
    from importlib.metadata import version

    import mlflow.sklearn
    import skops.io
    from mlflow.models.signature import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    inputs = [ColSpec("string" if n in TEXTS else "double", n) for n in FEATURES]
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    mlflow.create_experiment("flights", artifact_location=(folder / "mlartifacts").as_uri())
    mlflow.set_experiment("flights")
    with mlflow.start_run(log_system_metrics=False):
        mlflow.log_params({"bins": 16, "c": 0.1, "seed": 7})
        mlflow.log_metrics(metrics)
        mlflow.sklearn.log_model(
            model,
            name="model",
            serialization_format="skops",
            skops_trusted_types=skops.io.get_untrusted_types(data=skops.io.dumps(model)),
            signature=ModelSignature(Schema(inputs), Schema([ColSpec("double")])),
            pip_requirements=[f"{name}=={version(name)}" for name in REQUIREMENTS],
            registered_model_name="flights",
        )


def export(model: Any, path: Path) -> None:
    """Write the model as ONNX with one input per column."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    types = [
        (n, (StringTensorType if n in TEXTS else FloatTensorType)([None, 1])) for n in FEATURES
    ]
    graph = to_onnx(model, initial_types=types, options={"zipmap": False}, target_opset=18)
    path.write_bytes(graph.SerializeToString())


def main(folder: Path) -> None:
    """The whole script, with its results in a folder."""
    sys.path.insert(0, str(FLIGHTS))
    import train

    folder.mkdir(parents=True, exist_ok=True)
    rows, fixed = load()
    check(rows)
    model = train.train(rows[FEATURES], rows["late"], params={"bins": 16, "c": 0.1}, seed=7)
    metrics = score(model, fixed)
    register(model, metrics, folder)
    export(model, folder / "model.onnx")
    print(metrics)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
