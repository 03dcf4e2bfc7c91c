"""Train a candidate in a child process, once per set of inputs."""

from __future__ import annotations

import json
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway import workshop
from slipway.expectations import FixedSet
from slipway.home import Home
from slipway.release import Candidate, Column, Snapshot, digest, digest_file, digest_tree, short
from slipway.spec import Spec
from tasks.snapshot import features

DONE = "candidate.json"


@task(name="train", cache_policy=NO_CACHE)
def train(home: Home, spec: Spec, data: Snapshot, fixed_set: FixedSet, commit: str) -> Candidate:
    """Train, or find what the same inputs have already made.

    Raises:
        TrainerError: the trainer raised, ran past its limit, or returned what is no model.
    """
    log, code, lock = get_run_logger(), code_digest(spec.folder), lock_digest(spec.folder)
    inputs = {
        "snapshot": data.digest,
        "code": code,
        "lock": lock,
        "fixed_set": fixed_set.digest,
        "trainer": spec.trainer.model_dump(mode="json"),
        "signature": [c.record() for c in spec.signature],
    }
    folder = home.folder("candidates", short(digest(inputs)))
    if not (folder / DONE).exists():
        told = workshop.run(
            "train",
            _request(spec, data, fixed_set, folder),
            python=spec.trainer.python,
            cwd=spec.folder,
            timeout=spec.trainer.timeout,
        )
        log.info("trained in %.1f s: %s", told["fit_seconds"], told["metrics"])
        _finish(folder, told)
    told = json.loads((folder / DONE).read_text())
    made = Candidate(
        model=spec.model,
        snapshot=data.digest,
        code=code,
        commit=commit or head_commit(spec.folder),
        lock=lock,
        trainer=spec.trainer.use,
        params=spec.trainer.params,
        seed=spec.trainer.seed,
        artefact=told["artefact"],
        signature=tuple(Column(c["name"], c["kind"]) for c in told["signature"]),
        trusted=tuple(told["trusted"]),
        path=str(folder),
    )
    log.info("candidate %s", short(made.digest))
    return made


def _request(spec: Spec, data: Snapshot, fixed_set: FixedSet, folder: Path) -> dict[str, Any]:
    return {
        "folder": str(spec.folder),
        "features": features(spec),
        "target": spec.data.target,
        "snapshot": data.path,
        "trainer": spec.trainer.use,
        "params": spec.trainer.params,
        "seed": spec.trainer.seed,
        "trusted": list(spec.trainer.trusted),
        "fixed": str(fixed_set.path),
        "out": str(folder),
    }


def _finish(folder: Path, told: dict[str, Any]) -> None:
    """Mark a candidate's folder whole; one that was killed half-way has no such mark."""
    part = folder / f"{DONE}.part"
    part.write_text(json.dumps(told, indent=1))
    part.replace(folder / DONE)


def code_digest(folder: Path) -> str:
    """The digest of every Python file below the model's folder."""
    files = [p.relative_to(folder).as_posix() for p in folder.rglob("*.py")]
    return digest_tree(folder, files)


def head_commit(folder: Path) -> str:
    """The git commit that the folder is at, ``-dirty`` where files differ from it; or empty."""
    told = subprocess.run(
        ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return told.stdout.strip() if told.returncode == 0 else ""


def lock_digest(folder: Path) -> str:
    """The digest of the nearest ``requirements.lock`` at or above the folder.

    Without one, of the list of what is installed here: the environment as it was.
    """
    for place in (folder, *folder.parents):
        lock = place / "requirements.lock"
        if lock.is_file():
            return digest_file(lock)
    installed = {d.metadata["Name"].lower(): d.version for d in distributions()}
    return digest(installed)
