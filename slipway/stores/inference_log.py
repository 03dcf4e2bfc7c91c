"""The inference log: every answered request and every feedback, appended while serving.

A gateway appends lines of JSON to a *segment*, a file of its own that it holds locked; a thread
writes and syncs them at least every second, and a full or slow disk costs rows (counted), never
requests. A sealed segment (whose lock is free) is compacted to Parquet beside it, by another
process: ``python -m slipway.stores.inference_log compact DIR``. ``open_log`` puts DuckDB views
over both:

- ``requests``: one row per answered request; see `slipway.serving.rows.RequestRow`.
- ``feedback``: ``request_id, kind, value, raw, at``; the first of each (request, kind) counts.
- ``judged``: ``requests`` with ``label`` (the value of kind ``label``), ``label_at``, and
  ``feedback``, a map of every kind to its value: ``feedback['rating']``. Requests whose arm was
  chosen for a tester (``override``) are left out: nobody drew it at random, so it proves nothing.

``at`` is a word of DuckDB's own: write it ``"at"`` in queries.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.stores.log_writer import FEEDBACK, REQUESTS, SEALED, SEGMENT_SECONDS

if TYPE_CHECKING:
    import duckdb

    from slipway.serving.shared import Table

log = logging.getLogger(__name__)

KEEP_COMPACTED_SECONDS = 60.0
"""How long a segment outlives its Parquet file, for readers that have listed it already."""

_SLACK_SECONDS = 60.0
"""For a clock that is set while a segment is written."""

COLUMNS = {
    REQUESTS: {
        "request_id": "VARCHAR",
        "at": "DOUBLE",
        "model": "VARCHAR",
        "unit": "VARCHAR",
        "unit_given": "BOOLEAN",
        "arm": "VARCHAR",
        "release": "VARCHAR",
        "route": "BIGINT",
        "status": "INTEGER",
        "ok": "BOOLEAN",
        "latency_ms": "DOUBLE",
        "served_by": "VARCHAR",
        "fallback": "VARCHAR",
        "cost": "DOUBLE",
        "rows": "INTEGER",
        "score": "DOUBLE",
        "features": "JSON",
        "prediction": "JSON",
        "override": "VARCHAR",
    },
    FEEDBACK: {
        "request_id": "VARCHAR",
        "at": "DOUBLE",
        "model": "VARCHAR",
        "kind": "VARCHAR",
        "value": "JSON",
    },
}


def is_sealed(path: Path) -> bool:
    """Whether no living gateway writes to a segment any more."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(fd)
    return True


def open_segments(folder: Path) -> Iterator[Path]:
    """Segments that have no Parquet file yet."""
    for kind in (REQUESTS, FEEDBACK):
        for segment in (folder / kind).glob("*.ndjson"):
            if not segment.with_suffix(".parquet").exists():
                yield segment


def needs_compaction(folder: Path) -> bool:
    """Whether a sealed segment waits to be turned into Parquet."""
    return any(map(is_sealed, open_segments(folder)))


def note_unclean_ends(folder: Path) -> list[Path]:
    """Say which segments were left by a gateway that was killed, and seal them."""
    left = [s for s in open_segments(folder) if is_sealed(s) and s.stat().st_mode & 0o777 != SEALED]
    for segment in left:
        log.warning("%s was left by a killed gateway: its last second may be missing", segment)
        segment.chmod(SEALED)
    return left


def load_feedback(folder: Path, table: Table) -> None:
    """Put the log's latest feedback into the gateways' shared memory of it."""
    import msgspec

    from slipway.serving.feedback import Memory

    memory = Memory(table)
    query = 'SELECT request_id, kind, raw FROM feedback ORDER BY "at"'
    for request_id, kind, raw in open_log(folder).execute(query).fetchall():
        memory.note(request_id, kind, msgspec.json.decode(raw))


def files(folder: Path, kind: str, since: float = 0.0) -> tuple[list[str], list[str]]:
    """The Parquet files and the segments that are not in Parquet yet, oldest first.

    Args:
        since: leave out files whose name says that they ended before that time.
    """
    begun = since - SEGMENT_SECONDS - _SLACK_SECONDS
    names = sorted(p for p in (folder / kind).glob("*.*") if _started(p) >= begun)
    parquet = [p for p in names if p.suffix == ".parquet"]
    done = {p.stem for p in parquet}
    segments = [p for p in names if p.suffix == ".ndjson" and p.stem not in done]
    return [str(p) for p in parquet], [str(p) for p in segments]


def _started(path: Path) -> float:
    """When a file's first row was written, by its name; one that has none may hold any time."""
    number = path.name.partition("-")[0]
    return int(number) / 1000.0 if number.isdecimal() else math.inf


_USUAL = {
    "unit_given": "coalesce(unit_given, true)",
    "status": "coalesce(status, 200)",
    "ok": "coalesce(ok, true)",
    "served_by": "coalesce(served_by, release)",
    "fallback": "coalesce(fallback, '')",
    "rows": "nullif(coalesce(rows, 1), 0)",
    "prediction": "coalesce(prediction, CAST(CAST(score AS VARCHAR) AS JSON))",
    "override": "coalesce(override, '')",
}
"""What a row leaves out because it has its usual value."""


