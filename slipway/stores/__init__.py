"""Stores: the ledger in SQL, the inference log, and evidence from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from slipway.errors import Refused

if TYPE_CHECKING:
    from slipway.home import Home
    from slipway.stores.sql_ledger import SqlLedger


def existing_ledger(home: Home) -> SqlLedger:
    """The ledger, if there is one: reading must not make it.

    Raises:
        Refused: nothing has been released from here yet.
    """
    kind, _, path = home.ledger_url.partition(":///")
    if kind == "sqlite" and not Path(path).exists():
        raise Refused(
            "nothing has been released from here yet",
            where=str(home.root),
            do="release a model ('slipway release FOLDER'), or set SLIPWAY_HOME",
        )
    from slipway.stores.sql_ledger import open_ledger

    return open_ledger(home.ledger_url)
