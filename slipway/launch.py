"""How a release is launched, as ``slipway.yaml`` declares it: its section ``rollout``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from slipway.part import Part, Seconds, known_or_reference, refuse
from slipway.slices import slice_of

STRATEGIES = ("blue_green", "canary", "league", "shadow")


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
    """With ``league``: the share that one member has, how many there may be, and for how long.

    With a ``floor``, shares follow what was seen: no member's is below it.
    """

    share: float = Field(default=0.1, gt=0, le=0.5)
    most: int = Field(default=4, ge=2, le=16)
    min_seconds: float = Field(default=600.0, ge=0)
    max_seconds: Seconds = 604_800.0
    floor: Annotated[float, Field(gt=0)] | None = None
    shift_seconds: float = Field(default=86_400.0, ge=0)

    @property
    def rules(self) -> dict[str, Any]:
        """What a plan keeps of it, beside its step."""
        return self.model_dump(include={"most", "floor", "shift_seconds"})

    @property
    def step(self) -> dict[str, float]:
        """The one step of its ladder."""
        return self.model_dump(include={"share", "min_seconds", "max_seconds"})

    @model_validator(mode="after")
    def _room(self) -> League:
        alike = slice_of(self.share, self.most)
        if self.floor is not None and self.floor > alike:
            raise ValueError(
                f"a floor of {self.floor:g} is more than the {alike:.4g} that {self.most} members "
                "would have alike (allowed: up to that)"
            )
        return self


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
            return (self.league.step,)
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
        return known_or_reference(value, STRATEGIES)

    @model_validator(mode="after")
    def _rising(self) -> RolloutPlan:
        shares = [s.share for s in self.steps]
        faults = []
        if self.strategy == "blue_green" and "steps" in self.model_fields_set:
            faults.append("blue_green switches everyone at once (allowed: bake, and no steps)")
        if self.mirrors and "steps" in self.model_fields_set:
            faults.append("a shadow gives its answers to nobody (allowed: shadow, and no steps)")
        if self.competes and "steps" in self.model_fields_set:
            faults.append("a league has no steps (allowed: league, and what it declares)")
        if self.shadow_first and (self.mirrors or self.competes or self.climbs):
            faults.append("shadow_first comes before planned steps, or blue_green (allowed: those)")
        if shares != sorted(set(shares)):
            faults.append(f"the shares {shares} do not rise (allowed: rising, below 1)")
        if self.tick_seconds * 2 > self.lease_seconds:
            faults.append(
                f"tick_seconds {self.tick_seconds:g} is over half of lease_seconds "
                f"{self.lease_seconds:g} (allowed: a lease must outlive a missed tick)"
            )
        refuse(faults)
        return self
