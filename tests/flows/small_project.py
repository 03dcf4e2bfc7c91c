"""A small, whole model folder, as a team would have it: will this press fail on its next stroke?

Besides what works it holds what does not: data files and trainers with one fault each, which a
test names by overriding one key of the spec.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import random
import shutil
from pathlib import Path
from typing import Any

import yaml

MODEL = "press"
COLUMNS = ("at", "machine", "temperature", "load", "material", "failed")
Row = dict[str, Any]

SPEC: dict[str, Any] = {
    "model": MODEL,
    "data": {
        "source": "csv",
        "params": {"path": "strokes.csv"},
        "time": "at",
        "unit": "machine",
        "target": "failed",
        "features": [
            {"name": "temperature", "kind": "number"},
            {"name": "load", "kind": "number"},
            {"name": "material", "kind": "text"},
        ],
    },
    "trainer": {"use": "train:train", "params": {"c": 1.0}, "seed": 7},
    "rollout": {
        "steps": [
            {"share": 0.2, "min_seconds": 0.5, "max_seconds": 60},
            {"share": 0.5, "min_seconds": 0.5, "max_seconds": 60},
        ],
        "lease_seconds": 5,
        "tick_seconds": 0.2,
    },
    "image": {"build": "never"},
}

TRAINER = '''
"""How likely a press is to fail; and trainers that do what no trainer should."""

import threading

from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def train(x, y, *, params, seed):
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["temperature", "load"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["material"]),
        ]
    )
    return make_pipeline(columns, LogisticRegression(C=params["c"], random_state=seed)).fit(x, y)


def raises(x, y, *, params, seed):
    raise ArithmeticError("the press is jammed")


def hangs(x, y, *, params, seed):
    threading.Event().wait()


def gives_no_model(x, y, *, params, seed):
    return {"weights": [1, 2, 3]}
'''

GATES = """
[[offline]]
metric = "auc"
min = 0.7

[[offline]]
metric = "brier"
not_worse_than_stable = 0.05

[[offline]]
metric = "latency_p99_ms"
max = 5000

[policy]
alpha = 0.1

[[gate]]
metric = "error"
kind = "guardrail"
type = "rate"
direction = "lower"
budget = 0.3
min_units = 5

[[gate]]
metric = "brier"
kind = "guardrail"
type = "mean"
direction = "lower"
budget = 0.4
min_units = 5
"""


def strokes(count: int, seed: int) -> list[Row]:
    """Rows as a factory would log them: hot presses under load fail."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        temperature, load = round(draw.gauss(60, 12), 3), round(draw.uniform(0, 100), 3)
        risk = 1 / (1 + math.exp(-((temperature - 60) / 6 + (load - 50) / 20)))
        minutes = f"{number // 60 % 24:02}:{number % 60:02}"
        rows.append(
            {
                "at": f"2026-0{1 + number // 1440}-01T{minutes}:{seed % 60:02}Z",
                "machine": f"m{draw.randrange(80)}",
                "temperature": temperature,
                "load": load,
                "material": draw.choice(["steel", "brass", "tin"]),
                "failed": int(draw.random() < risk),
            }
        )
    return rows


def lay_down(folder: Path) -> Path:
    """Write the whole folder; the same bytes every time."""
    rows, frozen = strokes(400, seed=1), strokes(150, seed=2)
    pack = folder / "expectations" / MODEL
    pack.mkdir(parents=True)
    (folder / "slipway.yaml").write_text(yaml.safe_dump(SPEC, sort_keys=False))
    (folder / "train.py").write_text(TRAINER)
    table(folder / "strokes.csv", rows)
    _faulty(folder, rows, frozen)
    table(pack / "fixed_set.csv", frozen)
    digest = hashlib.sha256((pack / "fixed_set.csv").read_bytes()).hexdigest()
    (pack / "fixed_set.toml").write_text(
        f'file = "fixed_set.csv"\ndigest = "sha256:{digest}"\nrows = {len(frozen)}\n'
    )
    (pack / "suite.json").write_text(json.dumps(_suite()))
    (pack / "edge_cases.jsonl").write_text("".join(json.dumps(c) + "\n" for c in _edge_cases()))
    (pack / "gates.toml").write_text(GATES)
    _faulty_packs(pack)
    return folder


def _faulty(folder: Path, rows: list[Row], frozen: list[Row]) -> None:
    """Data files that no model can be trained on, by their fault."""
    table(folder / "no_load.csv", rows, [c for c in COLUMNS if c != "load"])
    table(folder / "empty.csv", [])
    table(folder / "one_class.csv", [{**r, "failed": 0} for r in rows])
    table(folder / "nothing_measured.csv", [{**r, "temperature": ""} for r in rows])
    table(folder / "overlap.csv", rows + frozen[:3])


def _faulty_packs(pack: Path) -> None:
    """Copies of the pack, each with one fault, beside it."""
    changed = (pack / "fixed_set.csv").read_text().replace("steel", "glass", 1)
    for name, file, text in (
        ("no_gates", "gates.toml", "[policy]\nalpha = 0.1\n"),
        ("no_cases", "edge_cases.jsonl", ""),
        ("odd_metric", "gates.toml", GATES.replace('metric = "error"', 'metric = "happiness"')),
        ("changed_rows", "fixed_set.csv", changed),
    ):
        shutil.copytree(pack, pack.with_name(name))
        (pack.with_name(name) / file).write_text(text)


def table(path: Path, rows: list[Row], columns: list[str] | None = None) -> None:
    """Write rows as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns or COLUMNS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _suite() -> dict[str, Any]:
    between = {"column": "load", "min_value": 0, "max_value": 100}
    return {
        "name": MODEL,
        "expectations": [{"type": "expect_column_values_to_be_between", "kwargs": between}],
    }


def _edge_cases() -> list[dict[str, Any]]:
    cool = {"temperature": 40.0, "load": 10.0, "material": "steel"}
    told = {"why": "chosen in advance", "since": "2026-11-22"}
    return [
        {"name": "a cool press", "input": cool, "must": {"between": [0, 0.4]}, **told},
        {
            "name": "heat never helps",
            "input": cool,
            "must": {"not_higher_than": {"change": {"temperature": 90.0}}},
            **told,
        },
    ]
