"""What a spec's ``serving`` section says, end to end: chain, guards, access, prices, log."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
from typing import Any

import pytest
from arm import Farm
from rig import BODY, Gateway, release, unit_of, until

from slipway.serving.access import hash_password
from slipway.stores.inference_log import open_log

HALF = (0.5, 0.5)


def body(**columns: Any) -> dict[str, Any]:
    """A request of one row."""
    return {"dataframe_records": [columns]}


def rows(gateway: Gateway, model: str, count: int) -> list[dict[str, Any]]:
    """A model's rows in the log, once there are so many."""
    return until(
        lambda: (r := gateway.place.rows(model)) and len(r) >= count and r, f"{count} rows"
    )


# The chain.


def test_a_slow_arm_is_asked_a_second_time(gateway: Gateway, farm: Farm) -> None:
    """A replica that hangs costs its user the hedge's time, and no fallback."""
    hanging, good = farm.arm(mode="hang"), farm.arm(0.25)
    arms = {"stable": (1.0, [hanging.port, good.port])}
    gateway.serve("hedged", arms, {"hedge_ms": 30, "budget_ms": 10_000})
    answers = [gateway.predict("hedged") for _ in range(4)]
    assert [(a.prediction, a.fallback) for a in answers] == [(0.25, "")] * 4
    assert len(hanging.asked) == gateway.metric("slipway_hedges_total", model="hedged") > 0


def test_a_named_fallback_answers_when_stable_cannot(gateway: Gateway, farm: Farm) -> None:
    """The chain goes on to the fallback release, which nobody is assigned."""
    arms = {"stable": (1.0, [farm.arm(mode="500").port]), "fallback": (0.0, [farm.arm(0.1).port])}
    gateway.serve("backed", arms)
    answer = gateway.predict("backed")
    assert (answer.prediction, answer.fallback) == (0.1, "status_500")
    assert answer.served_by == release("backed", "fallback")


def test_a_rule_answers_when_no_arm_can(gateway: Gateway, farm: Farm) -> None:
    """A table over a column stands in for every arm, in either protocol, and says that it does."""
    rule = {"column": "carrier", "table": {"UA": 0.4}, "default": 0.1}
    gateway.serve("ruled", {"stable": (1.0, [farm.arm(mode="close").port])}, {"rule": rule})
    found = [gateway.predict("ruled", body=body(carrier=c)) for c in ("UA", "ZZ")]
    assert [(a.served_by, a.prediction) for a in found] == [("rule", 0.4), ("rule", 0.1)]
    tensor = {"name": "carrier", "shape": [1], "datatype": "BYTES", "data": ["UA"]}
    v2 = gateway.post("/v2/models/ruled/infer", {"inputs": [tensor]})
    assert v2.json["outputs"][0]["data"] == [0.4]


def test_the_last_good_answer_stands_in(gateway: Gateway, farm: Farm) -> None:
    """What an arm once said to the same body is said again; to another body it is not."""
    arm = farm.arm(0.25)
    gateway.serve("kept", {"stable": (1.0, [arm.port])}, {"cache": {"by": "input"}})
    assert gateway.predict("kept").served_by == release("kept", "stable")
    arm.mode = "500"
    again, other = gateway.predict("kept"), gateway.predict("kept", body=body(distance=1))
    assert (again.prediction, again.served_by, again.fallback) == (0.25, "cache", "status_500")
    assert other.status == 502


def test_a_shadow_never_touches_its_users(gateway: Gateway, farm: Farm) -> None:
    """A copy of every request goes to the shadow, whose answers and failures only the log sees."""
    shadow = farm.arm(0.9)
    arms = {"stable": (1.0, [farm.arm(0.25).port]), "shadow": (1.0, [shadow.port])}
    gateway.serve("copied", arms, {"budgets_ms": {"shadow": 200}})
    ids = [gateway.predict("copied").headers["x-slipway-request-id"]]
    until(lambda: gateway.metric("slipway_shadow_total", model="copied", outcome="good"), "a copy")
    shadow.mode = "hang"
    answer = gateway.predict("copied")
    ids.append(answer.headers["x-slipway-request-id"])
    assert answer.prediction == 0.25
    found = [(r["request_id"], r["arm"], r["score"], r["ok"]) for r in rows(gateway, "copied", 4)]
    assert sorted(found, key=str) == sorted(
        [(i, "stable", 0.25, True) for i in ids]
        + [(ids[0], "shadow", 0.9, True), (ids[1], "shadow", None, False)],
        key=str,
    )


# Guards.


