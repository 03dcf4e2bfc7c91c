"""The chain of frozen values that ends in a release.

    Snapshot -> Candidate -> Bundle -> Report -> Version -> Release
                                `-> Image ---------------------^

The bundle comes before the report, so that the report blesses the very bytes that will serve.

Each value names its parent by digest, so a release's id (the digest of its manifest) fixes
everything below it: change one byte of the training data and every later digest changes.

What a thing *is* goes into its digest. Where it can be *found* (a path, a registry's run id, an
image tag) is a locator: it is kept beside the value and never digested, so that the same inputs
give the same release id on another machine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PREFIX = "sha256:"


def canonical(value: object) -> bytes:
    """The one JSON text of a value: sorted keys, no spaces, UTF-8, no NaN or infinity.

    Follows the intent of RFC 8785; floats are Python's shortest repr, which reads back exactly.

    Raises:
        ValueError: the value holds NaN or an infinity.
        TypeError: the value is not JSON.

    >>> canonical({"b": 1, "a": [1.5, None]})
    b'{"a":[1.5,null],"b":1}'
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest(value: object) -> str:
    """``sha256:`` and the hex SHA-256 of a value's canonical JSON."""
    return PREFIX + hashlib.sha256(canonical(value)).hexdigest()


def digest_bytes(data: bytes) -> str:
    """``sha256:`` and the hex SHA-256 of bytes as they are."""
    return PREFIX + hashlib.sha256(data).hexdigest()


def digest_file(path: str | os.PathLike[str]) -> str:
    """``sha256:`` and the hex SHA-256 of a file's bytes."""
    with Path(path).open("rb") as stream:
        return PREFIX + hashlib.file_digest(stream, "sha256").hexdigest()


def digest_tree(root: str | os.PathLike[str], files: Iterable[str]) -> str:
    """The digest of named files below a root: of the map of relative path to file digest."""
    return digest({name: digest_file(Path(root) / name) for name in sorted(files)})


def short(identity: str) -> str:
    """The first twelve hex digits: what a person reads aloud at 3 a.m."""
    return identity.removeprefix(PREFIX)[:12]


class Value:
    """What every link of the chain can do: give its identity, its digest and its full record."""

    def identity(self) -> dict[str, Any]:
        """The fields that make the value what it is (locators left out)."""
        return {
            f.name: _plain(getattr(self, f.name), Value.identity)
            for f in _fields(self)
            if not f.metadata.get("locator")
        }

    @property
    def digest(self) -> str:
        """The digest of the identity."""
        return digest(self.identity())

    def record(self) -> dict[str, Any]:
        """Every field, locators included, as plain JSON values."""
        return {f.name: _plain(getattr(self, f.name), Value.record) for f in _fields(self)}


def _fields(value: Value) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(value)  # type: ignore[arg-type]  # every link is a dataclass


def _plain(value: Any, form: Callable[[Value], dict[str, Any]]) -> Any:
    """A value as plain JSON, the values inside it in the same form as the one around them."""
    if isinstance(value, Value):
        return form(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v, form) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v, form) for v in value]
    return value


def locator(default: str = "") -> Any:
    """A dataclass field that says where a thing is found; left out of the digest."""
    return field(default=default, compare=False, metadata={"locator": True})


@dataclass(frozen=True, slots=True)
class Column(Value):
    """One column of a snapshot or signature.

    Args:
        name: the column's name.
        kind: ``number`` (float64, missing is NaN), ``text`` (missing is the empty string).
        required: whether a request must carry it (a missing *value* is still allowed as null).
    """

    name: str
    kind: str
    required: bool = True


@dataclass(frozen=True, slots=True)
class Snapshot(Value):
    """Training data, frozen.

    Args:
        content: digest of the Parquet file's bytes.
        rows: how many rows.
        columns: features in order, then target, time and unit columns.
        time_from, time_to: ISO 8601 bounds of the time column as seen, empty without one.
        path: where the Parquet file lies (locator).
    """

    model: str
    content: str
    rows: int
    columns: tuple[Column, ...]
    time_from: str
    time_to: str
    path: str = locator()


@dataclass(frozen=True, slots=True)
class Candidate(Value):
    """A trained model, unblessed.

    Args:
        snapshot: digest of the snapshot it learnt from.
        code: digest of the model folder's code; ``commit`` is its git commit, or empty.
        lock: digest of the lock file of the environment that trained it.
        trainer, params, seed: what was asked.
        artefact: digest of the stored model file.
        signature: the features a request carries.
        trusted: the types that reading the stored model may build (skops).
        path: the folder that holds the stored model (locator).
    """

    model: str
    snapshot: str
    code: str
    commit: str
    lock: str
    trainer: str
    params: dict[str, Any]
    seed: int
    artefact: str
    signature: tuple[Column, ...]
    trusted: tuple[str, ...]
    path: str = locator()


