"""The commands that read: which ledger they open, and what they refuse to call whole."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from slipway.cli import cli
from slipway.errors import Refused, UsageError
from slipway.ledger import GENESIS
from slipway.stores.sql_ledger import ENTRIES, HEADS, open_ledger
from slipway.testing import draft


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A ledger with one entry that lies outside of the home."""
    url = f"sqlite:///{tmp_path / 'far' / 'routes.db'}"
    monkeypatch.setenv("SLIPWAY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SLIPWAY_LEDGER", url)
    open_ledger(url).append(draft(), expect=GENESIS)
    return url


def _asked(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def test_a_ledger_file_outside_of_the_home_is_read(elsewhere: str) -> None:
    """The environment names the ledger; the home's own file need not be there."""
    assert "flights: 1 entries, the chain is whole" in _asked("verify")


def test_an_unknown_model_is_not_called_whole(elsewhere: str) -> None:
    """Verifying what is not on record is a mistyped name, not a clean bill."""
    with pytest.raises(UsageError, match="no model 'nosuch' on record"):
        _asked("verify", "nosuch")


@pytest.mark.parametrize("table", [ENTRIES, HEADS], ids=["entries", "head"])
def test_losing_all_entries_or_the_head_does_not_hide_a_model(
    elsewhere: str, table: sa.Table
) -> None:
    """Either one that is left tells that the other is missing."""
    with sa.create_engine(elsewhere).begin() as db:
        db.execute(table.delete())
    with pytest.raises(Refused, match="the ledger is broken"):
        _asked("verify")
