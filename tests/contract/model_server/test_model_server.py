"""The model server as its clients meet it: a real bundle, a real process, real sockets."""

import importlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from slipway import bundle
from slipway.errors import RuntimeFailure
from slipway.release import Column
from slipway.serving import engine, manifest


def test_the_answers_are_the_pipelines(bundles, server):
    """Over HTTP, 200 unseen rows get what the trained pipeline itself says, within tolerance."""
    made = bundles["onnx"]
    status, answer = server.invoke(made.body(200))
    assert status == 200
    tolerance = manifest.read(made.path).tolerance
    np.testing.assert_allclose(answer["predictions"], made.expected(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["value", "skops"])
def test_the_other_kinds_answer_too(bundles, serving, name):
    """A regression in ONNX and a forest in skops give their pipelines' answers."""
    made = bundles[name]
    with serving(made.path) as client:
        status, answer = client.invoke(made.body(50))
    assert status == 200
    np.testing.assert_allclose(answer["predictions"], made.expected()[:50], rtol=1e-5, atol=1e-5)


def test_every_form_gets_the_same_answer(bundles, server):
    """The four JSON forms and CSV are the same rows."""
    made = bundles["onnx"]
    split = made.body(3)["dataframe_split"]
    records = [dict(zip(split["columns"], row, strict=True)) for row in split["data"]]
    columns = {n: [r[n] for r in records] for n in split["columns"]}
    bodies = [
        {"dataframe_split": split},
        {"dataframe_records": records},
        {"instances": records},
        {"inputs": columns},
    ]
    answers = [server.invoke(body) for body in bodies]
    csv = made.frame.head(3).to_csv(index=False).encode()
    answers.append(server.invoke(csv, {"content-type": "text/csv"}))
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0] == 200


def test_running_a_bundle_leaves_it_as_it_was(bundles, server):
    """A running server adds no file to the bundle that is named by digest."""
    assert server.ask("GET", "/ping")[0] == 200
    assert bundle.verify(bundles["onnx"].path, bundles["onnx"].files) == ()


def test_it_serves_from_its_own_copy_and_without_pandas(server):
    """What the process has mapped is onnxruntime, and neither pandas nor scikit-learn."""
    mapped = Path(f"/proc/{server.pid}/maps").read_text()
    assert "onnxruntime" in mapped
    assert not any(f"/{heavy}/" in mapped for heavy in ("pandas", "sklearn", "scipy", "pyarrow"))


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [("/ping", "application/json", b"\n"), ("/health", "application/json", b"\n")],
)
def test_health(server, path, content_type, body):
    """The health checks answer as MLflow's do, and to HEAD as well."""
    status, headers, raw = server.ask("GET", path)
    assert (status, headers["content-type"], raw) == (200, content_type, body)
    assert server.ask("HEAD", path)[0::2] == (200, b"")


def test_its_memory_is_told(server):
    """What it holds for itself, by the kernel's own count: neither nothing nor what files take."""
    told = json.loads(server.ask("GET", "/memory")[2])["bytes"]
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    seen = {line.split(":")[0]: line.split(":")[1] for line in lines}
    assert told == pytest.approx(int(seen["RssAnon"].split()[0]) << 10, rel=0.2)
    assert told < int(seen["VmRSS"].split()[0]) << 10


def test_the_version_is_told(server):
    """A client can ask which server it talks to."""
    from slipway import __version__

    assert server.ask("GET", "/version")[2].decode() == __version__


BAD = [
    ("no JSON", b"{", None, 400, "not JSON"),
    ("a missing column", ("drop", "hour"), None, 400, "missing column: hour"),
    ("an extra column", ("add", "speed"), None, 400, "unknown column: speed"),
    ("text for a number", ("set", "hour", "late"), None, 400, "column hour holds numbers"),
    ("a number for text", ("set", "carrier", 7), None, 400, "column carrier holds texts"),
    ("a huge number", ("set", "hour", 1e39), None, 400, "column hour holds a number too large"),
    ("a huge integer", ("set", "gust", -(10**400)), None, 400, "column gust holds a number too"),
    ("10,000 rows", ("repeat", 10_000), None, 413, "10000 rows"),
    ("no content type", ("same",), {}, 415, "no content type"),
    ("50 MB", b"0" * 50_000_000, None, 413, "over 8388608 bytes"),
]