def test_a_denied_request_reaches_no_arm(gateway: Gateway, farm: Farm) -> None:
    """A request that breaks a guard is refused, with the row, the column and what is allowed."""
    arm = farm.arm()
    guard = {
        "columns": {
            "distance": {"required": True, "min": 0, "max": 6000},
            "carrier": {"one_of": ["UA", "AA"]},
        },
        "deny": ["distance > 5000"],
    }
    gateway.serve("guarded", {"stable": (1.0, [arm.port])}, {"guard": guard, "max_rows": 2})
    refused = {
        "column distance": body(carrier="UA"),
        "a number from 0 to 6000": body(distance=-1),
        "one of UA, AA": body(distance=1, carrier="ZZ"),
        "denied by the rule 'distance > 5000'": body(distance=5001),
    }
    for said, asked in refused.items():
        answer = gateway.predict("guarded", body=asked)
        assert answer.status == 422
        assert said in answer.json["error"]["what"]
    assert gateway.predict("guarded", body=b"{").status == 400
    three = {"dataframe_records": [{"distance": 1}] * 3}
    assert gateway.predict("guarded", body=three).status == 413
    assert arm.asked == []
    assert gateway.metric("slipway_refusals_total", model="guarded", status="422") == 4
    assert gateway.predict("guarded").status == 200


def test_a_unit_that_asks_too_often_waits(gateway: Gateway, farm: Farm) -> None:
    """Beyond its rate a unit gets 429, and no other unit does."""
    rate = {"rate": {"per_second": 0.01, "burst": 3}}
    gateway.serve("rated", {"stable": (1.0, [farm.arm().port])}, {"guard": rate})
    assert [gateway.predict("rated", "a").status for _ in range(5)] == [200] * 3 + [429] * 2
    assert gateway.predict("rated", "b").status == 200


@pytest.mark.parametrize("source", ["cookie", "query", "json"])
def test_the_unit_is_found_where_the_spec_says(gateway: Gateway, farm: Farm, source: str) -> None:
    """A cookie, a parameter or a column tells the unit; a request without one is marked so."""
    model = f"unit-{source}"
    policy = {"unit": {"from": source, "name": "who"}}
    gateway.serve(model, {"stable": (1.0, [farm.arm().port])}, policy)
    query = "?a=b&who=ann" if source == "query" else ""
    asked = body(who="ann") if source == "json" else BODY
    headers = {"cookie": "a=b; who=ann"} if source == "cookie" else {}
    assert gateway.post(f"/{model}/invocations{query}", asked, headers).status == 200
    assert gateway.post(f"/{model}/invocations", BODY).status == 200
    told, drawn = rows(gateway, model, 2)
    assert (told["unit"], told["unit_given"]) == ("ann", True)
    assert drawn["unit_given"] is False
    assert drawn["unit"]


# Access.


def test_only_keys_that_are_stored_open_the_door(gateway: Gateway, farm: Farm) -> None:
    """The right key is let in by either header; a wrong one and none get 401 and reach no arm."""
    arm = farm.arm()
    keys = {"access": {"keys": [hashlib.sha256(b"right").hexdigest()]}}
    gateway.serve("locked", {"stable": (1.0, [arm.port])}, keys)
    for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": "wrong"}):
        assert gateway.predict("locked", **headers).status == 401
        assert gateway.post("/locked/feedback", {}, headers).status == 401
    assert arm.asked == []
    assert gateway.predict("locked", authorization="Bearer right").status == 200
    assert gateway.predict("locked", x_api_key="right").status == 200


def test_a_beta_asks_for_its_password(gateway: Gateway, farm: Farm) -> None:
    """Only a declared user with the right password is answered, by HTTP Basic."""
    beta = {"access": {"beta": {"ann": hash_password(b"open sesame", b"salt")}}}
    gateway.serve("beta", {"stable": (1.0, [farm.arm().port])}, beta)

    def enter(user: str, password: str) -> int:
        token = base64.b64encode(f"{user}:{password}".encode()).decode()
        return gateway.predict("beta", authorization=f"Basic {token}").status

    refused = gateway.predict("beta")
    assert (refused.status, refused.headers["www-authenticate"]) == (401, 'Basic realm="slipway"')
    until(lambda: enter("ann", "open sesame") == 200, "the right password's welcome")
    assert {enter("ann", "guess"), enter("bob", "open sesame")} == {401}
    assert enter("ann", "open sesame") == 200


def test_testers_get_their_arm_and_are_no_evidence(gateway: Gateway, farm: Farm) -> None:
    """The allow-list and a signed header choose an arm, a forged or old header does not."""
    arms = {"stable": (0.5, [farm.arm(0.25).port]), "candidate": (0.5, [farm.arm(0.75).port])}
    gateway.serve("tried", arms, {"access": {"allow": {"tester": "candidate"}}})
    unit = unit_of("tried", 0, HALF)
    key = str(gateway.place.log / "gateway.key")
    sign = [sys.executable, "-m", "slipway.serving.access", "sign", key, "tried", "candidate"]
    header = subprocess.run([*sign, "1"], capture_output=True, text=True, check=True).stdout.strip()
    old = subprocess.run([*sign, "-1"], capture_output=True, text=True, check=True).stdout.strip()
    forged = header[:-1] + ("0" if header[-1] != "0" else "1")
    signed = [gateway.predict("tried", unit, x_slipway_override=h) for h in (header, old, forged)]
    assert [a.prediction for a in signed] == [0.75, 0.25, 0.25]
    assert gateway.predict("tried", "tester").prediction == 0.75
    told = [row["override"] for row in rows(gateway, "tried", 4)]
    assert told == ["signed", "", "", "allow"]
    with open_log(gateway.place.log) as db:
        judged = db.execute("SELECT count(*) FROM judged WHERE model = 'tried'").fetchone()
    assert judged == (2,)


