"""How long the inference log is kept: rows older than their model's ``keep_days`` are removed.

Only Parquet files are looked at: a segment becomes one within a minute or two. A file is written
anew without what has expired, and appears whole, so a reader sees it as it was or as it is, and a
kill at any point leaves the one or the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.stores.log_writer import FEEDBACK, REQUESTS

if TYPE_CHECKING:
    import duckdb

DAY = 86_400.0


def prune(folder: Path, keep_days: Mapping[str, float], now: float) -> int:
    """Remove expired rows; how many files were written anew or removed.

    Args:
        keep_days: model to days; what is of another model stays for ever.
        now: seconds since 1970 UTC.
    """
    import duckdb

    if not keep_days:
        return 0
    touched = 0
    with duckdb.connect(":memory:") as db:
        cuts = [(model, now - days * DAY) for model, days in keep_days.items()]
        db.execute("CREATE TABLE cuts (model VARCHAR, cut DOUBLE)")
        db.executemany("INSERT INTO cuts VALUES (?, ?)", cuts)
        for path in _older(db, folder / REQUESTS, max(cut for _, cut in cuts)):
            touched += _rewrite(db, path)
        # Feedback names a request and no model: it goes once no request that it can be of is left.
        oldest = db.execute(f'SELECT min("at") FROM {_all(folder)}').fetchone()  # noqa: S608
        first = oldest[0] if oldest and oldest[0] is not None else now
        for path in _settled(folder / FEEDBACK):
            if _ends(db, path) < min(first, *(cut for _, cut in cuts)):
                path.unlink()
                touched += 1
    return touched


def _settled(place: Path) -> list[Path]:
    """Files whose segment is gone: without the file it would be made into one again."""
    found = sorted(place.glob("*.parquet"))
    return [path for path in found if not path.with_suffix(".ndjson").exists()]


def _older(db: duckdb.DuckDBPyConnection, place: Path, cut: float) -> Iterator[Path]:
    """Files that hold a row from before a time; their own statistics tell."""
    for path in _settled(place):
        found = db.execute('SELECT min("at") FROM read_parquet(?)', [str(path)]).fetchone()
        if found and found[0] is not None and found[0] < cut:
            yield path


def _rewrite(db: duckdb.DuckDBPyConnection, path: Path) -> int:
    kept = (
        "SELECT r.* FROM read_parquet(?) r LEFT JOIN cuts USING (model) "
        'WHERE cut IS NULL OR r."at" >= cut'
    )
    counts = f"SELECT (SELECT count(*) FROM read_parquet(?)), (SELECT count(*) FROM ({kept}))"  # noqa: S608
    before, after = db.execute(counts, [str(path)] * 2).fetchall()[0]
    if after == before:
        return 0
    if after == 0:
        path.unlink()
        return 1
    part = path.with_suffix(".part")
    target = str(part).replace("'", "''")
    db.execute(f"COPY ({kept}) TO '{target}' (FORMAT parquet, COMPRESSION zstd)", [str(path)])
    part.replace(path)
    return 1


def _ends(db: duckdb.DuckDBPyConnection, path: Path) -> float:
    found = db.execute('SELECT max("at") FROM read_parquet(?)', [str(path)]).fetchone()
    return float(found[0]) if found and found[0] is not None else 0.0


def _all(folder: Path) -> str:
    paths = [str(p).replace("'", "''") for p in sorted((folder / REQUESTS).glob("*.parquet"))]
    listed = ", ".join(f"'{p}'" for p in paths)
    return f"read_parquet([{listed}])" if paths else '(SELECT NULL::DOUBLE AS "at")'
