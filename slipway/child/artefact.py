"""Storing a fitted model: equal models are equal bytes, and nothing executable is unpickled.

skops writes the addresses of objects, random file names and the time of day into its archive.
``canonical_archive`` takes these out: a digest names the model and not the run that made it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from slipway.errors import TrainerError

LIBRARIES = ("numpy", "scipy", "sklearn")
OPSET = 18
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest date that a zip archive can hold


def store(model: Any, path: Path, declared: Sequence[str]) -> list[str]:
    """Write a model as skops, and prove that it can be read back.

    Args:
        declared: types of the team's own, by full name, that the file may hold.

    Returns:
        The types beyond skops' own list that reading it must trust.

    Raises:
        TrainerError: it cannot be stored, or holds a type that is neither a library's nor declared.
    """
    import skops.io

    try:
        data = canonical_archive(skops.io.dumps(model))
        needed = sorted(skops.io.get_untrusted_types(data=data))
    except Exception as error:  # skops raises many kinds, depending on what it met
        raise TrainerError(
            f"the model cannot be stored: {error}",
            where="trainer.use",
            do="build it of scikit-learn's parts, or of classes whose state skops can store",
        ) from error
    undeclared = [t for t in needed if t.split(".")[0] not in LIBRARIES and t not in declared]
    if undeclared:
        raise TrainerError(
            f"the model holds types that were not declared: {', '.join(undeclared)}",
            where="trainer.trusted",
            do="name them there if reading them may run their code",
        )
    skops.io.loads(data, trusted=needed)
    path.write_bytes(data)
    return needed


def canonical_archive(data: bytes) -> bytes:
    """The same skops archive without addresses, dates and random names."""
    source = zipfile.ZipFile(io.BytesIO(data))
    schema = json.loads(source.read("schema.json"))
    ids: dict[int, int] = {}
    files: dict[str, str] = {}
    for node in _nodes(schema):
        if "__id__" in node:
            node["__id__"] = ids.setdefault(node["__id__"], len(ids) + 1)
        if "file" in node:
            ending = Path(node["file"]).suffix
            node["file"] = files.setdefault(node["file"], f"{len(files) + 1}{ending}")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        _put(target, "schema.json", json.dumps(schema, separators=(",", ":")).encode())
        for old, new in files.items():
            _put(target, new, source.read(old))
    return out.getvalue()


def export(model: Any, features: Mapping[str, str], path: Path, output: str) -> str:
    """Write a model as ONNX with one input per column.

    Returns:
        Why it cannot be exported, and then no file is there; or nothing.
    """
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType

    path.unlink(missing_ok=True)
    types = {"number": FloatTensorType, "text": StringTensorType}
    try:
        graph = to_onnx(
            model,
            name="model",
            initial_types=[(name, types[kind]([None, 1])) for name, kind in features.items()],
            options={"zipmap": False} if output == "probability" else None,
            target_opset=OPSET,
        )
        _name_inputs(graph.graph, list(features))
    except Exception as error:  # converters raise many kinds; ONNX is a choice, skops serves too
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
    path.write_bytes(graph.SerializeToString(deterministic=True))
    return ""


def _name_inputs(graph: Any, names: Sequence[str]) -> None:
    """Give a graph's inputs the columns' own names: skl2onnx writes ``a-b`` as ``a_b``."""
    own = {i.name: name for i, name in zip(graph.input, names, strict=True)}
    made = {output for node in graph.node for output in node.output}
    if clash := made.intersection(names):
        raise ValueError(f"the graph needs {', '.join(sorted(clash))} for a name of its own")
    for node in graph.node:
        node.input[:] = [own.get(name, name) for name in node.input]
    for column in graph.input:
        column.name = own[column.name]


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object within a value, in the order of writing."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _nodes(inner)


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, content)