def _read_segments(kind: str, segments: list[str]) -> str:
    """A table expression over segments, with what rows leave out put back.

    The last line of a gateway that was killed may be half a line: it is passed over.
    """
    usual = _USUAL if kind == REQUESTS else {}
    put_back = ", ".join(f'{expression} AS "{name}"' for name, expression in usual.items())
    every = f"* REPLACE ({put_back})" if usual else "*"
    types = ", ".join(f"'{name}': '{type_}'" for name, type_ in COLUMNS[kind].items())
    return (
        f"(SELECT {every} FROM read_json({_texts(segments)}, columns={{{types}}}, "  # noqa: S608
        "format='newline_delimited', ignore_errors=true) WHERE request_id IS NOT NULL)"
    )


def _source(folder: Path, kind: str, since: float) -> str:
    """A table expression over one kind's files. It holds our own file names and nothing else."""
    parquet, segments = files(folder, kind, since)
    parts = [f"(SELECT * FROM read_parquet({_texts(parquet)}))"] if parquet else []  # noqa: S608
    if segments:
        parts.append(_read_segments(kind, segments))
    if not parts:
        nulls = ", ".join(f'NULL::{type_} AS "{name}"' for name, type_ in COLUMNS[kind].items())
        return f"(SELECT {nulls} LIMIT 0)"
    return f"({' UNION ALL '.join(parts)})"


def _texts(values: list[str]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


_FEEDBACK_VIEW = """
CREATE VIEW feedback AS
SELECT request_id, kind,
       arg_min(CASE json_type(value)
                 WHEN 'BOOLEAN' THEN CASE WHEN value::BOOLEAN THEN 1.0 ELSE 0.0 END
                 WHEN 'VARCHAR' THEN NULL
                 ELSE TRY_CAST(value AS DOUBLE) END, "at") AS value,
       arg_min(value, "at") AS raw,
       min("at") AS "at"
FROM {source} GROUP BY request_id, kind
"""

_JUDGED_VIEW = """
CREATE VIEW judged AS
SELECT requests.*, label, label_at, feedback
FROM (SELECT * FROM requests WHERE override = '') AS requests LEFT JOIN (
  SELECT request_id,
         max(value) FILTER (kind = 'label') AS label,
         max("at") FILTER (kind = 'label') AS label_at,
         map_from_entries(list({'k': kind, 'v': value})) AS feedback
  FROM feedback GROUP BY request_id) USING (request_id)
"""


def open_log(folder: str | os.PathLike[str], since: float = 0.0) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the views of this module over a log as it is now.

    Open it again to see later rows. Rows are visible at most two seconds after the answer.

    Args:
        since: files that hold nothing from that time on are not opened. The views may still hold
            earlier rows: say ``WHERE "at" >= since`` too.
    """
    import duckdb

    root = Path(folder)
    connection = duckdb.connect(":memory:")
    connection.execute(f"CREATE VIEW requests AS SELECT * FROM {_source(root, REQUESTS, since)}")  # noqa: S608
    connection.execute(_FEEDBACK_VIEW.format(source=_source(root, FEEDBACK, since)))
    connection.execute(_JUDGED_VIEW)
    return connection


def compact(folder: Path, now: float) -> int:
    """Turn every sealed segment into Parquet; how many were turned.

    Safe to kill at any point and to repeat: a Parquet file appears whole, and readers take it
    instead of its segment from then on.
    """
    import duckdb

    turned = 0
    for kind in (REQUESTS, FEEDBACK):
        for name in sorted((folder / kind).glob("*.ndjson")):
            target = name.with_suffix(".parquet")
            if target.exists():
                if now - target.stat().st_mtime > KEEP_COMPACTED_SECONDS:
                    name.unlink()
            elif is_sealed(name):
                _compact_one(duckdb.connect(":memory:"), kind, name, target)
                turned += 1
    return turned


def _compact_one(
    connection: duckdb.DuckDBPyConnection, kind: str, segment: Path, target: Path
) -> None:
    part = target.with_suffix(".part")
    rows = f'SELECT * FROM {_read_segments(kind, [str(segment)])} ORDER BY "at"'  # noqa: S608
    connection.execute(f"COPY ({rows}) TO {_text(str(part))} (FORMAT parquet, COMPRESSION zstd)")
    connection.close()
    part.replace(target)


def main(arguments: list[str]) -> int:
    """``compact DIR [MODEL=DAYS ...]``: one round of compaction, and of forgetting what is old."""
    from slipway.stores.kept import forget
    from slipway.stores.retention import prune

    try:
        (verb, folder, *kept) = arguments
        keep_days = {model: float(days) for model, days in (k.split("=") for k in kept)}
    except ValueError:
        verb = ""
    if verb != "compact":
        sys.stderr.write(
            "usage: python -m slipway.stores.inference_log compact DIR [MODEL=DAYS ...]\n"
        )
        return 2
    now = time.time()
    forget(Path(folder), now)
    turned, forgotten = compact(Path(folder), now), prune(Path(folder), keep_days, now)
    sys.stdout.write(f"{turned} segments compacted, {forgotten} files without what was old\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
