"""Fitting: call the team's trainer on a snapshot, check what it returns, store and measure it."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.child import artefact, frame, table, usercode
from slipway.errors import TrainerError
from slipway.release import canonical, digest_file

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

POSITIVE = 1


def train(request: Mapping[str, Any]) -> dict[str, Any]:
    """Fit and store a model; request and result are described in ``slipway.child``.

    Raises:
        TrainerError: the trainer raised, or returned what is no model or cannot be stored safely.
        DataError: the snapshot or the fixed dataset cannot be read.
    """
    features = {f["name"]: f["kind"] for f in request["features"]}
    rows = table.read(Path(request["snapshot"]), {})
    x, y = rows[list(features)], _labels(rows[request["target"]])
    model, seconds = _fit(request, x, y)
    output = check_model(model, request["trainer"])
    fixed = table.read(Path(request["fixed"]), features)
    native = answers(model, frame.coerce(fixed, features, request["fixed"]), request["trainer"])
    out = Path(request["out"])
    out.mkdir(parents=True, exist_ok=True)
    trusted = artefact.store(model, out / "model.skops", request.get("trusted", ()))
    onnx_error = artefact.export(model, features, out / "model.onnx", output)
    (out / "native_scores.json").write_bytes(canonical(native.tolist()))
    files = ("model.skops", "model.onnx", "native_scores.json")
    digests = {name: digest_file(out / name) for name in files if (out / name).exists()}
    return {
        "artefact": digests["model.skops"],
        "files": digests,
        "trusted": trusted,
        "onnx_error": onnx_error,
        "output": output,
        "positive_class": POSITIVE if output == "probability" else None,
        "signature": [{"name": n, "kind": k} for n, k in features.items()],
        "metrics": {"rows": len(x), **measure(answers(model, x, request["trainer"]), y, output)},
        "fit_seconds": round(seconds, 3),
    }


def check_model(model: Any, trainer: str) -> str:
    """What the model answers: a ``probability`` of class 1, or a ``value``.

    Raises:
        TrainerError: it is no fitted scikit-learn estimator that can answer either.
    """
    from sklearn.base import BaseEstimator, is_classifier
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if not isinstance(model, BaseEstimator) or not hasattr(model, "predict"):
        raise _no_model(trainer, f"a {type(model).__name__}, which is no model")
    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise _no_model(trainer, f"a {type(model).__name__} that is not fitted") from error
    if not is_classifier(model):
        return "value"
    classes = list(model.classes_)
    if classes != [0, POSITIVE] or not hasattr(model, "predict_proba"):
        raise _no_model(trainer, f"a classifier without probabilities of 0 and 1 (knows {classes})")
    return "probability"


def answers(model: Any, x: pd.DataFrame, trainer: str) -> np.ndarray[Any, Any]:
    """The model's answers in float64, one per row.

    Raises:
        TrainerError: it fails on these rows, or answers with what is no finite number.
    """
    import numpy as np

    probability = hasattr(model, "predict_proba")
    try:
        raw = model.predict_proba(x)[:, POSITIVE] if probability else model.predict(x)
        found = np.asarray(raw, dtype="float64").reshape(len(x))
    except Exception as error:  # a team's own estimator may raise anything at all
        raise _no_model(trainer, f"a model that fails to predict: {error}") from error
    if not np.isfinite(found).all():
        raise _no_model(
            trainer, f"a model with {int((~np.isfinite(found)).sum())} infinite answers"
        )
    return found


def measure(found: Any, truth: pd.Series[Any], output: str) -> dict[str, float]:
    """How well the model fits what it learnt from: not a test, but a record."""
    from sklearn import metrics

    if output == "probability":
        named = {
            "train_auc": metrics.roc_auc_score(truth, found),
            "train_brier": metrics.brier_score_loss(truth, found),
            "train_base_rate": truth.mean(),
        }
    else:
        named = {
            "train_mae": metrics.mean_absolute_error(truth, found),
            "train_rmse": metrics.root_mean_squared_error(truth, found),
        }
    return {name: round(float(value), 6) for name, value in named.items()}


def _fit(request: Mapping[str, Any], x: Any, y: Any) -> tuple[Any, float]:
    import numpy as np

    seed = int(request["seed"])
    random.seed(seed)
    np.random.seed(seed)
    started = time.monotonic()
    model = usercode.call(
        request["trainer"],
        Path(request["folder"]),
        TrainerError,
        x,
        y,
        params=request["params"],
        seed=seed,
    )
    return model, time.monotonic() - started


def _labels(column: pd.Series[Any]) -> pd.Series[Any]:
    """Whole numbers where the target holds nothing else, so that classes are 0 and 1."""
    return column.astype("int64") if (column % 1 == 0).all() else column


def _no_model(trainer: str, what: str) -> TrainerError:
    return TrainerError(
        f"the trainer '{trainer}' returned {what}",
        where="trainer.use",
        do="return a fitted scikit-learn regressor, or a classifier of 0 and 1 with predict_proba",
    )
