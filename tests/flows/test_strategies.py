"""Other ways to launch, each through a real gateway with real users."""

from __future__ import annotations

import shutil
import time
from typing import Any

from small_project import GATES, MODEL, strokes
from traffic import FEATURES, traffic
from workplace import Workplace

from slipway.release import short

TIMES = {"min_seconds": 0.5, "max_seconds": 90}
LEASE = {"lease_seconds": 5, "tick_seconds": 0.2}

PAIRS = """
[[gate]]
metric = "disagreement"
kind = "guardrail"
type = "rate"
direction = "lower"
limit = 0.5
min_units = 5
options = { threshold = 0.5 }

[[gate]]
metric = "shift"
kind = "guardrail"
type = "mean"
direction = "lower"
limit = 0.5
low = 0.0
high = 1.0
min_units = 5
options = { column = "material", value = "steel", absolute = true }
"""

LATE = """
[[gate]]
metric = "wrong"
kind = "guardrail"
type = "rate"
direction = "lower"
limit = 0.4
maturity = 1
min_units = 5
"""


def _first(place: Workplace, model: str) -> str:
    done = place.release(model)
    assert done.code == 0, done.err
    return place.entries(model)[0].body["release"]


def _limits(place: Workplace, name: str = "limits", more: str = "") -> str:
    """A pack whose gates hold the candidate's own figures."""
    pack = place.project / "expectations" / name
    if not pack.exists():
        shutil.copytree(pack.with_name(MODEL), pack)
        text = GATES.replace("budget = 0.3", "limit = 0.3").replace("budget = 0.4", "limit = 0.4")
        (pack / "gates.toml").write_text(text + more)
    return f"expectations/{name}"


def test_blue_green_switches_everyone_and_bakes(released: Workplace) -> None:
    """One route gives everyone the candidate on trial; its own figures earn the promotion."""
    model = "blue"
    first = _first(released, model)
    rollout: dict[str, Any] = {"strategy": "blue_green", "bake": TIMES, **LEASE}
    with traffic(released, model):
        done = released.release(
            model, trainer__params={"c": 0.3}, rollout=rollout, expectations=_limits(released)
        )
    assert done.code == 0, done.err
    opened, started, promoted = released.entries(model)[2:]
    assert [str(e.event) for e in (opened, started, promoted)] == ["opened", "started", "promoted"]
    shares = {arm["release"]: arm["share"] for arm in started.body["route"]["arms"]}
    assert shares == {first: 0.0, opened.body["release"]: 1.0}
    verdict = promoted.body["verdict"]
    assert verdict["outcome"] == "pass"
    assert all("at a limit of" in gate["reason"] for gate in verdict["gates"])


def test_blue_green_refuses_gates_that_compare(released: Workplace) -> None:
    """A margin to stable could never be measured where nobody is left with stable."""
    done = released.release("blue", rollout={"strategy": "blue_green"})
    assert done.code == 1
    assert "these gates compare: error, brier" in done.err


def test_a_newer_release_supersedes_a_launch_whose_ticks_go_on(released: Workplace) -> None:
    """The schedule ticks the older launch while the newer one stands by: it is not surplus."""
    model = "newer"
    first = _first(released, model)
    rollout: dict[str, Any] = {"steps": [{"share": 0.2, **TIMES}], **LEASE, "lease_seconds": 60}
    older = released.asked(model, trainer__params={"c": 0.3}, rollout=rollout)
    assert released.press("release", **older, wait=False).code == 0
    released.tick_until(model, "started")
    newer = released.asked(model, trainer__params={"c": 0.1}, rollout=rollout)
    done = released.strike("tick", "before:tasks.open.probe", "release", **newer, wait=False)
    assert done.code == 0, done.err
    superseded, opened = released.entries(model)[-2:]
    assert [str(e.event) for e in (superseded, opened)] == ["superseded", "opened"]
    assert superseded.reason == f"superseded by {short(opened.body['release'])}"
    placed = released.ledger.placed
    assert placed(opened.body["release"])
    assert not placed(superseded.body["release"])
    assert released.ledger.standing_by(time.time()) == frozenset()
    back = released.press("rollback", model=model, reason="enough", actor="anna")
    assert back.code == 0, back.err
    assert not placed(opened.body["release"])
    assert placed(first)


def test_auto_takes_the_share_that_the_evidence_supports(released: Workplace) -> None:
    """No share is planned after the first: each entry's verdict was judged for the next one."""
    model = "auto"
    _first(released, model)
    rollout: dict[str, Any] = {"steps": "auto", "auto": {"first": 0.2, **TIMES}, **LEASE}
    with traffic(released, model):
        done = released.release(model, trainer__params={"c": 0.3}, rollout=rollout)
    assert done.code == 0, done.err
    moved = [e for e in released.entries(model)[3:] if str(e.event) in ("advanced", "promoted")]
    assert str(moved[-1].event) == "promoted"
    for entry in moved:
        assert entry.body["verdict"]["outcome"] == "pass"
        assert entry.body["verdict"]["next_share"] == entry.body.get("share", 1.0)