@pytest.mark.parametrize(
    ("change", "headers", "status", "named"), [b[1:] for b in BAD], ids=[b[0] for b in BAD]
)
def test_bad_input_gets_one_clear_error(bundles, server, change, headers, status, named):
    """Each bad request is refused with a JSON error that names the fault, and nothing breaks."""
    body = change if isinstance(change, bytes) else changed(bundles["onnx"].body(1), *change)
    found, answer = server.invoke(body, headers)
    assert found == status
    assert named in answer["error"]["what"]
    assert answer["error"].keys() == {"what", "where", "do"}
    assert server.invoke(bundles["onnx"].body(1))[0] == 200


def changed(body, how, name=None, value=None):
    """A good body of one row with one fault."""
    row = dict(
        zip(*(body["dataframe_split"]["columns"], body["dataframe_split"]["data"][0]), strict=True)
    )
    rows = [row]
    if how == "drop":
        del row[name]
    elif how == "add":
        row[name] = 1.0
    elif how == "set":
        row[name] = value
    elif how == "repeat":
        rows = [row] * name
    return {"dataframe_records": rows}


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/nope", 404, None),
        ("GET", "/invocations", 405, "POST"),
        ("POST", "/ping", 405, "GET, HEAD"),
        ("GET", "/v2/models/other", 404, None),
        ("DELETE", "/v2/models/flights/infer", 405, "POST"),
    ],
)
def test_what_is_not_there_is_said_so(server, method, path, status, allow):
    """An unknown path is 404 and a wrong method 405 with the methods there are."""
    found, headers, raw = server.ask(method, path)
    assert (found, headers["allow"]) == (status, allow)
    assert json.loads(raw)["error"]


def test_many_at_once_each_get_their_own_answer(bundles, server):
    """Requests that are batched together are not mixed up."""
    made = bundles["onnx"]
    names, rows = list(made.frame.columns), made.rows(120)
    bodies = [{"dataframe_split": {"columns": names, "data": [row]}} for row in rows]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(server.invoke, bodies))
    found = [answer["predictions"][0] for _, answer in answers]
    np.testing.assert_allclose(found, made.expected()[:120], rtol=0, atol=1e-5)


