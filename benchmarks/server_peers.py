"""How each server of ``benchmarks/server.py`` is installed, started and asked."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.server_models import NUMBERS, Model


@dataclass(frozen=True)
class Contestant:
    """A server: its command (``{port}`` is filled in), where it runs, and one request to it.

    ``hello`` is a path that it answers to GET without a model, if that is measured too.
    """

    name: str
    command: list[str]
    folder: Path
    path: str
    body: str
    env: dict[str, str] = field(default_factory=dict)
    hello: str = ""

    def requests(self) -> list[tuple[str, str, str]]:
        """What is measured: a label, a path, and a body to POST (none: GET)."""
        bare = [(f"{self.name} (hello)", self.hello, "")] if self.hello else []
        return [(self.name, self.path, self.body), *bare]


def slipway(model: Model) -> list[Contestant]:
    """Slipway's bundles with both engines."""

    def bundle(name: str, engine: str, hello: str = "") -> Contestant:
        serve = str(model.folder / f"bundle-{engine}" / "serve.py")
        command = [sys.executable, serve, "--port", "{port}"]
        body = json.dumps(model.split())
        return Contestant(name, command, model.folder, "/invocations", body, hello=hello)

    return [bundle("slipway-onnx", "onnx", "/ping"), bundle("slipway-sklearn", "skops")]


def peers(model: Model, venvs: Path) -> list[Contestant]:
    """The peers, installed where they are not yet."""
    return [
        _mlflow(model),
        *_mlserver(model, _installed(venvs / "mlserver", ["mlserver", "mlserver-sklearn"])),
        _bentoml(model, _installed(venvs / "bentoml", ["bentoml"])),
    ]


def _installed(venv: Path, packages: list[str]) -> Path:
    """A virtual environment with a peer and the libraries that the model was trained with."""
    from importlib.metadata import version

    if not (venv / "ready").exists():
        print(f"installing {', '.join(packages)} into {venv}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        same = [f"{name}=={version(name)}" for name in ("scikit-learn", "onnxruntime")]
        pip = [venv / "bin" / "pip", "install", "--quiet", *packages, *same, "pandas"]
        subprocess.run(pip, check=True)
        (venv / "ready").touch()
    return venv / "bin"


def _mlflow(model: Model) -> Contestant:
    """``mlflow models serve`` from this project's own environment."""
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "models",
        "serve",
        "-m",
        str(model.folder / "mlflow"),
    ]
    command += ["--port", "{port}", "--env-manager", "local", "--workers", "1"]
    body = json.dumps(model.split())
    # MLflow starts uvicorn by its name: it has to be the one of this environment.
    env = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}
    return Contestant("mlflow-serve", command, model.folder, "/invocations", body, env)


MLSERVER_ONNX = """
import numpy as np, onnxruntime as ort
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceResponse

class OnnxModel(MLModel):
    async def load(self):
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(self.settings.parameters.uri, options)
        return True

    async def predict(self, payload):
        feed = {}
        for given in payload.inputs:
            if given.datatype == "BYTES":
                column = np.array(StringCodec.decode_input(given), dtype=object)
            else:
                column = NumpyCodec.decode_input(given).astype(np.float32)
            feed[given.name] = column.reshape(-1, 1)
        answer = self.session.run(["probabilities"], feed)[0]
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("predict", answer)]
        )
"""


def _mlserver(model: Model, programs: Path) -> list[Contestant]:
    """MLServer with its own scikit-learn runtime, and given the ONNX model by a small runtime."""
    out = []
    for engine, implementation, file in (
        ("sklearn", "mlserver_sklearn.SKLearnModel", "model.joblib"),
        ("onnx", "onnx_runtime.OnnxModel", "model.onnx"),
    ):
        folder = model.folder / f"mlserver-{engine}"
        folder.mkdir(exist_ok=True)
        (folder / "onnx_runtime.py").write_text(MLSERVER_ONNX)
        settings = {
            "name": "flights",
            "implementation": implementation,
            "parameters": {"uri": str(model.folder / file)},
        }
        (folder / "model-settings.json").write_text(json.dumps(settings))
        ports = "MLSERVER_HTTP_PORT={port} MLSERVER_GRPC_PORT=0 MLSERVER_METRICS_PORT=0"
        start = f"{ports} exec '{programs / 'mlserver'}' start '{folder}'"
        out.append(
            Contestant(
                f"mlserver-{engine}",
                ["/bin/sh", "-c", start],
                folder,
                "/v2/models/flights/infer",
                json.dumps(_v2(model)),
                # Its inference worker processes cost it more than they bring for one small model.
                {"MLSERVER_PARALLEL_WORKERS": "0"},
            )
        )
    return out


def _v2(model: Model) -> dict[str, Any]:
    inputs = [
        {"name": n, "shape": [1, 1], "datatype": "FP64", "data": [v]}
        if n in NUMBERS
        else {
            "name": n,
            "shape": [1, 1],
            "datatype": "BYTES",
            "data": [v],
            "parameters": {"content_type": "str"},
        }
        for n, v in model.row.items()
    ]
    return {
        "parameters": {"content_type": "pd"},
        "inputs": inputs,
        "outputs": [{"name": "predict_proba"}],
    }


BENTO = """
import bentoml, joblib, pandas as pd

@bentoml.service(workers=1)
class Flights:
    def __init__(self):
        self.model = joblib.load("model.joblib")

    @bentoml.api
    def predict(self, rows: list[dict]) -> list[float]:
        return self.model.predict_proba(pd.DataFrame(rows))[:, 1].tolist()
"""


def _bentoml(model: Model, programs: Path) -> Contestant:
    """BentoML with a service of a few lines, as its tutorial has it."""
    (model.folder / "service.py").write_text(BENTO)
    return Contestant(
        "bentoml",
        [str(programs / "bentoml"), "serve", "service:Flights", "--port", "{port}"],
        model.folder,
        "/predict",
        json.dumps({"rows": [model.row]}),
        {"BENTOML_DO_NOT_TRACK": "True"},
    )
