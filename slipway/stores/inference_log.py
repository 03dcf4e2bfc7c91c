"""The inference log: every answered request and every feedback, appended while serving.

A gateway appends lines of JSON to a *segment*, a file of its own that it holds locked; a thread
writes and syncs them at least every second, and a full or slow disk costs rows (counted), never
requests. A sealed segment (whose lock is free) is compacted to Parquet beside it, by another
process: ``python -m slipway.stores.inference_log compact DIR``. ``open_log`` puts DuckDB views
over both:

- ``requests``: one row per answered request; see `slipway.serving.rows.RequestRow`.
- ``feedback``: ``request_id, kind, value, raw, at``; the first of each (request, kind) counts.
- ``judged``: ``requests`` with ``label`` (the value of kind ``label``), ``label_at``, and
  ``feedback``, a map of every kind to its value: ``feedback['rating']``.

``at`` is a word of DuckDB's own: write it ``"at"`` in queries.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

import msgspec

from slipway.serving.rows import FeedbackRow, RequestRow

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

REQUESTS, FEEDBACK = "requests", "feedback"
KEEP_COMPACTED_SECONDS = 60.0
"""How long a segment outlives its Parquet file, for readers that have listed it already."""


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
    },
    FEEDBACK: {
        "request_id": "VARCHAR",
        "at": "DOUBLE",
        "model": "VARCHAR",
        "kind": "VARCHAR",
        "value": "JSON",
    },
}


class Segment:
    """One file of lines, locked while it is written."""

    def __init__(self, folder: Path, started: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.started = started
        self.path = folder / f"{int(started * 1000):013d}-{os.getpid()}.ndjson"
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        self.size = 0

    def append(self, data: bytes) -> None:
        """Append whole lines and sync them; on failure, nothing of them stays.

        Raises:
            OSError: the disk did not take them.
        """
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += len(data)

    def close(self) -> None:
        """Seal the segment; an empty one is removed."""
        if not self.size:
            self.path.unlink()
        os.close(self._fd)


class LogWriter:
    """Appends rows on the event loop's thread; writes them on its own.

    Call ``flush`` on the loop several times a second: it hands the rows gathered so far to the
    thread. That is all the request path does besides encoding its row.

    Args:
        folder: the log's directory.
        segment_bytes, segment_seconds: when a segment is sealed and the next begun.
        pending_bytes: rows waiting for a slow disk beyond this are dropped, and counted.
    """

    def __init__(
        self,
        folder: Path,
        *,
        segment_bytes: int = 64 << 20,
        segment_seconds: float = 600.0,
        pending_bytes: int = 64 << 20,
    ) -> None:
        self.dropped = 0
        self._folder = folder
        self._segment_bytes, self._segment_seconds = segment_bytes, segment_seconds
        self._room = pending_bytes
        self._waiting = 0
        self._encode = msgspec.json.Encoder().encode
        self._gathered: dict[str, list[bytes]] = {REQUESTS: [], FEEDBACK: []}
        self._requests = self._gathered[REQUESTS]
        self._segments: dict[str, Segment] = {}
        self._batches: SimpleQueue[tuple[str, list[bytes]] | None] = SimpleQueue()
        folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(
            target=self._write_batches, name="inference-log", daemon=True
        )
        self._thread.start()

    def request(self, row: RequestRow) -> None:
        """Log one answered request."""
        self._requests.append(self._encode(row))

    def feedback(self, row: FeedbackRow) -> None:
        """Log one feedback."""
        self._gathered[FEEDBACK].append(self._encode(row))

    def flush(self) -> None:
        """Hand what is gathered to the writing thread, unless it is too far behind."""
        for kind, rows in self._gathered.items():
            if not rows:
                continue
            self._gathered[kind] = []
            if self._waiting > self._room:
                self.dropped += len(rows)
            else:
                self._waiting += sum(map(len, rows))
                self._batches.put((kind, rows))
        self._requests = self._gathered[REQUESTS]

    def close(self) -> None:
        """Write what is left, seal the segments and end the thread."""
        self.flush()
        self._batches.put(None)
        self._thread.join()

    # On the writing thread.

    def _write_batches(self) -> None:
        while (batch := self._batches.get()) is not None:
            kind, rows = batch
            try:
                self._segment(kind).append(b"\n".join(rows) + b"\n")
            except OSError as error:
                self.dropped += len(rows)
                log.error("%d rows of the inference log are lost: %s", len(rows), error)
            self._waiting -= sum(map(len, rows))
        for segment in self._segments.values():
            segment.close()

    def _segment(self, kind: str) -> Segment:
        segment, now = self._segments.get(kind), time.time()
        if segment and (
            segment.size >= self._segment_bytes or now - segment.started >= self._segment_seconds
        ):
            segment.close()
            segment = None
        if segment is None:
            segment = self._segments[kind] = Segment(self._folder / kind, now)
        return segment


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


def files(folder: Path, kind: str) -> tuple[list[str], list[str]]:
    """The Parquet files and the segments that are not in Parquet yet, oldest first."""
    parquet = sorted((folder / kind).glob("*.parquet"))
    done = {p.stem for p in parquet}
    segments = sorted(p for p in (folder / kind).glob("*.ndjson") if p.stem not in done)
    return [str(p) for p in parquet], [str(p) for p in segments]


def _read_segments(kind: str, segments: list[str]) -> str:
    """A table expression over segments.

    The last line of a gateway that was killed may be half a line: it is passed over.
    """
    types = ", ".join(f"'{name}': '{type_}'" for name, type_ in COLUMNS[kind].items())
    return (
        f"(SELECT * FROM read_json({_texts(segments)}, columns={{{types}}}, "  # noqa: S608
        "format='newline_delimited', ignore_errors=true) WHERE request_id IS NOT NULL)"
    )


def _source(folder: Path, kind: str) -> str:
    """A table expression over one kind's files. It holds our own file names and nothing else."""
    parquet, segments = files(folder, kind)
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
FROM requests LEFT JOIN (
  SELECT request_id,
         max(value) FILTER (kind = 'label') AS label,
         max("at") FILTER (kind = 'label') AS label_at,
         map_from_entries(list({'k': kind, 'v': value})) AS feedback
  FROM feedback GROUP BY request_id) USING (request_id)
"""


def open_log(folder: str | os.PathLike[str]) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection with the views of this module over a log as it is now.

    Open it again to see later rows. Rows are visible at most two seconds after the answer.
    """
    import duckdb

    root = Path(folder)
    connection = duckdb.connect(":memory:")
    connection.execute(f"CREATE VIEW requests AS SELECT * FROM {_source(root, REQUESTS)}")  # noqa: S608
    connection.execute(_FEEDBACK_VIEW.format(source=_source(root, FEEDBACK)))
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
    """``compact DIR``: one round of compaction."""
    if len(arguments) != 2 or arguments[0] != "compact":
        sys.stderr.write("usage: python -m slipway.stores.inference_log compact DIR\n")
        return 2
    turned = compact(Path(arguments[1]), time.time())
    sys.stdout.write(f"{turned} segments compacted\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
