"""Writing and checking a bundle: the self-contained directory that serves one model.

    bundle.json        what it is (slipway.serving.manifest)
    model.onnx         or model.skops
    requirements.txt   what the serving process imports, pinned, with all that those need
    serve.py           python serve.py --host 127.0.0.1 --port 8080 --announce FILE
    app/slipway/...    a copy of just the modules that serve
    code/...           the user's modules that a skops model needs

It carries its own copy of the server, so a bundle made today runs the same tomorrow, whatever
Slipway is installed beside it or is not. The same inputs give the same bytes.
"""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.errors import Refused, RuntimeFailure
from slipway.release import Column, canonical, digest, digest_file
from slipway.sealed import contents, walk
from slipway.serving.manifest import NAME, Manifest

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_ENTRIES = ("slipway.serving.server", "slipway.serving.pyfunc")
"""What runs a bundle: its own server, and MLflow."""

_SERVE = '''\
"""Serve this bundle: python serve.py --host 127.0.0.1 --port 8080 --announce FILE."""

import sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path.insert(0, str(here / "app"))  # this bundle's own copy wins over an installed one
sys.dont_write_bytecode = True  # a bundle's files are named by digest: none is added by running it

from slipway.serving.server import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(here))
'''

_NEEDS = {
    "onnx": ("httptools", "msgspec", "numpy", "onnxruntime", "uvloop"),
    "skops": ("httptools", "msgspec", "numpy", "pandas", "scikit-learn", "skops", "uvloop"),
}


def write(
    directory: Path,
    *,
    model: str,
    engine: str,
    model_file: Path,
    signature: Sequence[Column],
    output: str,
    max_rows: int = 1000,
    tolerance: float = 1e-5,
    positive_class: int = 1,
    trusted: Sequence[str] = (),
    code_files: Mapping[str, Path] | None = None,
) -> dict[str, str]:
    """Write a bundle, whole or not at all.

    Written beside its place and renamed, so that a full disk or a kill leaves no half-made bundle.

    Args:
        directory: where the bundle shall be; the same bundle there already is no error.
        model_file: the ONNX graph or the skops file.
        signature: the columns of a request, in the model's order.
        output: ``probability`` or ``value``.
        positive_class: the position of the positive class among the model's classes.
        trusted: the types that reading the skops file may build.
        code_files: path below ``code/`` to the user's file, for a skops model with own types.

    Returns:
        Relative path to digest, for every file, as ``release.Bundle.files`` takes it.

    Raises:
        UsageError: the engine, the output or a column kind is not known.
        RuntimeFailure: the disk is full, or a file cannot be read or written.
        Refused: another bundle is there already.
    """
    manifest = Manifest(
        model=model,
        engine=engine,
        signature=tuple(signature),
        output=output,
        positive_class=positive_class,
        max_rows=max_rows,
        tolerance=tolerance,
        trusted=tuple(trusted),
    )
    part = directory.with_name(f".{directory.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # what a kill left of an earlier try
        part.mkdir(parents=True)
        _fill(part, manifest, model_file, code_files or {})
        files = contents(part)
        _settle(part, directory, files)
    except OSError as error:
        raise RuntimeFailure(
            f"the bundle cannot be written: {error.strerror or error}",
            where=str(error.filename or directory),
            do="make room on the disk or name another place, then try again",
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return files


def verify(directory: Path, files: Mapping[str, str]) -> tuple[str, ...]:
    """What differs between a bundle on disk and the digests it was released with.

    Returns:
        One sentence per file that is changed, missing or extra; empty if the bundle is whole.
    """
    there = {str(p.relative_to(directory)): p for p in walk(directory)}
    faults = [f"{name} is missing" for name in files.keys() - there.keys()]
    faults += [f"{name} does not belong to it" for name in there.keys() - files.keys()]
    faults += [
        f"{name} is changed"
        for name in files.keys() & there.keys()
        if there[name].is_symlink() or digest_file(there[name]) != files[name]
    ]
    return tuple(sorted(faults))


def surroundings(engine: str) -> str:
    """The digest of what a bundle of an engine brings along besides its model: server and pins.

    It changes with Slipway and with the installed libraries, so one candidate may have several
    bundles.
    """
    app = {name: digest_file(path) for name, path in _app().items()}
    return digest({"app": app, "requirements": requirements(engine)})


def requirements(engine: str) -> str:
    """The pinned requirements of an engine: what it imports and all that those need.

    Raises:
        importlib.metadata.PackageNotFoundError: one of them is not installed here.
    """
    from importlib.metadata import version

    names = sorted(_closure(_NEEDS[engine]))
    return "".join(f"{name}=={version(name)}\n" for name in names)


def _fill(part: Path, manifest: Manifest, model_file: Path, code: Mapping[str, Path]) -> None:
    copies = {f"app/{name}": source for name, source in _app().items()}
    copies |= {f"code/{name}": Path(source) for name, source in code.items()}
    copies[manifest.model_file] = model_file
    texts = {
        NAME: canonical(manifest.record()) + b"\n",
        "requirements.txt": requirements(manifest.engine).encode(),
        "serve.py": _SERVE.encode(),
    }
    for name, content in texts.items():
        (part / name).write_bytes(content)
    for name, source in copies.items():
        target = part / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


@cache
def _app() -> dict[str, Path]:
    """What runs a bundle, and every module of Slipway that it imports, near or far."""
    root = Path(__file__).parent.parent
    found: dict[str, Path] = {}
    queue = list(_ENTRIES)
    while queue:
        name = queue.pop()
        path = root.joinpath(*name.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        key = source.relative_to(root).as_posix()
        if source.is_file() and key not in found:
            found[key] = source
            queue += _imports(source.read_text())
    return found


def _imports(source: str) -> Iterator[str]:
    """Every dotted name of Slipway's that a source imports, packages on the way included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "slipway":
                yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _settle(part: Path, directory: Path, files: dict[str, str]) -> None:
    """Put the finished bundle in its place, safe against a loss of power."""
    if directory.exists():
        faults = verify(directory, files)
        if faults:
            raise Refused(
                f"another bundle is there already: {'; '.join(faults[:3])}",
                where=str(directory),
                do="name another place, or remove it if no release needs it",
            )
        return
    for path in (*walk(part), part):
        _sync(path)
    part.rename(directory)
    _sync(directory.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _closure(names: Sequence[str]) -> set[str]:
    from packaging.utils import canonicalize_name

    found: set[str] = set()
    queue = list(names)
    while queue:
        name = canonicalize_name(queue.pop())
        if name not in found:
            found.add(name)
            queue += [need.name for need in _needs(name)]
    return found


def _needs(name: str) -> Iterator[Requirement]:
    """What an installed distribution needs here, its extras left out."""
    from importlib.metadata import requires

    from packaging.requirements import Requirement

    for line in requires(name) or ():
        need = Requirement(line)
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            yield need
