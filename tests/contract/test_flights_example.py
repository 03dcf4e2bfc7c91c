"""The flights example: its features were known before departure, and its packs are whole."""

import hashlib
import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

from slipway.spec import Spec, load

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"
# The demo's third release has a real fault, and the pack that misses it.
FAULT = {"data.params": {"delay_unit": "hours"}, "expectations": "expectations/flights-blind"}


def day(text: str) -> pd.Timestamp:
    """The beginning of a day, UTC."""
    return pd.Timestamp(text, tz="UTC")


@pytest.fixture(scope="module")
def data() -> ModuleType:
    """The example's ``data.py``, loaded without touching the import path."""
    spec = importlib.util.spec_from_file_location("flights_data", FLIGHTS / "data.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=[{}, FAULT], ids=["sound", "faulty"])
def spec(request: pytest.FixtureRequest) -> Spec:
    """The example's spec, and what the demo's third release makes of it."""
    return load(FLIGHTS, request.param)


def test_a_flight_has_the_same_features_whatever_was_asked_for(data: ModuleType) -> None:
    """What is known of a flight does not depend on the range, nor on anything after its hour."""
    narrow = data.timetable(day("2013-02-09"), day("2013-02-10"))
    wide = data.timetable(day("2013-02-01"), day("2013-03-01"))
    same = wide[(wide["departs"] >= day("2013-02-09")) & (wide["departs"] < day("2013-02-10"))]
    pd.testing.assert_frame_equal(narrow.reset_index(drop=True), same.reset_index(drop=True))


def test_the_airport_delay_counts_only_what_had_left(data: ModuleType) -> None:
    """Recounted by hand: departures of the two hours before, by when they really left."""
    since, hour = day("2013-03-08"), pd.Timestamp("2013-03-08T22:00", tz="UTC")
    raw = pd.read_csv(data._file("flights.csv.zip"))
    raw["time_hour"] = pd.to_datetime(raw["time_hour"], utc=True)
    late = pd.to_timedelta(raw["minute"] + raw["dep_delay"], unit="min")
    left = raw["time_hour"] + late
    before = (raw["origin"] == "EWR") & (left >= hour - pd.Timedelta("2h")) & (left < hour)
    found = data.timetable(since, since + pd.Timedelta("1D"))
    these = found[(found["origin"] == "EWR") & (found["departs"].dt.floor("h") == hour)]
    assert set(these["airport_delay"]) == {raw.loc[before, "dep_delay"].clip(upper=240).mean()}


def test_flights_that_never_arrived_are_not_learnt_from(data: ModuleType) -> None:
    """In the storm of 8 and 9 February most flights were cancelled: asked about, never late."""
    since, until = day("2013-02-08"), day("2013-02-10")
    asked = data.timetable(since, until)
    learnt = data.load(params={}, since=since, until=until)
    assert len(learnt) == asked["late"].notna().sum() < len(asked) / 1.2
    assert set(learnt["late"]) == {0.0, 1.0}


def test_delays_in_hours_are_the_same_delays(data: ModuleType) -> None:
    """The fault of the demo's third release is a unit, nothing else."""
    bounds = {"since": day("2013-03-01"), "until": day("2013-03-02")}
    minutes = data.load(params={}, **bounds)
    hours = data.load(params={"delay_unit": "hours"}, **bounds)
    expected = minutes.assign(airport_delay=minutes["airport_delay"] / 60)
    pd.testing.assert_frame_equal(hours, expected)


def test_the_fixed_rows_are_those_that_the_pack_names(spec: Spec) -> None:
    """Digest, number of rows, and columns: every feature, the target, time and unit."""
    told = tomllib.loads((spec.pack / "fixed_set.toml").read_text())
    content = (spec.pack / told["file"]).read_bytes()
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == told["digest"]
    rows = pd.read_csv(spec.pack / told["file"])
    assert len(rows) == told["rows"]
    features = [f.name for f in spec.data.features]
    assert list(rows.columns) == [*features, spec.data.target, spec.data.time, spec.data.unit]


def test_freezing_again_gives_the_same_packs(tmp_path: Path) -> None:
    """The script that chose the fixed rows is the record of how: it must still tell the truth."""
    code = "import sys, freeze; from pathlib import Path; pack = Path(sys.argv[1])\n"
    code += "freeze.freeze(pack, 'hours'); freeze.blind(freeze.PACKS / 'flights', pack)"
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, cwd=FLIGHTS, check=True)
    blind = FLIGHTS / "expectations" / "flights-blind"
    names = sorted(p.name for p in blind.iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == names
    assert [n for n in names if (tmp_path / n).read_bytes() != (blind / n).read_bytes()] == []


def test_every_edge_case_asks_what_the_server_can_answer(spec: Spec) -> None:
    """Only the cases that must be refused may lack a column, or carry another one."""
    features = {f.name for f in spec.data.features}
    lines = (spec.pack / "edge_cases.jsonl").read_text().splitlines()
    cases = [json.loads(line) for line in lines]
    assert len(cases) >= 15
    odd = {c["name"] for c in cases if set(c["input"]) != features}
    assert odd <= {c["name"] for c in cases if c["must"] == {"refused": True}}
    assert all(set(c) == {"name", "input", "must", "why", "since"} for c in cases)
