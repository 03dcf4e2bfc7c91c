"""Fitting and storing: what counts as a model, and what its stored bytes depend on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import skops.io
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from slipway.child import artefact
from slipway.child.train import answers, check_model, train
from slipway.errors import TrainerError

FEATURES = [{"name": "carrier", "kind": "text"}, {"name": "temp", "kind": "number"}]
TRAINER = """
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline


class OnlyNumbers(TransformerMixin, BaseEstimator):
    def fit(self, x, y=None):
        self.seen_ = True
        return self

    def transform(self, x):
        return x[["temp"]].fillna(0.0).to_numpy()


def fit(x, y, *, params, seed):
    return make_pipeline(OnlyNumbers(), LogisticRegression()).fit(x, y)


def nothing(x, y, *, params, seed):
    return {"weights": [1, 2]}


def not_fitted(x, y, *, params, seed):
    return LogisticRegression()
"""


def rows(count: int = 300) -> pd.DataFrame:
    """Flights that are late when it is cold, with some temperatures missing."""
    random = np.random.default_rng(1)
    temp = random.normal(40, 10, count)
    late = (temp + random.normal(0, 5, count) < 38).astype(float)
    temp[::17] = np.nan
    carriers = pd.Series(random.choice(["UA", "AA", ""], count), dtype="str")
    return pd.DataFrame({"carrier": carriers, "temp": temp, "late": late})


def pipeline(last: Any) -> Any:
    """A model of both kinds of columns, fitted."""
    columns = make_column_transformer(
        (SimpleImputer(), ["temp"]),
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["carrier"]),
    )
    data = rows()
    return make_pipeline(columns, last).fit(data[["carrier", "temp"]], data["late"].astype(int))


MODELS = {
    "logistic regression": LogisticRegression,
    "forest": lambda: RandomForestClassifier(20, max_depth=4, random_state=3),
    "boosted regression": lambda: GradientBoostingRegressor(n_estimators=20, random_state=3),
}


@pytest.mark.parametrize("name", MODELS)
def test_equal_models_are_equal_bytes(name: str, tmp_path: Path) -> None:
    """Fitted twice, with other things in memory meanwhile, skops and ONNX files are the same."""
    stored = []
    for run in range(2):
        model = pipeline(MODELS[name]())
        clutter = [np.full(997, 7.5) for _ in range(500 * run)]
        artefact.store(model, tmp_path / "model.skops", ())
        kinds = {f["name"]: f["kind"] for f in FEATURES}
        assert artefact.export(model, kinds, tmp_path / "model.onnx", check_model(model, "t")) == ""
        stored.append([(tmp_path / f"model.{e}").read_bytes() for e in ("skops", "onnx")])
        del clutter
    assert stored[0] == stored[1]


@pytest.mark.parametrize("name", MODELS)
def test_a_stored_model_answers_as_the_fitted_one(name: str, tmp_path: Path) -> None:
    """Read back with the types it says it needs, skops' answers are the very same numbers."""
    model, x = pipeline(MODELS[name]()), rows()[["carrier", "temp"]]
    trusted = artefact.store(model, tmp_path / "model.skops", ())
    read = skops.io.load(tmp_path / "model.skops", trusted=trusted)
    assert np.array_equal(answers(read, x, "t"), answers(model, x, "t"))


@pytest.mark.parametrize("name", MODELS)
def test_the_onnx_file_takes_one_input_per_column(name: str, tmp_path: Path) -> None:
    """Its inputs are the signature, and its answers are the model's to single precision."""
    model, x = pipeline(MODELS[name]()), rows()[["carrier", "temp"]]
    kinds = {f["name"]: f["kind"] for f in FEATURES}
    artefact.export(model, kinds, tmp_path / "model.onnx", check_model(model, "t"))
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    assert [i.name for i in session.get_inputs()] == ["carrier", "temp"]
    columns = {"carrier": x[["carrier"]].to_numpy(object), "temp": x[["temp"]].to_numpy("float32")}
    last = session.run(None, columns)[-1]
    assert np.abs(last[:, -1] - answers(model, x, "t")).max() < 1e-5


