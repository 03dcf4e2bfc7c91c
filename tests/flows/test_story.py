"""The happy path on real Prefect, a real registry and real traffic: release to rollback."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from small_project import MODEL, lay_down
from traffic import traffic
from workplace import Workplace, environment

CHAIN = ("snapshot", "candidate", "bundle", "report", "version")


def _registry(place: Workplace) -> MlflowClient:
    return MlflowClient(f"sqlite:///{place.root}/mlflow.db")


def test_the_registry_tells_all_of_a_version(released: Workplace) -> None:
    """MLflow's champion carries the data set, parameters, metrics, report and signature."""
    registry = _registry(released)
    version = registry.get_model_version_by_alias(MODEL, "champion")
    run = registry.get_run(str(version.run_id))
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == MODEL
    assert run.data.params["c"] == "1.0"
    assert run.data.metrics["auc min 0.7"] > 0.7
    files = {f.path for f in registry.list_artifacts(run.info.run_id)}
    assert {"report.json", "candidate.json"} <= files
    mlflow.set_tracking_uri(f"sqlite:///{released.root}/mlflow.db")
    signature = mlflow.models.get_model_info(f"models:/{MODEL}@champion").signature
    assert signature.inputs.input_names() == ["temperature", "load", "material"]


def test_the_run_s_page_in_prefect_shows_the_report(released: Workplace) -> None:
    """Whoever looks at the run in Prefect's UI finds every check, its outcome and its reason."""
    from prefect.artifacts import Artifact

    shown = Artifact.get(f"report-{MODEL}")
    assert shown is not None
    assert shown.flow_run_id is not None
    page = str(shown.data)
    assert page.splitlines()[0].endswith(": blessed")
    assert "compared with no baseline" in page
    for check in ("auc min 0.7", "a cool press", "heat never helps"):
        assert re.search(rf"^\| pass \| [^|]*{check}[^|]* \| .+ \|$", page, re.MULTILINE)


def test_the_gateway_answers_and_says_who_did(released: Workplace) -> None:
    """Every answer carries its request id, its release and who served it; feedback finds it."""
    row = {"temperature": 80.0, "load": 70.0, "material": "tin"}
    answer = released.post(f"/{MODEL}/invocations", {"dataframe_records": [row]})
    (risk,) = answer.body["predictions"]
    assert answer.status == 200
    assert 0.5 < risk <= 1
    release = released.slipway("status", "--json").json["models"][0]["stable"]
    assert answer.headers["x-slipway-release"] in release
    assert answer.headers["x-slipway-served-by"] in release
    note = {"request_id": answer.headers["x-slipway-request-id"], "kind": "label", "value": 1}
    assert released.post(f"/{MODEL}/feedback", note).body == {"status": "recorded"}


def test_the_same_inputs_are_the_same_release(released: Workplace) -> None:
    """Pressed again with nothing changed, the button ends at the same id and records nothing."""
    heads = released.heads()
    versions = len(_registry(released).search_model_versions(f"name = '{MODEL}'"))
    stable = released.slipway("status", "--json").json["models"][0]["stable"]
    done = released.release()
    assert done.code == 0, done.err
    assert done.out.startswith(f"{MODEL} {stable[7:19]}: nothing has changed")
    assert released.heads() == heads
    assert len(_registry(released).search_model_versions(f"name = '{MODEL}'")) == versions


def test_two_homes_make_the_same_release(released: Workplace, tmp_path: Path) -> None:
    """The same inputs in another home, folder and process give the same digests, link by link."""
    other = Workplace(
        lay_down(tmp_path / "elsewhere"),
        tmp_path / "home",
        {**environment(tmp_path / "home"), "PREFECT_API_URL": released.environ["PREFECT_API_URL"]},
    )
    try:
        done = other.slipway("release", str(other.project), "--no-wait")
        assert done.code == 0, done.err
        (there,) = [e.body["release"] for e in other.entries(MODEL) if e.event == "opened"]
    finally:
        assert other.slipway("stop").code == 0
    here = released.entries(MODEL)[0].body["release"]
    assert _chain(other, there) == _chain(released, here)
    assert there == here


def _chain(place: Workplace, release: str) -> dict[str, Any]:
    return dict(place.ledger.manifest(release).identity())


def test_a_retrained_release_is_promoted_on_its_verdicts_and_hauled_back(
    released: Workplace,
) -> None:
    """Real traffic earns it each step; one press returns everyone; the record tells all of it."""
    before, (first, *_) = time.time(), _stable(released)
    known = len(released.entries(MODEL))
    with traffic(released, MODEL):
        done = released.release(trainer__params={"c": 0.3})
        assert done.code == 0, done.err
        assert "promoted" in done.out
        back = released.press("rollback", model=MODEL, reason="a drill", actor="tester")
        assert back.code == 0, back.err
    entries = released.entries(MODEL)[known:]
    assert [str(e.event) for e in entries] == [
        "opened",
        "started",
        "advanced",
        "promoted",
        "returned",
    ]
    for moved in entries[2:4]:
        assert moved.body["verdict"]["outcome"] == "pass"
    assert _stable(released)[0] == first
    _told_by_the_command_line(released, before, first, entries[3])


def _stable(place: Workplace) -> list[str]:
    return [m["stable"] for m in place.slipway("status", "--json").json["models"]]


def _told_by_the_command_line(place: Workplace, before: float, first: str, promoted: Any) -> None:
    """history, history --at, why and verify say what happened, to people and to programs."""
    history = place.slipway("history", MODEL, "--json").json
    assert history[-1]["event"] == "returned"
    assert history[-1]["reason"] == "a drill"
    then = place.slipway("history", MODEL, "--at", _iso(before), "--json").json
    assert then["release"] == first
    later = place.slipway("history", MODEL, "--at", _iso(promoted.at + 0.001), "--json").json
    assert later["release"] == promoted.body["release"]
    assert set(CHAIN) <= set(later["manifest"])
    (why,) = [w for w in place.slipway("why", MODEL, "--json").json if w["seq"] == promoted.seq]
    assert {g["metric"] for g in why["verdict"]["gates"]} == {"error", "brier"}
    assert place.slipway("verify", "--json").json[MODEL] == []
    for command in (("status",), ("history", MODEL), ("why", MODEL), ("verify",)):
        told = place.slipway(*command)
        assert told.code == 0
        assert MODEL in told.out or "returned" in told.out


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
