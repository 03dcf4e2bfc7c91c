"""A launch in the shadow: a real gateway copies requests, and users see nothing of it."""

from __future__ import annotations

import shutil
from typing import Any

from small_project import GATES, MODEL
from traffic import traffic
from workplace import Workplace

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


def test_a_shadow_is_compared_and_then_waits_for_a_person(released: Workplace) -> None:
    """Both answers to a request are judged; users are stable's until the promotion."""
    model, pack = "dark", released.project / "expectations" / "pairs"
    shutil.copytree(pack.with_name(MODEL), pack)
    text = GATES.replace("budget = 0.3", "limit = 0.3").replace("budget = 0.4", "limit = 0.4")
    (pack / "gates.toml").write_text(text + PAIRS)
    assert released.release(model).code == 0
    first = released.entries(model)[0].body["release"]
    rollout: dict[str, Any] = {
        "strategy": "shadow",
        "shadow": {"share": 0.9, "min_seconds": 0.5, "max_seconds": 90},
        "approval": True,
        **{"lease_seconds": 5, "tick_seconds": 0.2},
    }
    asked = {
        "trainer__params": {"c": 0.3},
        "rollout": rollout,
        "expectations": "expectations/pairs",
    }
    opened = released.press("release", **released.asked(model, **asked), wait=False)
    assert opened.code == 0, opened.err
    with traffic(released, model):
        ticks = 0
        while released.events(model)[-1] != "held" and (ticks := ticks + 1) < 200:
            assert released.press("advance", model=model).code == 0
    started, held = released.entries(model)[3:]
    assert [a["name"] for a in started.body["route"]["arms"]] == ["stable", "shadow"]
    assert started.body["route"]["arms"][0] == {
        **{"name": "stable", "release": first, "share": 1.0, "leased": False}
    }
    verdict = held.body["verdict"]
    assert (verdict["outcome"], verdict["units"][0]) == ("pass", 0)
    told = {g["metric"]: g["outcome"] for g in verdict["gates"]}
    assert told["disagreement(threshold=0.5)"] == "no_worse", verdict
    agreed = released.press("approve", model=model, reason="they agree", actor="anna")
    assert agreed.code == 0, agreed.err
    promoted = released.entries(model)[-1]
    assert (str(promoted.event), promoted.actor, promoted.reason) == (
        *("promoted", "anna", "they agree"),
    )


def test_gates_on_pairs_need_a_shadow(released: Workplace) -> None:
    """No other launch has two answers to one request."""
    pack = released.project / "expectations" / "only_pairs"
    shutil.copytree(released.project / "expectations" / MODEL, pack)
    (pack / "gates.toml").write_text(GATES + PAIRS)
    done = released.release("dark", expectations="expectations/only_pairs")
    assert done.code == 1
    assert "these gates compare two answers to one request: disagreement(threshold=0.5)" in done.err
