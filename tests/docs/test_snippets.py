"""What the pages show is run: Python as it stands, YAML as part of a spec, TOML as gates."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from slipway import gates, spec
from slipway.child.train import check_model

ROOT = Path(__file__).parents[2]
PAGES = {str(p.relative_to(ROOT)): p for p in sorted(ROOT.glob("docs/**/*.md"))}
SMALL = """
model: loans
data:
  source: csv
  params: { path: loans.csv }
  target: repaid
  features: [{ name: income, kind: number }]
trainer: { use: train:train }
"""


def _blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page].read_text(), re.DOTALL)


def _with(language: str) -> list[str]:
    return [page for page in PAGES if _blocks(page, language)]


def _run(page: str) -> dict[str, Any]:
    """A page's Python, block after block, in one namespace."""
    names: dict[str, Any] = {"__name__": "page"}
    for block in _blocks(page, "python"):
        exec(compile(block, page, "exec"), names)
    return names


@pytest.mark.parametrize("page", _with("python"))
def test_python_runs(page: str) -> None:
    """What a page shows in Python runs from its top to its end; a law it checks is kept."""
    assert set(_run(page)) - {"__name__", "__builtins__"}


@pytest.mark.parametrize("page", _with("yaml"))
def test_yaml_is_part_of_a_spec(page: str, tmp_path: Path) -> None:
    """Put into a small spec, each block is one without faults."""
    for block in _blocks(page, "yaml"):
        whole = {**yaml.safe_load(SMALL), **yaml.safe_load(block)}
        assert spec.parse(whole, tmp_path / "slipway.yaml").model == "loans"


@pytest.mark.parametrize("page", ["docs/how-to/metrics.md", "docs/how-to/strategies.md"])
def test_toml_is_a_gate(page: str) -> None:
    """Each block is read as the gates of a pack."""
    for block in _blocks(page, "toml"):
        assert len(gates.parse(tomllib.loads(block)).gates) == 1


def test_the_shown_trainer_gives_a_model() -> None:
    """The trainer of its page fits, with the parameters that the page gives it."""
    page = "docs/how-to/trainers.md"
    (shown,) = _blocks(page, "yaml")
    asked = yaml.safe_load(shown)["trainer"]
    x = pd.DataFrame({"income": np.arange(200.0)})
    y = (x["income"] > 90).astype("int64")
    model = _run(page)["train"](x, y, params=asked["params"], seed=asked["seed"])
    assert check_model(model, asked["use"]) == "probability"
    assert (model.predict(x) == y).mean() > 0.9
