"""How the fixed datasets were chosen: about one flight in 66 from January to May, by stable hash.

    python examples/flights/freeze.py

The choice depends on nothing but the flight itself, so freezing again gives the same rows. The
pack names the file by digest: a changed byte refuses the run, and these rows are never trained on.

It also writes the blind pack of the demo's faulty release: the same expectations, as a pipeline
would have frozen them that counts the airport's delay in hours, without the one that would have
noticed.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import data
import pandas as pd

PACKS = Path(__file__).parent / "expectations"
ONE_IN = 66
SINCE, UNTIL = pd.Timestamp("2013-01-01", tz="UTC"), pd.Timestamp("2013-06-01", tz="UTC")
FEATURES = [
    *("carrier", "origin", "dest", "weekday", "sched_dep_minute", "sched_arr_minute", "distance"),
    *("hour_departures", "airport_delay"),
    *("temp", "humid", "wind_speed", "precip", "pressure", "visib"),
]
FLIGHT = ["departs", "carrier", "tailnum", "origin", "dest"]
WHY = "real flights of five months, by a hash of the flight: every carrier, airport and weather"


def freeze(pack: Path, delay_unit: str) -> None:
    """Write ``fixed_set.csv`` and the digest that names it."""
    flights = data.load(params={"delay_unit": delay_unit}, since=SINCE, until=UNTIL)
    frozen = chosen(flights)
    content = frozen.to_csv(index=False).encode()
    (pack / "fixed_set.csv").write_bytes(content)
    (pack / "fixed_set.toml").write_text(
        'file = "fixed_set.csv"\n'
        f'digest = "sha256:{hashlib.sha256(content).hexdigest()}"\n'
        f"rows = {len(frozen)}\n"
        'target = "late"\n'
        "frozen_on = 2026-11-22\n"
        f'why = "{WHY}"\n'
    )


def chosen(flights: pd.DataFrame) -> pd.DataFrame:
    """The frozen flights, in order of departure."""
    text = flights[FLIGHT].astype("str")
    mine = text[FLIGHT[0]].str.cat(text[FLIGHT[1:]], sep="|").map(_is_chosen)
    frozen = flights[mine].sort_values(FLIGHT)
    return frozen[[*FEATURES, "late", "departs", "tailnum"]]


def _is_chosen(flight: str) -> bool:
    return int(hashlib.sha256(flight.encode()).hexdigest(), 16) % ONE_IN == 0


def blind(sighted: Path, pack: Path) -> None:
    """The other files of the blind pack: delays in hours, and no look at how much they vary."""
    shutil.copy(sighted / "gates.toml", pack)
    suite = json.loads((sighted / "suite.json").read_text())
    seen = [e for e in suite["expectations"] if e["type"] != "expect_column_stdev_to_be_between"]
    suite = {"name": "flights-blind", "expectations": seen}
    (pack / "suite.json").write_text(json.dumps(suite, indent=1) + "\n")
    cases = (sighted / "edge_cases.jsonl").read_text().splitlines()
    hours = [json.dumps(json.loads(case, object_hook=_in_hours)) for case in cases]
    (pack / "edge_cases.jsonl").write_text("\n".join(hours) + "\n")


def _in_hours(part: dict[str, object]) -> dict[str, object]:
    delay = part.get("airport_delay")
    return part | {"airport_delay": delay / 60} if isinstance(delay, (int, float)) else part


if __name__ == "__main__":
    for name, unit in (("flights", "minutes"), ("flights-blind", "hours")):
        (PACKS / name).mkdir(parents=True, exist_ok=True)
        freeze(PACKS / name, unit)
    blind(PACKS / "flights", PACKS / "flights-blind")
