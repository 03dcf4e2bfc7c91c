"""What MLflow gives of a registered model: the answers of the bundle that serves."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from slipway import bundle as bundles
from slipway.release import Bundle, Candidate, Column
from tasks import register

OWN_CODE = """
from sklearn.base import BaseEstimator, TransformerMixin


class Doubler(TransformerMixin, BaseEstimator):
    def fit(self, x, y=None):
        return self

    def transform(self, x):
        return x * 2
"""

# As a user of the registry would, where neither Slipway nor the team's code is installed.
LOADED = """
import json, sys
import mlflow, pandas as pd

model = mlflow.pyfunc.load_model(sys.argv[1])
rows = pd.DataFrame({"a": [4.0, None, 5.0] * 500})
told = list(model.predict(rows))
try:
    model.predict(pd.DataFrame({"b": [1.0]}))
    refused = ""
except Exception as error:
    refused = str(error)
print(json.dumps({"told": told, "refused": refused}))
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Candidate, Bundle]:
    """A candidate with a step of its own, and its bundle."""
    import pandas as pd
    import skops.io
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    source = tmp_path / "user" / "own_doubler.py"
    source.parent.mkdir()
    source.write_text(OWN_CODE)
    monkeypatch.syspath_prepend(str(source.parent))
    doubler = importlib.import_module("own_doubler").Doubler()
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    model = make_pipeline(SimpleImputer(), doubler, LinearRegression()).fit(frame, frame["a"] * 10)
    skops.io.dump(model, tmp_path / "model.skops")
    signature, trusted = (Column("a", "number"),), ("numpy.dtype", "own_doubler.Doubler")
    files = bundles.write(
        tmp_path / "bundle",
        model="own",
        engine="skops",
        model_file=tmp_path / "model.skops",
        signature=signature,
        output="value",
        trusted=trusted,
        code_files={"own_doubler.py": source},
    )
    candidate = Candidate(
        "own", "sha256:s", "sha256:c", "", "sha256:l", "t:t", {}, 7, "sha256:a", signature, trusted
    )
    return candidate, Bundle(candidate.digest, "skops", files, str(tmp_path / "bundle"))


def test_a_model_with_types_of_its_own_loads_and_answers(
    own: tuple[Candidate, Bundle], tmp_path: Path
) -> None:
    """MLflow loads the registered bundle elsewhere: same answers, any rows, same refusals."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    mlflow.create_experiment("own", artifact_location=(tmp_path / "artefacts").as_uri())
    mlflow.set_experiment("own")
    with mlflow.start_run(log_system_metrics=False):
        logged = register._model(*own)
    (stored,) = (tmp_path / "artefacts").rglob("MLmodel")
    assert logged.model_uri
    done = subprocess.run(
        [sys.executable, "-I", "-c", LOADED, str(stored.parent)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["told"] == pytest.approx([40.0, 20.0, 50.0] * 500)
    assert "a" in said["refused"]
