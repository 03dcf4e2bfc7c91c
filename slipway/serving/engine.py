"""The engines: columns in, one number per row out.

ONNX is the fast one (no pandas, no scikit-learn); skops runs the trained pipeline itself, where
ONNX cannot prove the same answers. Both take a table that the signature has checked.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from slipway.errors import RuntimeFailure
from slipway.release import Column
from slipway.serving.manifest import Manifest, read
from slipway.serving.signature import BadInput, Table, mismatch

if TYPE_CHECKING:
    import numpy as np

THREADS = "SLIPWAY_ENGINE_THREADS"
FLOAT32_MAX = 3.4028235e38


class Engine(Protocol):
    """What answers requests."""

    manifest: Manifest

    def predict(self, table: Table) -> list[float]:
        """One prediction per row of a checked table."""
        ...


def load(bundle: Path) -> Engine:
    """Load a bundle's model.

    Raises:
        RuntimeFailure: the manifest or the model cannot be read, or they do not fit together.
    """
    manifest = read(bundle)
    build = OnnxEngine if manifest.engine == "onnx" else SkopsEngine
    try:
        return build(bundle, manifest)
    except RuntimeFailure:
        raise
    except Exception as error:  # any library error here means one thing: the model does not load
        raise RuntimeFailure(
            f"the model does not load: {type(error).__name__}: {error}",
            where=str(bundle / manifest.model_file),
            do="build the bundle again with the libraries of its requirements.txt",
        ) from error


class OnnxEngine:
    """onnxruntime on a graph with one [rows, 1] input per column.

    A classifier's graph has the output ``probabilities`` [rows, classes], a regressor's
    ``variable`` [rows, 1], as skl2onnx names them.
    """

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        # One request at a time keeps one core busy; more cores are more replicas' business.
        options.intra_op_num_threads = int(os.environ.get(THREADS, "1"))
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        self.manifest = manifest
        self._session = ort.InferenceSession(
            str(bundle / manifest.model_file), options, providers=["CPUExecutionProvider"]
        )
        _give_back_memory()
        self._output = "probabilities" if manifest.output == "probability" else "variable"
        self._column = manifest.positive_class if manifest.output == "probability" else 0
        self._numbers = [c.name for c in manifest.signature if c.kind == "number"]
        self._texts = [c.name for c in manifest.signature if c.kind == "text"]
        self._check_graph(manifest.signature)
        # The session's own ``run`` asks for every input's name and type again on each call, at up
        # to half the cost of a small model; the graph and the signature are checked already. The
        # bundle pins the version of onnxruntime that this was tried with.
        self._run = self._session._sess.run

    def _check_graph(self, signature: tuple[Column, ...]) -> None:
        kinds = {"tensor(float)": "number", "tensor(string)": "text"}
        graph = {i.name: kinds.get(i.type, i.type) for i in self._session.get_inputs()}
        outputs = [o.name for o in self._session.get_outputs()]
        wanted = {c.name: c.kind for c in signature}
        if graph != wanted or self._output not in outputs:
            raise RuntimeFailure(
                f"the graph takes {graph} and gives {outputs}, but the bundle promises "
                f"{wanted} and {self._output}",
                do="export the model with one [rows, 1] input per column of its signature",
            )

    def predict(self, table: Table) -> list[float]:
        """One prediction per row of a checked table."""
        import numpy as np

        feed: dict[str, Any] = {}
        if self._numbers:
            matrix = numbers(table, self._numbers, np.float32)
            feed.update(zip(self._numbers, matrix[:, :, np.newaxis], strict=True))
        if self._texts:
            texts = np.array([table[name] for name in self._texts], dtype=object)
            feed.update(zip(self._texts, texts[:, :, np.newaxis], strict=True))
        answer = self._run([self._output], feed, None)[0]
        result: list[float] = answer[:, self._column].tolist()
        return result


class SkopsEngine:
    """scikit-learn itself, on a pipeline read by skops with a declared list of trusted types."""

    def __init__(self, bundle: Path, manifest: Manifest) -> None:
        import skops.io

        code = bundle / "code"
        if code.is_dir():
            sys.path.insert(0, str(code))
        self.manifest = manifest
        self._model = skops.io.load(bundle / manifest.model_file, trusted=list(manifest.trusted))
        _use_one_core(self._model)

    def predict(self, table: Table) -> list[float]:
        """One prediction per row of a checked table."""
        import numpy as np
        import pandas as pd

        names = [c.name for c in self.manifest.signature if c.kind == "number"]
        matrix = dict(zip(names, numbers(table, names, np.float64), strict=True)) if names else {}
        frame = pd.DataFrame({name: matrix.get(name, values) for name, values in table.items()})
        if self.manifest.output == "value":
            answer = np.asarray(self._model.predict(frame)).reshape(len(frame))
        else:
            answer = self._model.predict_proba(frame)[:, self.manifest.positive_class]
        result: list[float] = answer.astype(float).tolist()
        return result


def _use_one_core(model: Any) -> None:
    """Predict without worker threads: for single rows they cost far more than they bring."""
    parameters = model.get_params() if hasattr(model, "get_params") else {}
    model.set_params(**{n: 1 for n in parameters if n.split("__")[-1] == "n_jobs"})


def numbers(table: Table, names: list[str], dtype: Any) -> np.ndarray[Any, Any]:
    """The number columns as one [columns, rows] matrix, None as NaN.

    Raises:
        BadInput: a number that float32, in which models count, cannot hold.
    """
    import numpy as np

    try:
        with np.errstate(over="ignore"):
            matrix = np.array([table[name] for name in names], dtype=dtype)
            fits = not np.isinf(matrix.astype(np.float32, copy=False)).any()
    except OverflowError:  # an integer that not even float64 can hold
        fits = False
    if not fits:
        raise _too_large(table, names)
    return matrix


def _too_large(table: Table, names: list[str]) -> BadInput:
    name = next(n for n in names if any(v is not None and abs(v) > FLOAT32_MAX for v in table[n]))
    return mismatch(
        f"column {name} holds a number too large to compute with",
        where=f"column {name}",
        do="send numbers between -3.4e38 and 3.4e38",
    )


def _give_back_memory() -> None:
    """Hand the heap that parsing the model left behind back to the system.

    For a 200-tree forest that is a third of the process. Only glibc has the call; elsewhere the
    memory just stays with the process.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
