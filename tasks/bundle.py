"""Make the bundle that serves: ONNX where it proves the same answers, skops otherwise."""

from __future__ import annotations

import json
from pathlib import Path

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway import bundle as bundles
from slipway.expectations import FixedSet
from slipway.home import Home
from slipway.release import Bundle, Candidate, digest, short
from slipway.spec import Spec
from tasks.ask import fixed_rows, largest_gap


@task(name="bundle", cache_policy=NO_CACHE)
def bundle(home: Home, spec: Spec, candidate: Candidate, fixed_set: FixedSet) -> Bundle:
    """Write the bundle of a candidate.

    ONNX is taken only if, on every row of the fixed dataset, its answer is within the spec's
    tolerance of the trained model's own.
    """
    log = get_run_logger()
    made = Path(candidate.path)
    told = json.loads((made / "candidate.json").read_text())
    refused = told["onnx_error"]
    if not refused:
        onnx = _write(home, spec, candidate, "onnx", told)
        gap = _largest_gap(onnx, made, fixed_set, spec)
        if gap <= spec.bundle.tolerance:
            log.info("bundle by ONNX: answers within %.1e on the fixed dataset", gap)
            return onnx
        refused = f"its answers differ by up to {gap:.1e}, allowed {spec.bundle.tolerance:.1e}"
    log.warning("bundle by skops, since ONNX was refused: %s", refused)
    return _write(home, spec, candidate, "skops", told)


def _write(
    home: Home, spec: Spec, candidate: Candidate, engine: str, told: dict[str, object]
) -> Bundle:
    settings = [spec.bundle.max_rows, spec.bundle.tolerance, bundles.surroundings(engine)]
    name = f"{short(candidate.digest)}-{engine}-{short(digest(settings))}"
    place = home.folder("bundles") / name
    own_code = any(t.split(".")[0] in _modules(spec.folder) for t in candidate.trusted)
    files = bundles.write(
        place,
        model=spec.model,
        engine=engine,
        model_file=Path(candidate.path) / f"model.{engine}",
        signature=spec.signature,
        output=str(told["output"]),
        max_rows=spec.bundle.max_rows,
        tolerance=spec.bundle.tolerance,
        trusted=candidate.trusted if engine == "skops" else (),
        code_files=_code(spec.folder) if engine == "skops" and own_code else None,
    )
    return Bundle(candidate=candidate.digest, engine=engine, files=files, path=str(place))


def _code(folder: Path) -> dict[str, Path]:
    return {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*.py"))}


def _modules(folder: Path) -> set[str]:
    return {p.stem for p in folder.iterdir() if p.suffix == ".py" or p.is_dir()}


def _largest_gap(onnx: Bundle, made: Path, fixed_set: FixedSet, spec: Spec) -> float:
    """The largest difference between ONNX's answers and the model's own on the fixed dataset."""
    from slipway.serving.engine import load

    rows = fixed_rows(fixed_set, spec)
    table = {c.name: [row[c.name] for row in rows.requests] for c in spec.signature}
    table = {
        c.name: ["" if v is None else v for v in table[c.name]]
        if c.kind == "text"
        else table[c.name]
        for c in spec.signature
    }
    native = json.loads((made / "native_scores.json").read_text())
    return largest_gap([float(p) for p in load(Path(onnx.path)).predict(table)], native)