@dataclass(frozen=True, slots=True)
class Bundle(Value):
    """The self-contained directory that serves.

    Args:
        candidate: digest of the candidate it serves.
        engine: ``onnx`` or ``skops``.
        files: relative path to digest, for every file.
        path: the directory (locator).
    """

    candidate: str
    engine: str
    files: dict[str, str]
    path: str = locator()


@dataclass(frozen=True, slots=True)
class Check(Value):
    """One expectation's result.

    Args:
        name: which expectation.
        outcome: ``pass``, ``fail`` or ``not_measured``.
        reason: one sentence with the figures.
        value: the figure, where it is the same on every run; None for timings, which are told in
            ``observed`` and kept out of the digest.
    """

    name: str
    outcome: str
    reason: str = locator()
    value: float | None = None
    observed: str = locator()


@dataclass(frozen=True, slots=True)
class Report(Value):
    """What the expectations say of one candidate in its bundle; blessed only if every check passed.

    Args:
        candidate, bundle, expectations: digests of what was checked, and against what.
        baseline: id of the stable release it was compared with, or ``no baseline``.
        checks: every expectation's result.
    """

    candidate: str
    bundle: str
    expectations: str
    baseline: str
    checks: tuple[Check, ...]

    @property
    def blessed(self) -> bool:
        """Fail closed: no checks at all is no blessing."""
        return bool(self.checks) and all(c.outcome == "pass" for c in self.checks)

    @property
    def refusals(self) -> tuple[Check, ...]:
        """The checks that stand in the way."""
        return tuple(c for c in self.checks if c.outcome != "pass")


@dataclass(frozen=True, slots=True)
class Version(Value):
    """A registered model: which candidate, blessed by which report, under what name.

    The registry's own number, run and URI are locators: another registry counts differently.
    """

    name: str
    candidate: str
    report: str
    number: str = locator()
    run: str = locator()
    uri: str = locator()
    registry: str = locator()


@dataclass(frozen=True, slots=True)
class Image(Value):
    """The container image of a bundle: its content id in the engine that built it."""

    bundle: str
    content: str
    reference: str = locator()


@dataclass(frozen=True, slots=True)
class Release(Value):
    """The manifest: the whole chain by digest, in one immutable value.

    Its id binds code, lock file, snapshot, candidate, bundle, report, version and image. An empty
    ``image`` means that no image was built, which ``locators`` explains.
    """

    model: str
    commit: str
    code: str
    lock: str
    snapshot: str
    candidate: str
    bundle: str
    report: str
    version: str
    image: str
    locators: dict[str, str] = field(
        default_factory=dict, compare=False, metadata={"locator": True}
    )

    @property
    def id(self) -> str:
        """The digest of the manifest."""
        return self.digest

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Release:
        """Read a stored manifest back; unknown keys are an error, since a manifest is exact."""
        return cls(**record)


def bind(
    snapshot: Snapshot,
    candidate: Candidate,
    bundle: Bundle,
    report: Report,
    version: Version,
    image: Image | None,
) -> Release:
    """Bind a chain into a release, checking that each link names its parent.

    Raises:
        ValueError: a link names another parent, or the report does not bless the candidate.
    """
    links = [
        ("candidate", candidate.snapshot, snapshot),
        ("bundle", bundle.candidate, candidate),
        ("report", report.candidate, candidate),
        ("report", report.bundle, bundle),
        ("version", version.candidate, candidate),
        ("version", version.report, report),
        *([("image", image.bundle, bundle)] if image else []),
    ]
    for name, named, parent in links:
        if named != parent.digest:
            raise ValueError(f"the {name} names another parent than the one given")
    if not report.blessed:
        raise ValueError("the report does not bless the candidate")
    return Release(
        model=candidate.model,
        commit=candidate.commit,
        code=candidate.code,
        lock=candidate.lock,
        snapshot=snapshot.digest,
        candidate=candidate.digest,
        bundle=bundle.digest,
        report=report.digest,
        version=version.digest,
        image=image.digest if image else "",
        locators={
            "snapshot": snapshot.path,
            "candidate": candidate.path,
            "version": version.uri,
            "registry": version.registry,
            "name": version.name,
            "number": version.number,
            "run": version.run,
            "bundle": bundle.path,
            "image": image.reference if image else "",
        },
    )