def test_a_shadow_is_compared_and_then_waits_for_a_person(released: Workplace) -> None:
    """Both answers to a request are judged; users are stable's until the promotion."""
    model = "dark"
    first = _first(released, model)
    rollout: dict[str, Any] = {"strategy": "shadow", "shadow": TIMES, "approval": True, **LEASE}
    pack = _limits(released, "pairs", PAIRS)
    asked = released.asked(
        model, trainer__params={"c": 0.3}, rollout=rollout, expectations=pack
    )  # fmt: skip
    opened = released.press("release", **asked, wait=False)
    assert opened.code == 0, opened.err
    with traffic(released, model):
        released.tick_until(model, "held")
    started, held = released.entries(model)[3:]
    stable, shadow = started.body["route"]["arms"]
    assert (stable["release"], stable["share"], shadow["name"]) == (first, 1.0, "shadow")
    verdict = held.body["verdict"]
    assert (str(held.event), verdict["outcome"], verdict["units"][0]) == ("held", "pass", 0)
    told = {g["metric"]: g["outcome"] for g in verdict["gates"]}
    assert told["disagreement(threshold=0.5)"] == "no_worse", verdict
    agreed = released.press("approve", model=model, reason="they agree", actor="anna")
    assert agreed.code == 0, agreed.err
    last = released.entries(model)[-1]
    assert (str(last.event), last.actor, last.reason) == ("promoted", "anna", "they agree")


def test_copies_first_and_then_users(released: Workplace) -> None:
    """Pairs and limits earn the first users; the candidate beside stable earns the promotion."""
    model = "dusk"
    _first(released, model)
    pack = released.project / "expectations" / "both"
    shutil.copytree(pack.with_name(MODEL), pack)
    # There are 80 users, who can tell only so much: what they must tell is set to suit them.
    users = GATES.replace("budget = 0.3", "budget = 0.8").replace("budget = 0.4", "budget = 0.8")
    (pack / "gates.toml").write_text(users + PAIRS)
    rollout: dict[str, Any] = {
        "shadow_first": True, "shadow": TIMES, "steps": [{"share": 0.4, **TIMES}], **LEASE
    }  # fmt: skip
    with traffic(released, model):
        done = released.release(
            model, trainer__params={"c": 0.3}, rollout=rollout, expectations="expectations/both"
        )
    assert done.code == 0, done.err
    started, advanced, promoted = released.entries(model)[3:]
    arms = [[a["name"] for a in e.body["route"]["arms"]] for e in (started, advanced, promoted)]
    assert arms == [["stable", "shadow"], ["stable", "candidate"], ["stable"]]
    judged = [{g["metric"] for g in e.body["verdict"]["gates"]} for e in (advanced, promoted)]
    assert judged[0] == {
        "disagreement(threshold=0.5)", "shift(absolute=True, column=material, value=steel)"
    }  # fmt: skip
    assert judged[1] == {"error", "brier"}


def test_copies_first_need_gates_for_copies(released: Workplace) -> None:
    """Gates that compare users say nothing of copies: refused before anything is made."""
    done = released.release("dusk", rollout={"shadow_first": True})
    assert done.code == 1
    assert "'rollout.shadow_first' needs a gate that has a limit, for copied requests" in done.err


def test_gates_on_pairs_need_a_shadow(released: Workplace) -> None:
    """No other launch has two answers to one request."""
    done = released.release("dark", expectations=_limits(released, "pairs", PAIRS))
    assert done.code == 1
    assert "these gates compare two answers to one request: disagreement(threshold=0.5)" in done.err


def _asked(place: Workplace, model: str, count: int) -> list[tuple[str, int]]:
    """Requests of as many users: the id of each, and the class that it was given."""
    given = []
    for number, row in enumerate(strokes(count, seed=count)):
        body = {"dataframe_records": [{name: row[name] for name in FEATURES}]}
        answer = place.post(f"/{model}/invocations", body, unit=f"{count}-{number}")
        assert answer.status == 200, answer
        score = answer.body["predictions"][0]
        given.append((answer.headers["x-slipway-request-id"], int(score >= 0.5)))
    return given


def _label(place: Workplace, model: str, request_id: str, value: int) -> None:
    note = {"request_id": request_id, "kind": "label", "value": value}
    assert place.post(f"/{model}/feedback", note).status == 200


def test_late_labels_contradict_a_promotion_and_undo_it(released: Workplace) -> None:
    """What came in time was right; what came later was not, and everyone gets the one before."""
    model = "late"
    first = _first(released, model)
    rollout: dict[str, Any] = {
        "strategy": "blue_green",
        "bake": TIMES,
        "review": {"after": 25, "then": "return"},
        **{"lease_seconds": 60, "tick_seconds": 0.2},
    }
    pack = _limits(released, "labels", LATE)
    asked = released.asked(
        model, trainer__params={"c": 0.3}, rollout=rollout, expectations=pack
    )  # fmt: skip
    assert released.press("release", **asked, wait=False).code == 0
    released.tick_until(model, "started")
    in_time, later = _asked(released, model, 60), _asked(released, model, 120)
    for request_id, given in in_time:
        _label(released, model, request_id, given)
    released.tick_until(model, "promoted")
    for request_id, given in later:
        _label(released, model, request_id, 1 - given)
    released.tick_until(model, "returned")
    promoted, reviewed, returned = released.entries(model)[-3:]
    assert reviewed.body["of"] == promoted.hash
    assert (reviewed.body["stands"], reviewed.body["returns"]) == (False, first)
    assert "later labels contradict the pass: wrong" in reviewed.reason
    assert (returned.body["release"], returned.actor) == (first, "judge")
