"""From somebody's own file to an answer over HTTP: ``slipway new``, then ``slipway release``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

Slipway = Callable[..., str]


@pytest.fixture
def slipway(tmp_path: Path) -> Iterator[Slipway]:
    """The command line with a home of its own; what it left running is ended."""
    away = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "SLIPWAY_LEDGER")
    environ = {k: v for k, v in os.environ.items() if k not in away}
    environ |= {"SLIPWAY_HOME": str(tmp_path / "home"), "SLIPWAY_GATEWAY_PORT": "0"}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "slipway.cli", *arguments],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    yield run
    run("stop")


def _loans(path: Path) -> None:
    """A file as people have them: an id, gaps, odd names, dates and a target in words."""
    rng, n = np.random.default_rng(7), 900
    income, trade = rng.normal(50, 15, n), rng.choice(["baker", "smith", "clerk", "n/a"], n)
    odds = (income - 50) / 10 + (trade == "smith") * 1.5 + rng.normal(0, 1, n)
    table = pd.DataFrame(
        {
            "id": np.arange(n) + 1000,
            "income (k)": np.where(rng.random(n) < 0.1, np.nan, income.round(2)),
            "trade-name": trade,
            "asked": pd.date_range("2025-01-01", periods=n, freq="6h"),
            "customer": rng.integers(0, 300, n),
            "repaid?": np.where(odds > 0, "yes", "no"),
        }
    )
    table.to_csv(path, index=False)


def test_a_new_folder_releases_at_once(slipway: Slipway, tmp_path: Path) -> None:
    """The folder laid down for a CSV file is blessed, goes live, and answers over HTTP."""
    _loans(tmp_path / "my loans.csv")
    roles = ("--target", "repaid?", "--time", "asked", "--unit", "customer")
    told = slipway("new", "loans", "--data", "my loans.csv", *roles)
    assert "the target counts 'no' as 0, 'yes' as 1 (data.py)" in told
    assert "left out: id: another whole number in every row: an id" in told
    released = slipway("release", "loans")
    assert "promoted: no baseline" in released

    status = json.loads(slipway("status", "--json"))
    assert status["models"][0]["model"] == "loans"
    request = urllib.request.Request(
        f"{status['gateway']}/loans/invocations",
        json.dumps({"dataframe_records": [{"income (k)": 80, "trade-name": "smith"}]}).encode(),
        {"content-type": "application/json", "x-slipway-unit": "17"},
    )
    with urllib.request.urlopen(request) as response:
        (answer,) = json.load(response)["predictions"]
    assert 0.8 < answer <= 1
