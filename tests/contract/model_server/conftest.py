"""Real bundles of real pipelines, trained once per test session, and their running servers."""

import http.client
import json
import os
import selectors
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from slipway import bundle
from slipway.release import Column

NUMBERS, TEXTS = ("distance", "hour", "gust"), ("carrier", "dest")
SIGNATURE = tuple(Column(n, "number") for n in NUMBERS) + tuple(Column(t, "text") for t in TEXTS)


def flights(rows, seed):
    """A frame that looks like flights, with missing numbers and texts, and who is late."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "distance": random.uniform(100, 3000, rows).round(),
            "hour": random.integers(5, 24, rows).astype(float),
            "gust": np.where(random.random(rows) < 0.3, np.nan, random.uniform(0, 40, rows)),
            "carrier": random.choice(["UA", "AA", "DL", ""], rows),
            "dest": random.choice(["ORD", "LAX", "SFO", "BOS"], rows),
        }
    )
    late = frame.hour + frame.gust.fillna(5) + random.normal(0, 6, rows) > 25
    return frame, late.astype(int).to_numpy(), frame.hour.to_numpy() * 1.5


def pipeline(model):
    """The pipeline that examples use: impute, encode, fit."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    prepare = ColumnTransformer(
        [
            ("numbers", SimpleImputer(), list(NUMBERS)),
            ("texts", OneHotEncoder(handle_unknown="ignore"), list(TEXTS)),
        ]
    )
    return Pipeline([("prepare", prepare), ("model", model)])


def export(model, path):
    """The model as ONNX, one [rows, 1] input per column."""
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    types = {"number": FloatTensorType, "text": StringTensorType}
    inputs = [(c.name, types[c.kind]([None, 1])) for c in SIGNATURE]
    options = {id(model): {"zipmap": False}} if hasattr(model, "predict_proba") else {}
    path.write_bytes(to_onnx(model, initial_types=inputs, options=options).SerializeToString())


class Made:
    """A bundle with the pipeline it was made from and rows that the pipeline has not seen."""

    def __init__(self, path, files, model, frame):
        self.path, self.files, self.model, self.frame = path, files, model, frame

    def expected(self):
        """What the trained pipeline itself says."""
        if hasattr(self.model, "predict_proba"):
            return self.model.predict_proba(self.frame)[:, 1]
        return self.model.predict(self.frame)

    def rows(self, count):
        """The first rows as JSON values, missing numbers as null."""
        rows = self.frame.head(count).to_dict("split")["data"]
        return [[None if cell != cell else cell for cell in row] for row in rows]

    def body(self, count):
        """A request for the first rows."""
        names = list(self.frame.columns)
        return {"dataframe_split": {"columns": names, "data": self.rows(count)}}


@pytest.fixture(scope="session")
def bundles(tmp_path_factory):
    """Name to a bundle: a forest and a regression in ONNX, the forest in skops."""
    import skops.io
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LinearRegression

    base = tmp_path_factory.mktemp("bundles")
    train, late, minutes = flights(600, seed=1)
    unseen = flights(200, seed=2)[0]
    unseen.loc[0, "carrier"] = "ZZ"  # a carrier that the model has never seen
    forest = pipeline(RandomForestClassifier(20, max_depth=6, random_state=0, n_jobs=2))
    line = pipeline(LinearRegression())
    forest.fit(train, late)
    line.fit(train, minutes)
    export(forest, base / "forest.onnx")
    export(line, base / "line.onnx")
    skops.io.dump(forest, base / "forest.skops")
    trusted = skops.io.get_untrusted_types(file=base / "forest.skops")

    def made(name, model, source, engine, output, **more):
        files = bundle.write(
            base / name,
            model="flights",
            engine=engine,
            model_file=base / source,
            signature=SIGNATURE,
            output=output,
            **more,
        )
        return Made(base / name, files, model, unseen)

    return {
        "onnx": made("onnx", forest, "forest.onnx", "onnx", "probability", max_rows=500),
        "value": made("value", line, "line.onnx", "onnx", "value"),
        "skops": made("skops", forest, "forest.skops", "skops", "probability", trusted=trusted),
    }


class Client:
    """A plain HTTP client of one running bundle."""

    def __init__(self, process, port):
        self.pid, self.port = process.pid, port
        self._process, self._stopped = process, False

    def stop(self):
        """Tell the server to stop, once: told twice, a process may not finish what it does."""
        if not self._stopped:
            self._process.terminate()
        self._stopped = True

    def ask(self, method, path, body=None, headers=None):
        """One request on its own connection: status, headers, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            if headers is None:
                headers = {"content-type": "application/json"} if raw is not None else {}
            connection.request(method, path, raw, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def invoke(self, body, headers=None):
        """A scoring request: status and the answer's JSON."""
        status, _, raw = self.ask("POST", "/invocations", body, headers)
        return status, json.loads(raw)


@contextmanager
def running(path: Path, announce: Path):
    """A bundle's own server as a process, from when it says that it answers until SIGTERM.

    It runs without this project on its path: what it needs, it carries.
    """
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, str(path / "serve.py"), "--port", "0", "--announce", str(announce)]
    process = subprocess.Popen(command, env=env, cwd="/", stderr=subprocess.PIPE, text=True)
    wait_for_line(process, "answers at")
    told = json.loads(announce.read_text())
    assert told["pid"] == process.pid
    client = Client(process, told["port"])
    try:
        yield client
    finally:
        client.stop()
        process.communicate(timeout=30)
        assert process.returncode == 0


def wait_for_line(process, text, seconds=60):
    """Read a process's stderr until a line holds the text."""
    seen = []
    with selectors.DefaultSelector() as selector:
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.select(seconds):
            line = process.stderr.readline()
            seen.append(line)
            if text in line:
                return
            if not line:
                break
    process.kill()
    raise AssertionError(f"it never said {text!r}: {''.join(seen)}")


@pytest.fixture(scope="session")
def serving(tmp_path_factory):
    """A context manager that runs a bundle's server and gives its client."""
    return lambda path: running(path, tmp_path_factory.mktemp("announce") / "here.json")


@pytest.fixture(scope="session")
def server(bundles, serving):
    """The client of the ONNX forest's running server."""
    with serving(bundles["onnx"].path) as client:
        yield client