# What is remembered.


def test_a_cost_is_on_record_where_it_is_known(gateway: Gateway, farm: Farm) -> None:
    """Tokens and calls are priced in row and metric; a price that cannot be told is null."""
    prices = {
        "*": {
            "per_call": 0.5,
            "tokens_in": {"per_1k": 1.0, "field": "usage.in"},
            "tokens_out": {"per_1k": 4.0, "field": "usage.out"},
        },
        "candidate": {"tokens_in": {"per_1k": 1.0, "field": "usage.nowhere"}},
    }
    arms = {"stable": (0.5, [farm.arm().port]), "candidate": (0.5, [farm.arm().port])}
    gateway.serve("priced", arms, {"prices": prices})
    for arm in (0, 1):
        gateway.predict("priced", unit_of("priced", arm, HALF))
    assert [row["cost"] for row in rows(gateway, "priced", 2)] == [4.5, None]
    assert gateway.metric("slipway_cost_total", model="priced") == 4.5
    assert gateway.metric("slipway_cost_unknown_total", model="priced", arm="candidate") == 1


def test_feedback_finds_its_request(gateway: Gateway, farm: Farm) -> None:
    """A label is taken once, its repeat is harmless, another value is refused, and it is joined."""
    gateway.serve("judged", {"stable": (1.0, [farm.arm().port])})
    told = gateway.predict("judged").headers["x-slipway-request-id"]

    def note(value: Any, request_id: str = told, kind: str = "label") -> tuple[int, Any]:
        note = {"request_id": request_id, "kind": kind, "value": value}
        answer = gateway.post("/judged/feedback", note)
        return answer.status, answer.json.get("status")

    assert note(1) == (200, "recorded")
    assert note(1) == (200, "already recorded")
    assert note(0)[0] == 409
    assert note(0, "0" * 44)[0] == 404
    assert note(5, kind="rating") == (200, "recorded")
    query = "SELECT label, feedback['rating'] FROM judged WHERE request_id = ?"

    def joined() -> Any:
        with open_log(gateway.place.log) as db:
            return db.execute(query, [told]).fetchone()

    until(lambda: joined() == (1.0, 5.0), "the label beside its request")


def test_a_unit_is_sampled_whole_or_not_at_all(gateway: Gateway, farm: Farm) -> None:
    """Half of the units are logged, each with all of its requests; features only if asked."""
    log = {"log": {"sample": 0.5, "features": False}}
    gateway.serve("sampled", {"stable": (1.0, [farm.arm().port])}, log)
    for unit in range(30):
        for _ in range(2):
            assert gateway.predict("sampled", f"u{unit}").status == 200
    logged = rows(gateway, "sampled", 10)
    units = [row["unit"] for row in logged]
    assert 5 <= len(set(units)) <= 25
    assert all(units.count(unit) == 2 for unit in units)
    assert {row["features"] for row in logged} == {None}
    assert gateway.metric("slipway_requests_total", model="sampled") == 60


@pytest.mark.parametrize("source", ["header", "json"])
def test_a_unit_too_long_to_be_remembered_is_refused(
    gateway: Gateway, farm: Farm, source: str
) -> None:
    """What a client sends is not kept in memory for as long as it likes; 256 characters are."""
    model, arm = f"long-{source}", farm.arm(0.75)
    policy = {"unit": {"from": source, "name": "x-slipway-unit" if source == "header" else "who"}}
    gateway.serve(model, {"stable": (1.0, [arm.port])}, policy)
    for length, status in ((256, 200), (257, 400), (20_000, 400)):
        unit = "u" * length
        body = {"dataframe_records": [{"who": unit, "distance": 1.0}]}
        answer = gateway.predict(model, unit if source == "header" else "x", body)
        assert answer.status == status, length
    assert len(arm.asked) == 1


def test_feedback_of_any_kind_is_counted_under_few_names(gateway: Gateway, farm: Farm) -> None:
    """Whoever knows one request's id cannot fill the metrics; lists have an end, too."""
    gateway.serve("kinds", {"stable": (1.0, [farm.arm(0.75).port])})
    told = {"request_id": gateway.predict("kinds").headers["x-slipway-request-id"], "value": 1}
    answer = gateway.post("/kinds/feedback", [{**told, "kind": f"k{n}"} for n in range(100)])
    assert answer.status == 200
    assert gateway.metric("slipway_feedback_total", model="kinds") == 100
    assert gateway.metric("slipway_feedback_total", model="kinds", kind="other") == 68
    many = [{**told, "kind": "k"}] * 1001
    assert gateway.post("/kinds/feedback", many).status == 400
