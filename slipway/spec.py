"""``slipway.yaml``: what a team declares about a model. Parsed, checked whole, frozen.

Every fault is reported at once, each with its path, what was found and what is allowed.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from slipway.errors import SpecError
from slipway.release import Column

NAME = r"^[a-z][a-z0-9_-]{0,62}$"
REFERENCE = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
REPOSITORY = r"^$|^(localhost|[A-Za-z0-9-]+([.:][A-Za-z0-9.:-]+)+)(/[a-z0-9._-]+)+$"
SOURCES = ("csv", "parquet")
STRATEGIES = ("blue_green", "canary", "league", "shadow")
RUNTIMES = ("auto", "process", "docker", "swarm", "kubernetes")

Seconds = Annotated[float, Field(gt=0)]
Moment = date | datetime | None


class Part(BaseModel):
    """A section: frozen, and an unknown key is a fault."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _refuse(faults: Iterable[str]) -> None:
    """Tell all the faults that only show between a section's keys as one."""
    told = "; ".join(faults)
    if told:
        raise ValueError(told)


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


def _known_or_reference(value: str, known: Iterable[str]) -> str:
    import re

    names = sorted(known)
    if value in names or re.match(REFERENCE, value):
        return value
    raise ValueError(f"allowed: {', '.join(names)}, or your own as 'module:name'")


class Data(Part):
    """Where the training data comes from and what its columns are."""

    source: str
    params: dict[str, Any] = {}
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
        return _known_or_reference(value, SOURCES)

    @model_validator(mode="after")
    def _columns(self) -> Data:
        names = [f.name for f in self.features]
        twice = sorted({n for n in names if names.count(n) > 1})
        faults = [f"features named twice: {', '.join(twice)}"] if twice else []
        if self.target in names:
            faults.append(f"the target '{self.target}' is also a feature (allowed: only one)")
        _refuse(faults)
        return self


class Trainer(Part):
    """The team's own training function, run in a child process."""

    use: str = Field(pattern=REFERENCE)
    params: dict[str, Any] = {}
    seed: int = 0
    timeout: Seconds = 600.0
    trusted: tuple[str, ...] = ()
    python: str = ""


class RolloutStep(Part):
    """One share of the traffic, and the least and most time it is given."""

    share: float = Field(gt=0, lt=1)
    min_seconds: float = Field(default=60.0, ge=0)
    max_seconds: Seconds = 86_400.0

    @model_validator(mode="after")
    def _times(self) -> RolloutStep:
        if self.min_seconds > self.max_seconds:
            raise ValueError(
                f"min_seconds {self.min_seconds:g} is over max_seconds {self.max_seconds:g}: "
                "the step would end before it may pass"
            )
        return self


class AutoSteps(Part):
    """The first share of ``steps: auto``, and the least and most time that each share is given."""

    first: float = Field(default=0.01, gt=0, le=0.5)
    min_seconds: float = Field(default=60.0, ge=0)
    max_seconds: Seconds = 86_400.0


class Bake(Part):
    """With ``blue_green``: the least and most time that everyone has the candidate on trial."""

    min_seconds: float = Field(default=600.0, ge=0)
    max_seconds: Seconds = 86_400.0


class Mirrored(Part):
    """With ``shadow``: the share of units whose requests are copied, and for how long."""

    share: float = Field(default=1.0, gt=0, le=1)
    min_seconds: float = Field(default=600.0, ge=0)
    max_seconds: Seconds = 86_400.0


class League(RolloutStep):
    """With ``league``: the share that one member has, how many there may be, and for how long."""

    share: float = Field(default=0.1, gt=0, le=0.5)
    most: int = Field(default=4, ge=2, le=16)
    min_seconds: float = Field(default=600.0, ge=0)
    max_seconds: Seconds = 604_800.0


class ReviewLater(Part):
    """When a closed decision is held against labels that came late, and what then."""

    after: Seconds | None = None
    then: Literal["alert", "return"] = "alert"


