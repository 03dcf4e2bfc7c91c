"""The members of a league: releases beside stable, each with an arm of its own.

All have the same weight, and keep it. A member that joins takes users from every other arm alike,
and one that is eliminated leaves its users to them, so that no unit ever moves between two arms
that stay: what was seen of them goes on counting, as if nothing had happened. But where shares
follow what was seen, members share what they have together by parts of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from slipway.errors import RolloutError
from slipway.lifecycle import Event
from slipway.release import short
from slipway.routing import STABLE, Arm, RouteTable
from slipway.slices import slice_of, spread


@dataclass(frozen=True, slots=True)
class Member:
    """A release in a league.

    Args:
        arm: its name in route tables; a new one for each member.
        since: the number of the first route that gave it users; 0 before that.
        out: whether it was eliminated. Its arm stays in the tables, without users, since an
            arm's position is its hash slot.
    """

    arm: str
    release: str
    since: int = 0
    out: bool = False


MEMBERSHIP = (Event.JOINED, Event.ELIMINATED)


def after(members: Sequence[Member], event: Event, release: str) -> tuple[Member, ...]:
    """The members after a release joined, or was eliminated."""
    if event is Event.JOINED:
        return (*members, Member(f"member-{len(members) + 1}", release))
    return tuple(replace(m, out=True) if m.release == release else m for m in members)


def require_place(members: Sequence[Member], release: str, most: int, model: str) -> None:
    """Refuse a release for which a league has no place.

    Raises:
        RolloutError: it was in it already, or the league has had its members, or is none.
    """
    if release in [m.release for m in members]:
        raise RolloutError(
            f"{short(release)} was in the league of {model} already",
            do="wait for its end: what was eliminated does not come back into the same league",
        )
    if len(members) >= most:
        raise RolloutError(
            f"the league of {model} has had the {most} members that it may have",
            do="wait for its end, or end it with 'slipway rollback'; 'league.most' says how many",
        )


def seen_on(members: Sequence[Member], route: RouteTable) -> tuple[Member, ...]:
    """The members once a route is in force: those it serves first have users since it."""
    served = {arm.name for arm in route.arms if arm.share > 0.0}
    new = [m.since == 0 and m.arm in served for m in members]
    return tuple(
        replace(m, since=route.number) if n else m for m, n in zip(members, new, strict=True)
    )


def table_of(
    stable: str,
    members: Sequence[Member],
    portion: float,
    shares: Mapping[str, float] | None = None,
) -> tuple[Arm, ...]:
    """The arms of a route table.

    Args:
        stable: its release.
        portion: the share that a single member has.
        shares: by arm, of those that are in, where they follow what was seen; else all are alike.
    """
    inside = [m.arm for m in members if not m.out]
    told = shares or dict.fromkeys(inside, slice_of(portion, len(inside)))
    each = [Arm(m.arm, m.release, 0.0 if m.out else told[m.arm], leased=not m.out) for m in members]
    return (Arm(STABLE, stable, 1.0 - sum(arm.share for arm in each)), *each)


def shares_of(
    members: Sequence[Member],
    portion: float,
    floor: float,
    before: RouteTable | None,
    parts: Mapping[str, float],
) -> dict[str, float]:
    """What each member has where shares follow what was seen.

    Args:
        portion: as of ``table_of``; what all have together is as much as if they were alike.
        floor: the least share of each.
        before: their last route. Without parts all keep what they had in it, a newcomer begins
            with the floor, and what one leaves that is out is stable's.
        parts: by arm, of what they have together above their floors (``slices.spread``).
    """
    inside = [m.arm for m in members if not m.out]
    if before and not parts:
        had = {arm.name: arm.share for arm in before.arms}
        return {arm: had.get(arm) or floor for arm in inside}
    told = {arm: parts.get(arm, 0.0) for arm in inside}
    return spread(told, slice_of(portion, len(inside)) * len(inside), floor)
