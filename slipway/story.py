"""The ledger told to people and programs: what is live, what was, and why it changed.

Everything here is a pure function of entries and manifests; printing is ``slipway.show``'s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from slipway.controller import leased
from slipway.errors import UsageError
from slipway.ledger import Entry
from slipway.lifecycle import Event, State
from slipway.release import Release, short
from slipway.rollout import ModelState, fold, live_at
from slipway.routing import STABLE, Lease


def iso(at: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def moment(text: str) -> float:
    """A point in time as a person writes it; without a zone it is UTC.

    Raises:
        UsageError: it is no ISO 8601 time.
    """
    try:
        read = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"'{text}' is no time", do="write it as 2026-11-22T03:00 or 2026-11-22T03:00+01:00"
        ) from error
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).timestamp()


def status(state: ModelState, now: float) -> dict[str, Any]:
    """What is true of a model now, as plain values."""
    rollout = state.rollout
    return {
        "model": state.model,
        "state": str(state.state),
        "stable": state.stable,
        "route": state.route.number if state.route else None,
        "arms": [
            {"arm": a.name, "release": a.release, "share": a.share}
            for a in (state.route.arms if state.route else ())
        ],
        "rollout": rollout
        and {
            "id": rollout.id,
            "release": rollout.release,
            "share": rollout.share,
            "next_share": rollout.next_share,
            "since": iso(rollout.since),
            "members": [
                {"arm": m.arm, "release": m.release, "out": m.out} for m in rollout.members
            ],
        },
        "last": state.last and summary(state.last),
        "may_return_to": list(state.may_return_to(now)),
    }


def lease(state: ModelState, held: Lease | None, now: float) -> dict[str, Any] | None:
    """How long the candidate's share still lasts; None where nothing is leased.

    The ledger alone cannot tell it: where the judge has died, gateways have returned everyone to
    stable by themselves, and no entry says so until the next tick.

    Args:
        held: the last lease granted for the model.
    """
    if not leased(state) or state.route is None:
        return None
    if held is None or held.route != state.route.number:
        return {"renewed": None, "left_seconds": 0.0}
    return {"renewed": iso(held.at), "left_seconds": round(held.left(now), 1)}


def summary(entry: Entry) -> dict[str, Any]:
    """An entry in one row."""
    route = entry.body.get("route")
    return {
        "seq": entry.seq,
        "at": iso(entry.at),
        "event": str(entry.event),
        "release": entry.body.get("release", ""),
        "arms": [
            {"arm": a["name"], "release": a["release"], "share": a["share"]}
            for a in (route["arms"] if route else ())
        ],
        "actor": entry.actor,
        "reason": entry.reason,
        "happened_at": (then := entry.body.get("happened_at")) and iso(then),
        "way_back": _way_back(entry.body.get("way_back", {})),
    }


def _way_back(told: Mapping[str, str]) -> str:
    """The command that undoes a change, or why there is none."""
    return told.get("command") or told.get("note", "")


def standings(
    state: ModelState, entries: Sequence[Entry], judged: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """All that are or were in an open league, best first, those without users and out last.

    Args:
        judged: the standings of those that have users.
    """
    rollout, known = state.rollout, {row["release"] for row in judged}
    shares = {arm.name: arm.share for arm in state.route.arms} if state.route else {}
    rows = [dict(row) for row in judged]
    others = [m for m in rollout.members if m.release not in known] if rollout else []
    for member in sorted(others, key=lambda m: m.out):
        last = next(e for e in reversed(entries) if e.body["release"] == member.release)
        joined = "joined; the judge's next tick gives it its first users"
        told: dict[str, Any] = {"place": "out" if member.out else "in", "against": {}}
        reason = last.reason if member.out else joined
        rows.append({"member": member.arm, "release": member.release, "reason": reason, **told})
    return [{**row, "share": shares.get(row["member"], 0.0)} for row in rows]


def history(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Every change of a model, oldest first."""
    return [summary(entry) for entry in entries]


def at(
    model: str, entries: Sequence[Entry], when: float, manifest: Mapping[str, Release]
) -> dict[str, Any]:
    """What was live at a moment, with every digest of the stable release.

    A lease that had run out by then counts as run out, though its entry came later: what users
    got is told, not what was written down.

    Args:
        manifest: release id to its manifest, for the releases that the entries name.
    """
    state = live_at(model, entries, when)
    found, lapsed = manifest.get(state.stable), _had_lapsed(entries, when)
    return {
        "model": model,
        "at": iso(when),
        "state": str(State.LAPSED if lapsed else state.state),
        "release": state.stable,
        "manifest": found.identity() if found else None,
        "locators": dict(found.locators) if found else None,
        "arms": [_everyone(state)] if lapsed else status(state, when)["arms"],
        "since": _since(model, entries, when),
    }


def _had_lapsed(entries: Sequence[Entry], when: float) -> bool:
    """Whether the next entry after a moment says that a lease had run out before it."""
    following = next((e for e in entries if e.at > when), None)
    return (
        following is not None
        and following.event is Event.EXPIRED
        and following.body.get("happened_at", following.at) <= when
    )


def _everyone(state: ModelState) -> dict[str, Any]:
    return {"arm": STABLE, "release": state.stable, "share": 1.0}


def _since(model: str, entries: Sequence[Entry], when: float) -> str | None:
    """When the stable release of a moment had become stable."""
    wanted = live_at(model, entries, when).stable
    since = None
    stable = ""
    for n, entry in enumerate(entries, start=1):
        if entry.at > when:
            break
        now = fold(model, entries[:n]).stable
        if now != stable:
            stable, since = now, entry.at
    return iso(since) if since is not None and wanted else None


def why(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Each change of a model's traffic with the evidence that it rests on, newest last."""
    told = []
    for entry in entries:
        verdict = entry.body.get("verdict") or {}
        told.append({**summary(entry), "verdict": verdict or None})
    return told


def names(release_id: str, manifest: Mapping[str, Release]) -> str:
    """A release as people call it: the registry's number and the first digits of its id."""
    if not release_id:
        return "-"
    number = manifest[release_id].locators.get("number") if release_id in manifest else ""
    return f"v{number} {short(release_id)}" if number else short(release_id)
