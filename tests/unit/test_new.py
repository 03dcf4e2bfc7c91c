"""What ``slipway new`` refuses before it looks at any data, and its templates."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from slipway.errors import UsageError
from slipway.new import lay_down, texts


@pytest.mark.parametrize("name", ["Mine", "1st", "a b", "", "a/b", "x" * 64, "a\n"])
def test_bad_names_are_wrong_usage(tmp_path, name):
    """A name that no spec would take is refused before the data are looked at."""
    with pytest.raises(UsageError, match="no name for a model"):
        lay_down(name, tmp_path / "none.csv", "y", "", "", tmp_path / "out")


def test_one_column_has_one_role(tmp_path):
    """Target, time and unit are three columns."""
    with pytest.raises(UsageError, match="two roles"):
        lay_down("mine", tmp_path / "none.csv", "y", "y", "", tmp_path / "out")


def test_a_taken_folder_is_left_alone(tmp_path):
    """A folder that holds anything is refused and stays as it was."""
    (tmp_path / "keep.txt").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        lay_down("mine", tmp_path / "none.csv", "y", "", "", tmp_path)
    assert (tmp_path / "keep.txt").read_text() == "mine"


def test_templates_of_python_are_python():
    """Filled in, each Python template compiles."""
    found = sorted(texts.TEMPLATES.glob("*.py.txt"))
    assert [path.name for path in found] == [
        "data_known.py.txt",
        "data_labels.py.txt",
        "train.py.txt",
    ]
    for path in found:
        template = string.Template(path.read_text())
        names = {**dict.fromkeys(template.get_identifiers(), "name"), "loss": ""}
        filled = template.substitute(names)
        compile(filled, path.name, "exec")


@pytest.mark.parametrize(
    "value", ["plain", "yes", "a: b", "# x", "1", "", 'say "no"', "a\nb", "\u00e9"]
)
def test_any_name_survives_the_spec(value):
    """A column's name comes back from YAML as it was, and stays on one line."""
    import yaml

    line = f"- {{ name: {texts._yaml(value)}, kind: text }}"
    assert "\n" not in line
    assert yaml.safe_load(line) == [{"name": value, "kind": "text"}]


def test_the_folder_one_stands_in_is_refused(tmp_path, monkeypatch):
    """A folder that is replaced while a shell stands in it would leave that shell nowhere."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="you stand in the folder"):
        lay_down("mine", tmp_path / "none.csv", "y", "", "", Path())