class Window(Part):
    """Which earlier releases may be returned to without a ramp; the newest always may."""

    releases: Annotated[int, Field(ge=1)] | None = None
    days: Annotated[float, Field(gt=0)] | None = None


class AutoStep(RolloutStep):
    """The one step that ``steps: auto`` stands for; those after it follow the evidence."""


class RolloutPlan(Part):
    """How a release is launched."""

    strategy: str = "canary"
    auto: AutoSteps = AutoSteps()
    bake: Bake = Bake()
    shadow: Mirrored = Mirrored()
    shadow_first: bool = False
    league: League = League()
    steps: tuple[RolloutStep, ...] = Field(
        default=tuple(RolloutStep(share=s) for s in (0.01, 0.05, 0.25, 0.5)), min_length=1
    )
    approval: bool = False
    review: ReviewLater = ReviewLater()
    window: Window = Window()
    lease_seconds: float = Field(default=60.0, ge=1)
    tick_seconds: float = Field(default=10.0, ge=0.1)

    @property
    def shares(self) -> tuple[dict[str, float], ...]:
        """The planned steps: ``{share, min_seconds, max_seconds}``; ``mirror`` where it copies."""
        if self.mirrors:
            return (self.shadow.model_dump(),)
        if self.competes:
            return (self.league.model_dump(exclude={"most"}),)
        users = tuple(step.model_dump() for step in self.steps)
        if self.strategy == "blue_green":
            users = ({"share": 1.0, **self.bake.model_dump()},)
        first = {**self.shadow.model_dump(), "mirror": True}
        return (first, *users) if self.shadow_first else users

    @property
    def mirrors(self) -> bool:
        """Whether shares are of copied requests, whose answers no user gets."""
        return self.strategy == "shadow"

    @property
    def competes(self) -> bool:
        """Whether releases that are made meanwhile join, and compete."""
        return self.strategy == "league"

    @property
    def climbs(self) -> bool:
        """Whether each next share is the largest that the evidence supports."""
        return isinstance(self.steps[0], AutoStep)

    @field_validator("steps", mode="before")
    @classmethod
    def _auto(cls, value: Any, info: ValidationInfo) -> Any:
        auto = info.data.get("auto")
        if isinstance(auto, AutoSteps) and isinstance(value, str):
            if value != "auto":
                raise ValueError("allowed: a list of steps, or the word auto")
            times = auto.model_dump(exclude={"first"})
            return (AutoStep(share=auto.first, **times),)
        return value

    @field_validator("strategy")
    @classmethod
    def _strategy(cls, value: str) -> str:
        return _known_or_reference(value, STRATEGIES)

    @model_validator(mode="after")
    def _rising(self) -> RolloutPlan:
        shares = [s.share for s in self.steps]
        faults = []
        if self.strategy == "blue_green" and "steps" in self.model_fields_set:
            faults.append("blue_green switches everyone at once (allowed: bake, and no steps)")
        if self.mirrors and "steps" in self.model_fields_set:
            faults.append("a shadow gives its answers to nobody (allowed: shadow, and no steps)")
        if self.competes and "steps" in self.model_fields_set:
            faults.append("a league's members have equal shares (allowed: league, and no steps)")
        if self.shadow_first and (self.mirrors or self.competes or self.climbs):
            faults.append("shadow_first comes before planned steps, or blue_green (allowed: those)")
        if self.competes and self.review.after:
            faults.append("a league's decision is not reviewed (allowed: review with a canary)")
        if shares != sorted(set(shares)):
            faults.append(f"the shares {shares} do not rise (allowed: rising, below 1)")
        if self.tick_seconds * 2 > self.lease_seconds:
            faults.append(
                f"tick_seconds {self.tick_seconds:g} is over half of lease_seconds "
                f"{self.lease_seconds:g} (allowed: a lease must outlive a missed tick)"
            )
        _refuse(faults)
        return self


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
    options: dict[str, Any] = {}

    @field_validator("kind")
    @classmethod
    def _kind(cls, value: str) -> str:
        return _known_or_reference(value, RUNTIMES)

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
    serving: dict[str, Any] = {}
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
