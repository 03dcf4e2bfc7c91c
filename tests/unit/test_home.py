"""Home: where things lie, by the environment."""

from pathlib import Path

import pytest

from slipway.home import Home


def test_the_default_is_a_folder_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing has to be set up, and nothing is made by looking."""
    monkeypatch.chdir(tmp_path)
    home = Home.of({})
    assert home.root == tmp_path / ".slipway"
    assert home.ledger_url == f"sqlite:///{tmp_path}/.slipway/ledger.db"
    assert not home.root.exists()


def test_the_environment_names_the_folder_and_the_ledger(tmp_path: Path) -> None:
    """A relative folder is made absolute, so that a later change of directory changes nothing."""
    home = Home.of({"SLIPWAY_HOME": str(tmp_path / "a b"), "SLIPWAY_LEDGER": "postgresql://x/y"})
    assert (home.root, home.ledger_url) == (tmp_path / "a b", "postgresql://x/y")
    assert Home.of({"SLIPWAY_HOME": "here"}).root == Path.cwd() / "here"


def test_all_places_lie_below_the_root(tmp_path: Path) -> None:
    """One folder to keep, to move, or to throw away."""
    home = Home.of({"SLIPWAY_HOME": str(tmp_path)})
    for place in (home.log, home.run, home.gateway, home.folder("runs", "flights")):
        assert place.is_relative_to(tmp_path)


def test_a_folder_is_made_where_it_is_missing(tmp_path: Path) -> None:
    """And asked for twice it is the same one."""
    home = Home.of({"SLIPWAY_HOME": str(tmp_path)})
    assert home.folder("runs", "flights") == home.folder("runs", "flights")
    assert (tmp_path / "runs" / "flights").is_dir()


def test_the_registry_is_the_specs_then_the_environments_then_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a team declares wins; SQLite in the home is for everyone else."""
    home = Home.of({"SLIPWAY_HOME": str(tmp_path)})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert home.tracking_uri("") == f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://registry")
    assert home.tracking_uri("") == "http://registry"
    assert home.tracking_uri("http://declared") == "http://declared"
