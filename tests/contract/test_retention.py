"""What is kept no longer is removed from the inference log, and nothing else."""

from __future__ import annotations

from pathlib import Path

import duckdb

from slipway.routing import Route
from slipway.serving.supervisor import keep_days
from slipway.stores.inference_log import COLUMNS, open_log
from slipway.stores.retention import DAY, prune
from slipway.testing import table

NOW = 100 * DAY


def _write(folder: Path, kind: str, name: str, rows: list[dict[str, object]]) -> Path:
    """A Parquet file of the log with these rows; what they do not say is null."""
    place = folder / kind
    place.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(":memory:") as db:
        columns = ", ".join(f'"{c}" {t}' for c, t in COLUMNS[kind].items())
        db.execute(f"CREATE TABLE rows ({columns})")
        for row in rows:
            names = ", ".join(f'"{n}"' for n in row)
            marks = ", ".join("?" for _ in row)
            db.execute(f"INSERT INTO rows ({names}) VALUES ({marks})", list(row.values()))
        db.execute(f"COPY rows TO '{place / name}' (FORMAT parquet)")
    return place / name


def _request(number: int, model: str, age_days: float) -> dict[str, object]:
    return {"request_id": f"r{number}", "model": model, "at": NOW - age_days * DAY}


def _left(folder: Path) -> list[str]:
    with open_log(folder) as db:
        return [r[0] for r in db.execute("SELECT request_id FROM requests ORDER BY 1").fetchall()]


def test_each_model_keeps_its_own_days(tmp_path: Path) -> None:
    """Old rows of a model with a limit go; its new rows, and all of another model, stay."""
    rows = [
        _request(1, "flights", 31),
        _request(2, "flights", 29),
        _request(3, "churn", 99),
    ]
    _write(tmp_path, "requests", "a.parquet", rows)
    assert prune(tmp_path, {"flights": 30}, NOW) == 1
    assert _left(tmp_path) == ["r2", "r3"]
    assert prune(tmp_path, {"flights": 30}, NOW) == 0  # nothing is written twice


def test_a_file_with_nothing_left_is_removed(tmp_path: Path) -> None:
    """Files do not pile up empty."""
    path = _write(tmp_path, "requests", "a.parquet", [_request(1, "flights", 31)])
    assert prune(tmp_path, {"flights": 30}, NOW) == 1
    assert not path.exists()


def test_a_file_whose_segment_is_there_waits_for_its_end(tmp_path: Path) -> None:
    """Removed before, its segment would be made into the same file again, and never go."""
    path = _write(tmp_path, "requests", "a.parquet", [_request(1, "flights", 31)])
    segment = path.with_suffix(".ndjson")
    segment.write_text("")
    assert prune(tmp_path, {"flights": 30}, NOW) == 0
    segment.unlink()
    assert prune(tmp_path, {"flights": 30}, NOW) == 1
    assert not path.exists()


def test_feedback_whose_segment_is_there_waits_for_its_end(tmp_path: Path) -> None:
    """As requests do."""
    old = {"request_id": "r1", "kind": "label", "value": 1.0, "at": NOW - 40 * DAY}
    path = _write(tmp_path, "feedback", "f.parquet", [old])
    segment = path.with_suffix(".ndjson")
    segment.write_text("")
    prune(tmp_path, {"flights": 30}, NOW)
    assert path.exists()
    segment.unlink()
    prune(tmp_path, {"flights": 30}, NOW)
    assert not path.exists()


def test_without_a_limit_nothing_is_looked_at(tmp_path: Path) -> None:
    """For ever is the default."""
    path = _write(tmp_path, "requests", "a.parquet", [_request(1, "flights", 9999)])
    assert prune(tmp_path, {}, NOW) == 0
    assert path.exists()


def test_feedback_goes_when_no_request_is_left_that_it_could_be_of(tmp_path: Path) -> None:
    """It names a request and no model, so it stays as long as any request as old as it does."""
    old = {"request_id": "r1", "kind": "label", "value": 1.0, "at": NOW - 40 * DAY}
    path = _write(tmp_path, "feedback", "f.parquet", [old])
    _write(tmp_path, "requests", "b.parquet", [_request(3, "churn", 50)])
    prune(tmp_path, {"flights": 30}, NOW)
    assert path.exists()
    prune(tmp_path, {"flights": 30, "churn": 30}, NOW)
    assert not path.exists()


def test_the_gateway_asks_for_what_the_specs_say() -> None:
    """The limit comes with the route, and a model without one is not in it."""
    from dataclasses import replace

    limited = replace(table("flights"), policy={"log": {"keep_days": 30}})
    routes = {"flights": Route(limited, {}, None), "churn": Route(table("churn"), {}, None)}
    assert keep_days(routes) == {"flights": 30.0}