def test_pipelined_requests_are_answered_in_order(bundles, server):
    """Many requests written at once on one connection come back in their order."""
    made = bundles["onnx"]
    names = list(made.frame.columns)
    bodies = [{"dataframe_split": {"columns": names, "data": [row]}} for row in made.rows(20)]
    connection = connect(server.port)
    connection.sendall(b"".join(map(raw_request, bodies)))
    connection.sendall(b"GET /ping HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
    received = read_to_end(connection)
    found = [
        json.loads(part.split(b"\r\n\r\n")[1].split(b"HTTP/1.1")[0])["predictions"][0]
        for part in received.split(b"HTTP/1.1 200 OK")[1:-1]
    ]
    np.testing.assert_allclose(found, made.expected()[:20], rtol=0, atol=1e-5)


# The Open Inference Protocol.


def tensors(made, count):
    """The first rows as JSON tensors."""
    rows = made.rows(count)
    return [
        {
            "name": name,
            "datatype": "BYTES" if name in ("carrier", "dest") else "FP64",
            "shape": [count],
            "data": [row[i] for row in rows],
        }
        for i, name in enumerate(made.frame.columns)
    ]


def test_v2_gives_the_same_answer(bundles, server):
    """An inference request over V2 gets what MLflow's protocol gives."""
    made = bundles["onnx"]
    status, _, raw = server.ask(
        "POST", "/v2/models/flights/infer", {"id": "1", "inputs": tensors(made, 5)}
    )
    output = json.loads(raw)["outputs"][0]
    assert (status, output["shape"]) == (200, [5])
    assert output["data"] == server.invoke(made.body(5))[1]["predictions"]


def test_v2_speaks_binary_as_triton_clients_do(bundles, server):
    """Numbers and texts as raw bytes in, and the predictions as raw bytes out."""
    made = bundles["onnx"]
    inputs, binary = [], b""
    for given in tensors(made, 4):
        values = given.pop("data")
        if given["datatype"] == "BYTES":
            raw = b"".join(struct.pack("<I", len(v)) + v.encode() for v in values)
        else:
            raw = np.array(values, dtype="<f8").tobytes()
        inputs.append({**given, "parameters": {"binary_data_size": len(raw)}})
        binary += raw
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    status, headers, raw = server.ask(
        "POST",
        "/v2/models/flights/infer",
        head + binary,
        {"inference-header-content-length": str(len(head))},
    )
    assert status == 200
    length = int(headers["inference-header-content-length"])
    assert json.loads(raw[:length])["outputs"][0]["parameters"] == {"binary_data_size": 32}
    np.testing.assert_allclose(
        np.frombuffer(raw[length:], "<f8"), made.expected()[:4], rtol=0, atol=1e-5
    )


def test_v2_errors_are_one_sentence(bundles, server):
    """A V2 client reads an error as one text that names the column."""
    status, _, raw = server.ask(
        "POST", "/v2/models/flights/infer", {"inputs": tensors(bundles["onnx"], 1)[1:]}
    )
    assert status == 400
    assert "missing column: distance" in json.loads(raw)["error"]


@pytest.mark.parametrize(
    "path",
    [
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/flights",
        "/v2/models/flights/ready",
    ],
)
def test_v2_tells_about_itself(server, path):
    """Server, health, model metadata and readiness answer with JSON."""
    status, _, raw = server.ask("GET", path)
    assert status == 200
    assert json.loads(raw)


# A model with the user's own code in it.

OWN_CODE = '''
from sklearn.base import BaseEstimator, TransformerMixin

class Doubler(TransformerMixin, BaseEstimator):
    """Twice every number."""

    def fit(self, x, y=None):
        return self

    def transform(self, x):
        return x * 2
'''


def test_a_bundle_carries_the_users_own_code(serving, tmp_path, monkeypatch):
    """A skops model with the user's own type serves from the copy of its module in the bundle."""
    import pandas as pd
    import skops.io
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    source = tmp_path / "user" / "own_steps.py"
    source.parent.mkdir()
    source.write_text(OWN_CODE)
    monkeypatch.syspath_prepend(str(source.parent))
    own_steps = importlib.import_module("own_steps")
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    model = make_pipeline(own_steps.Doubler(), LinearRegression()).fit(frame, frame["a"] * 10)
    skops.io.dump(model, tmp_path / "model.skops")
    bundle.write(
        tmp_path / "own",
        model="own",
        engine="skops",
        model_file=tmp_path / "model.skops",
        signature=(Column("a", "number"),),
        output="value",
        trusted=["own_steps.Doubler"],
        code_files={"own_steps.py": source},
    )
    source.unlink()
    with serving(tmp_path / "own") as client:
        status, answer = client.invoke({"inputs": {"a": [4.0, 5]}})
    assert status == 200
    assert answer["predictions"] == pytest.approx([40.0, 50.0])


def test_a_type_that_is_not_trusted_is_not_built(bundles, tmp_path):
    """A skops file that holds more than the bundle trusts does not load."""
    made = bundles["skops"]
    bundle.write(
        tmp_path / "wary",
        model="flights",
        engine="skops",
        model_file=made.path / "model.skops",
        signature=manifest.read(made.path).signature,
        output="probability",
        trusted=(),
    )
    with pytest.raises(RuntimeFailure, match="UntrustedTypesFoundException"):
        engine.load(tmp_path / "wary")


# Against a recorded MLflow server.

SHARED = Path(os.environ.get("SLIPWAY_SHARED", Path(__file__).parents[4] / "shared"))
TRANSCRIPT = SHARED / "vectors" / "mlflow_scoring_transcript.json"
# Where we differ from MLflow's server, on purpose.
STRICTER = {"extra column": 400, "no content-type": 415, "charset latin-1": 415}
LOOSER = {"null value": 200, "HEAD ping": 200}  # null is a missing value


@pytest.mark.skipif(
    not TRANSCRIPT.exists() and "SLIPWAY_SHARED" not in os.environ,
    reason="the recorded MLflow exchanges are not here",
)
def test_statuses_are_mlflows(bundles, serving, tmp_path):
    """A recorded conversation with MLflow's own server gets the same statuses from ours."""
    cases = json.loads(TRANSCRIPT.read_text())["cases"]
    cases = [c for c in cases if "... (" not in (c["request"]["body"] or "")]  # one is abridged
    with serving(iris(tmp_path)) as client:
        for case in cases:
            sent, expected = case["request"], case["response"]
            headers = {"content-type": sent["content_type"]} if sent["content_type"] else {}
            body = sent["body"].encode() if sent["body"] is not None else None
            status, _, raw = client.ask(sent["method"], sent["path"], body, headers)
            wanted = {**STRICTER, **LOOSER}.get(case["name"], expected["status"])
            assert status == wanted, (case["name"], raw)
            if status == 200 and isinstance((expected["json"] or {}).get("predictions"), list):
                assert len(json.loads(raw)["predictions"]) == len(expected["json"]["predictions"])


def iris(directory):
    """A bundle with the transcript's columns."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return numbers_bundle(directory, names, make_pipeline(SimpleImputer(), LinearRegression()))


def numbers_bundle(directory, names, model):
    """A bundle of a model that takes these number columns and learns their sum."""
    import pandas as pd
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.pipeline import make_pipeline

    frame = pd.DataFrame(np.random.default_rng(0).uniform(0, 7, (50, len(names))), columns=names)
    inputs = [(name, FloatTensorType([None, 1])) for name in names]
    fitted = make_pipeline(model).fit(frame, frame.sum(axis=1))
    source = directory / "numbers.onnx"
    source.write_bytes(to_onnx(fitted, initial_types=inputs).SerializeToString())
    bundle.write(
        directory / "numbers",
        model="numbers",
        engine="onnx",
        model_file=source,
        signature=tuple(Column(n, "number") for n in names),
        output="value",
    )
    return directory / "numbers"


def test_an_answer_that_is_no_number_is_a_failure(serving, tmp_path):
    """A model that says NaN has failed on that request, and only on that one."""
    from sklearn.linear_model import LinearRegression

    path = numbers_bundle(tmp_path, ["a"], LinearRegression())
    sent = [{"inputs": {"a": [value]}} for value in (1.0, None) * 20]
    with serving(path) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.invoke, sent))
    assert [status for status, _ in answers] == [200, 500] * 20
    assert "the answer for row 0 is nan" in answers[1][1]["error"]["what"]


# Stopping.


def test_stopping_loses_no_request(bundles, serving):
    """Told to stop while requests are half sent, the server takes no new ones and answers these."""
    request = raw_request(bundles["onnx"].body(1))
    half = len(request) // 2
    with serving(bundles["onnx"].path) as client:
        connections = [connect(client.port) for _ in range(20)]
        for connection in connections:
            connection.sendall(request[:half])
        # What came before this request has been read when this one is answered.
        assert client.ask("GET", "/ping")[0] == 200
        client.stop()
        while accepts(client.port):
            pass
        for connection in connections:
            connection.sendall(request[half:])
        answers = [read_to_end(connection) for connection in connections]
    assert all(a.startswith(b"HTTP/1.1 200") and b"predictions" in a for a in answers)


def connect(port):
    """A connection to the server."""
    return socket.create_connection(("127.0.0.1", port), timeout=30)


def accepts(port):
    """Whether the server still takes new connections."""
    try:
        connect(port).close()
    except ConnectionError:
        return False
    return True


def read_to_end(connection):
    """All that comes until the server closes the connection."""
    with connection:
        return b"".join(iter(lambda: connection.recv(65536), b""))


def raw_request(value):
    """A scoring request as bytes on the wire."""
    body = json.dumps(value).encode()
    return (
        b"POST /invocations HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda path: (path / "model.onnx").write_bytes(b"no graph"), "the model does not load"),
        (lambda path: (path / "bundle.json").unlink(), "the bundle cannot be read"),
        (
            lambda path: (path / "bundle.json").write_text(
                (path / "bundle.json").read_text().replace('"gust"', '"wind"')
            ),
            "the graph takes",
        ),
    ],
)
def test_a_broken_bundle_says_so_and_exits(bundles, tmp_path, spoil, named):
    """A bundle that cannot serve ends with exit code 1 and the reason, and announces nothing."""
    shutil.copytree(bundles["onnx"].path, tmp_path / "broken")
    spoil(tmp_path / "broken")
    announce = tmp_path / "here.json"
    child = subprocess.run(
        [sys.executable, tmp_path / "broken" / "serve.py", "--port", "0", "--announce", announce],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (child.returncode, announce.exists()) == (1, False)
    assert named in child.stderr
