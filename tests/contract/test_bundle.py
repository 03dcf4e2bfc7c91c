"""Writing a bundle: whole or not at all, the same bytes every time, checked by digest."""

import json
import os
import subprocess
import sys

import pytest

from slipway import bundle
from slipway.errors import Refused, RuntimeFailure, UsageError
from slipway.release import Column
from slipway.serving import manifest

SIGNATURE = (Column("a", "number"), Column("b", "text", False))


@pytest.fixture
def make(tmp_path):
    """Write a bundle of a stand-in model file; keyword arguments override."""
    source = tmp_path / "source.onnx"
    source.write_bytes(b"graph")

    def write(name="toy", **change):
        arguments = {
            "model": "toy",
            "engine": "onnx",
            "model_file": source,
            "signature": SIGNATURE,
            "output": "probability",
        }
        return bundle.write(tmp_path / name, **{**arguments, **change})

    return write


def test_the_same_inputs_give_the_same_bytes(make, tmp_path):
    """Two bundles of the same inputs are the same, file for file."""
    assert make("one") == make("two")
    assert bundle.verify(tmp_path / "one", make("two")) == ()


def test_writing_it_again_is_no_error(make):
    """A repeated step finds its bundle there and goes on."""
    assert make() == make()


def test_another_bundle_is_not_overwritten(make, tmp_path):
    """A bundle that a release may need is not replaced by a different one."""
    files = make()
    with pytest.raises(Refused, match=r"another bundle is there already: bundle\.json is changed"):
        make(max_rows=7)
    assert bundle.verify(tmp_path / "toy", files) == ()


def test_verify_names_what_differs(make, tmp_path):
    """A changed, a missing and an extra file are each named."""
    files = make()
    (tmp_path / "toy/model.onnx").write_bytes(b"other")
    (tmp_path / "toy/serve.py").unlink()
    (tmp_path / "toy/app/extra.py").write_text("")
    assert bundle.verify(tmp_path / "toy", files) == (
        "app/extra.py does not belong to it",
        "model.onnx is changed",
        "serve.py is missing",
    )


def test_the_manifest_reads_back(make, tmp_path):
    """What was written is what the server reads."""
    make(tolerance=1e-4, max_rows=5, positive_class=0)
    read = manifest.read(tmp_path / "toy")
    assert (read.signature, read.tolerance, read.max_rows) == (SIGNATURE, 1e-4, 5)
    assert (read.positive_class, read.output, read.model_file) == (0, "probability", "model.onnx")


@pytest.mark.parametrize(
    "change",
    [{"format": 2}, {"engine": "pickle"}, {"surprise": 1}, {"signature": [{"name": "a"}]}],
)
def test_a_manifest_that_is_not_understood_is_refused(make, tmp_path, change):
    """A server does not guess at a format, an engine or a key that it does not know."""
    make()
    path = tmp_path / "toy" / manifest.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RuntimeFailure, match="cannot be read"):
        manifest.read(tmp_path / "toy")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"engine": "pickle"}, "the engine is 'pickle'"),
        ({"output": "label"}, "the output is 'label'"),
        ({"signature": (Column("a", "date"),)}, "kind of column a is 'date'"),
        ({"signature": ()}, "at least one column"),
    ],
)
def test_a_wrong_call_writes_nothing(make, tmp_path, change, named):
    """What there is not is refused by name before anything is written."""
    with pytest.raises(UsageError, match=named):
        make(**change)
    assert [p.name for p in tmp_path.iterdir()] == ["source.onnx"]


def test_a_missing_model_file_leaves_nothing(make, tmp_path):
    """A file that cannot be read is named, and no half-made bundle stays."""
    with pytest.raises(RuntimeFailure, match="cannot be written") as caught:
        make(model_file=tmp_path / "nowhere.onnx")
    assert caught.value.where.endswith("nowhere.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["source.onnx"]


def test_what_a_kill_left_is_no_hindrance(make, tmp_path):
    """The rest of a killed try is cleared away by the next one."""
    (tmp_path / ".toy.part").mkdir()
    (tmp_path / ".toy.part" / "model.onnx").write_bytes(b"half")
    make()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["source.onnx", "toy"]


FULL = """
import resource, sys
from pathlib import Path
from slipway.bundle import write
from slipway.errors import RuntimeFailure
from slipway.release import Column
here = Path(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    write(here / "toy", model="toy", engine="onnx", model_file=here / "source.onnx",
          signature=(Column("a", "number"),), output="value")
except RuntimeFailure as error:
    sys.exit(f"refused: {error.what}")
"""


def test_a_disk_that_fills_up_leaves_nothing(tmp_path):
    """Where the model file no longer fits, the error says so and nothing half-made is left."""
    (tmp_path / "source.onnx").write_bytes(b"0" * 300_000)
    child = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )
    assert child.returncode == 1
    assert "refused: the bundle cannot be written" in child.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["source.onnx"]


def test_it_carries_what_the_server_imports_and_no_more(make):
    """The copied modules are the server's own, with none of the gateway, stores or command line."""
    copied = {name.removeprefix("app/slipway/") for name in make() if name.startswith("app/")}
    assert {"__init__.py", "errors.py", "serving/server.py", "serving/http1.py"} <= copied
    assert {"serving/protocols/mlflow_scoring.py", "serving/protocols/open_inference.py"} <= copied
    assert not {"serving/gateway.py", "cli.py", "bundle.py", "ledger.py"} & copied


def test_requirements_are_pinned_with_all_they_need():
    """An ONNX bundle asks for what it serves with and nothing of pandas or MLflow."""
    lines = bundle.requirements("onnx").splitlines()
    names = {line.split("==")[0] for line in lines}
    assert {"numpy", "onnxruntime", "httptools", "uvloop", "msgspec", "protobuf"} <= names
    assert not names & {"pandas", "mlflow", "scikit-learn"}
    assert all("==" in line for line in lines)


def test_what_a_bundle_brings_along_is_named_per_engine():
    """The same server and pins give the same digest; another engine needs other libraries."""
    assert bundle.surroundings("onnx") == bundle.surroundings("onnx")
    assert bundle.surroundings("onnx") != bundle.surroundings("skops")