def test_a_model_that_onnx_cannot_express_keeps_the_reason(tmp_path: Path) -> None:
    """No ONNX file is left, and skops serves instead."""
    model = pipeline(HistGradientBoostingClassifier(max_iter=5))
    (tmp_path / "model.onnx").write_bytes(b"of an earlier run")
    kinds = {f["name"]: f["kind"] for f in FEATURES}
    assert artefact.export(model, kinds, tmp_path / "model.onnx", "probability") != ""
    assert not (tmp_path / "model.onnx").exists()


@pytest.fixture
def request_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a training request for a function of ``TRAINER``."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "their_trainer", raising=False)
    (tmp_path / "their_trainer.py").write_text(TRAINER)
    rows().to_parquet(tmp_path / "snapshot.parquet")
    rows(40).to_csv(tmp_path / "fixed.csv", index=False)

    def make(function: str, **changed: Any) -> dict[str, Any]:
        request = {
            "folder": str(tmp_path),
            "features": FEATURES,
            "target": "late",
            "snapshot": str(tmp_path / "snapshot.parquet"),
            "trainer": f"their_trainer:{function}",
            "params": {},
            "seed": 7,
            "trusted": ["their_trainer.OnlyNumbers"],
            "fixed": str(tmp_path / "fixed.csv"),
            "out": str(tmp_path / "out"),
        }
        return {**request, **changed}

    return make


def test_training_tells_all_that_a_candidate_needs(request_of: Any, tmp_path: Path) -> None:
    """Digests, trusted types, what it answers, its signature, and how it fits."""
    told = train(request_of("fit"))
    assert told["artefact"] == told["files"]["model.skops"]
    assert told["trusted"] == ["their_trainer.OnlyNumbers"]
    assert (told["output"], told["positive_class"]) == ("probability", 1)
    assert told["signature"] == FEATURES
    assert told["metrics"]["rows"] == 300
    assert told["metrics"]["train_auc"] > 0.8
    assert "OnlyNumbers" in told["onnx_error"], "a class of the team's own has no converter"
    assert len(json.loads((tmp_path / "out" / "native_scores.json").read_text())) == 40


@pytest.mark.parametrize(
    ("function", "what"),
    [
        ("nothing", "returned a dict, which is no model"),
        ("not_fitted", "returned a LogisticRegression that is not fitted"),
        ("missing", "has no function 'missing'"),
    ],
)
def test_what_is_no_model_is_refused(request_of: Any, function: str, what: str) -> None:
    """The trainer is told what it returned and what it should return."""
    with pytest.raises(TrainerError) as raised:
        train(request_of(function))
    assert what in raised.value.what


def test_a_type_that_was_not_declared_is_refused(request_of: Any, tmp_path: Path) -> None:
    """Reading a stored model may only build types that the team has named."""
    with pytest.raises(TrainerError, match=r"not declared: their_trainer\.OnlyNumbers"):
        train(request_of("fit", trusted=[]))
    assert not (tmp_path / "out" / "model.skops").exists()


def test_a_classifier_of_other_classes_is_refused() -> None:
    """The answer is the probability of class 1, so 0 and 1 are the classes."""
    x, y = rows()[["temp"]].fillna(0.0), rows()["late"].map({0.0: "on time", 1.0: "late"})
    with pytest.raises(TrainerError, match="a classifier without probabilities of 0 and 1"):
        check_model(LogisticRegression().fit(x, y), "train:train")


def test_a_model_that_cannot_answer_is_refused() -> None:
    """A model that fails on a row it may be asked about is no model either."""
    model = LogisticRegression().fit(rows()[["temp"]].fillna(0.0), rows()["late"].astype(int))
    with pytest.raises(TrainerError, match="a model that fails to predict: Input X contains NaN"):
        answers(model, rows()[["temp"]], "train:train")
