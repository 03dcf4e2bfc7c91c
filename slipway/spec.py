"""``slipway.yaml``: what a team declares about a model. Parsed, checked whole, frozen.

Every fault is reported at once, each with its path, what was found and what is allowed.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from slipway.errors import SpecError
from slipway.launch import RolloutPlan
from slipway.part import REFERENCE, Part, Seconds, known_or_reference, refuse
from slipway.release import Column

NAME = r"^[a-z][a-z0-9_-]{0,62}$"
REPOSITORY = r"^$|^(localhost|[A-Za-z0-9-]+([.:][A-Za-z0-9.:-]+)+)(/[a-z0-9._-]+)+$"
SOURCES = ("csv", "parquet")
RUNTIMES = ("auto", "process", "docker", "swarm", "kubernetes")

Moment = date | datetime | None


class Feature(Part):
    """One column that a request carries."""

    name: str = Field(min_length=1)
    kind: Literal["number", "text"]
    required: bool = True


class Range(Part):
    """Which rows to train on: from (included) until (excluded), by the time column."""

    start: Moment = Field(default=None, alias="from")
    until: Moment = None

    @model_validator(mode="after")
    def _order(self) -> Range:
        first, last = str(self.start), str(self.until)  # ISO 8601: in order as text
        if self.start and self.until and first >= last:
            raise ValueError(f"from {first} is not before until {last}")
        return self


class Data(Part):
    """Where the training data comes from and what its columns are."""

    source: str
    params: dict[str, Any] = Field(default_factory=dict)
    target: str
    features: tuple[Feature, ...] = Field(min_length=1)
    time: str = ""
    unit: str = ""
    range: Range = Range.model_validate({})
    fixed_rows: Literal["drop", "refuse"] = "refuse"
    timeout: Seconds = 300.0

    @field_validator("source")
    @classmethod
    def _source(cls, value: str) -> str:
        return known_or_reference(value, SOURCES)

    @model_validator(mode="after")
    def _columns(self) -> Data:
        names = [f.name for f in self.features]
        twice = sorted({n for n in names if names.count(n) > 1})
        faults = [f"features named twice: {', '.join(twice)}"] if twice else []
        if self.target in names:
            faults.append(f"the target '{self.target}' is also a feature (allowed: only one)")
        refuse(faults)
        return self


class Trainer(Part):
    """The team's own training function, run in a child process."""

    use: str = Field(pattern=REFERENCE)
    params: dict[str, Any] = Field(default_factory=dict)
    seed: int = 0
    timeout: Seconds = 600.0
    trusted: tuple[str, ...] = ()
    python: str = ""


class LimitsChoice(Part):
    """The most that one replica may use; ``terms.Limits`` says what each is."""

    memory_mb: int = Field(default=1024, ge=32)
    cpus: float = Field(default=1.0, gt=0)
    pids: int = Field(default=256, ge=16)


class RuntimeChoice(Part):
    """Where replicas run.

    ``auto`` is containers where an engine answers and the release has an image, else processes.
    """

    kind: str = "process"
    replicas: int = Field(default=1, ge=1, le=100)
    limits: LimitsChoice = LimitsChoice()
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("kind")
    @classmethod
    def _kind(cls, value: str) -> str:
        return known_or_reference(value, RUNTIMES)

    @model_validator(mode="after")
    def _held(self) -> RuntimeChoice:
        if self.kind == "process" and "limits" in self.model_fields_set:
            raise ValueError("a plain process is held to no limits (allowed: another kind)")
        return self


class ImageChoice(Part):
    """Whether and from what a container image is built.

    ``auto`` builds one where an engine answers and has the base image. ``dockerfile`` is a template
    of the team's own, relative to the spec. ``push`` is a repository with its registry's host.
    """

    build: Literal["auto", "always", "never"] = "auto"
    base: str = "python:3.11-slim"
    dockerfile: str = ""
    push: str = Field(default="", pattern=REPOSITORY)


class Registry(Part):
    """Where the model is registered; empty means SQLite and a folder in Slipway's home."""

    tracking_uri: str = ""
    name: str = ""


class Watch(Part):
    """The scheduled check on live data."""

    drift_share: float = Field(default=0.5, gt=0, le=1)
    min_rows: int = Field(default=500, ge=50)


class BundleChoice(Part):
    """How the bundle serves."""

    tolerance: float = Field(default=1e-5, gt=0, lt=1)
    max_rows: int = Field(default=1000, ge=1)


class Spec(Part):
    """The whole of ``slipway.yaml``.

    ``folder`` is where the file lies: the model's code is imported from there, and relative paths
    start there.
    """

    model: str = Field(pattern=NAME)
    owner: str = ""
    data: Data
    trainer: Trainer
    expectations: str = ""
    bundle: BundleChoice = BundleChoice()
    rollout: RolloutPlan = RolloutPlan()
    serving: dict[str, Any] = Field(default_factory=dict)
    runtime: RuntimeChoice = RuntimeChoice()
    image: ImageChoice = ImageChoice()
    registry: Registry = Registry()
    watch: Watch = Watch()
    concurrency: Literal["refuse", "wait"] = "refuse"
    folder: Path = Field(default=Path(), exclude=True)

    @property
    def pack(self) -> Path:
        """The expectation pack's folder."""
        return self.folder / (self.expectations or f"expectations/{self.model}")

    @property
    def signature(self) -> tuple[Column, ...]:
        """The features that a request carries, in order."""
        return tuple(Column(f.name, f.kind, f.required) for f in self.data.features)


def load(path: Path, overrides: Mapping[str, Any] | None = None) -> Spec:
    """Read a spec, with single values overridden by dotted path.

    Args:
        path: the file, or the folder that holds ``slipway.yaml``.
        overrides: such as ``{"data.range.until": "2013-05-01"}``.

    Raises:
        SpecError: the file cannot be read, or has faults; all of them are named.
    """
    file = path / "slipway.yaml" if path.is_dir() else path
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(
            f"the spec cannot be read: {error.strerror}",
            where=str(file),
            do="give the path of a slipway.yaml, or lay one down with 'slipway new NAME'",
        ) from error
    except UnicodeDecodeError as error:
        raise SpecError(
            f"the spec is not text in UTF-8: {error.reason} at byte {error.start}",
            where=str(file),
            do="store it as UTF-8",
        ) from error
    except yaml.YAMLError as error:
        raise SpecError(
            f"the spec is not YAML: {' '.join(str(error).split())}", where=str(file), do="mend it"
        ) from error
    if not isinstance(raw, dict):
        what = "is empty" if raw is None else "is no list of keys and values"
        raise SpecError(f"the spec {what}", where=str(file), do="see docs/spec.md for its keys")
    for dotted, value in (overrides or {}).items():
        _set(raw, dotted.split("."), value, file)
    return parse(raw, file)


def parse(raw: Mapping[str, Any], file: Path) -> Spec:
    """Check a spec's values whole.

    Raises:
        SpecError: it has faults; all of them are named.
    """
    from slipway.policy import faults as policy_faults

    # The folder is where the file lies: as a key of the file it is unknown like any other.
    found = [_unknown(("folder",))] if "folder" in raw else []
    spec = None
    try:
        spec = Spec.model_validate({**raw, "folder": file.parent.resolve()})
    except ValidationError as error:
        found += [_fault(e) for e in _causes(error.errors())]
    serving = raw.get("serving", {})
    if isinstance(serving, dict):
        found += [f"serving.{fault}" for fault in policy_faults(serving)]
    if found or spec is None:
        count = "1 fault" if len(found) == 1 else f"{len(found)} faults"
        raise SpecError(
            f"the spec has {count}:\n" + "\n".join(f"    {f}" for f in found),
            where=str(file),
            do="mend each path named; docs/spec.md lists every key",
        )
    return spec


def _set(raw: dict[str, Any], path: list[str], value: Any, file: Path) -> None:
    here = raw
    for key in path[:-1]:
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise SpecError(
                f"'{'.'.join(path)}' cannot be set: '{key}' is a value, not a section",
                where=str(file),
                do="name a key inside a section, such as trainer.seed",
            )
    here[path[-1]] = value


def _causes(errors: list[Any]) -> list[Any]:
    """Leave out "too few items" where an item's own fault is why it does not count."""
    short = [e["loc"] for e in errors if e["type"] == "too_short"]
    hollow = {at for at in short for e in errors if e["loc"][: len(at)] == at and e["loc"] != at}
    return [e for e in errors if e["loc"] not in hollow]


def _fault(error: Any) -> str:
    """One fault as: path: what is wrong (found ...; allowed: ...)."""
    place = ".".join(str(p) for p in error["loc"]) or "the spec"
    if error["type"] == "extra_forbidden":
        return _unknown(error["loc"])
    if error["type"] == "missing":
        return f"{place}: missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: found {error['input']!r:.80}; {message[0].lower()}{message[1:]}"


def _unknown(loc: tuple[Any, ...]) -> str:
    known = _keys_at(loc[:-1])
    near = difflib.get_close_matches(str(loc[-1]), known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    place = ".".join(str(p) for p in loc)
    return f"{place}: unknown key (allowed: {', '.join(known)}){hint}"


def _keys_at(loc: tuple[Any, ...]) -> list[str]:
    """The keys that a section knows, found by walking the model along a fault's path."""
    part: Any = Spec
    for key in loc:
        if isinstance(key, str) and isinstance(part, type) and issubclass(part, Part):
            field = next((f for n, f in part.model_fields.items() if key in (n, f.alias)), None)
            part = _section(field.annotation) if field else part
    fields = part.model_fields if isinstance(part, type) and issubclass(part, Part) else {}
    return sorted((f.alias or n) for n, f in fields.items() if n != "folder")


def _section(annotation: Any) -> Any:
    """The section inside an annotation such as ``tuple[Feature, ...]``."""
    inner = getattr(annotation, "__args__", None)
    return inner[0] if inner else annotation
