"""The writing side of the inference log: cheap on the request path, safe on disk within a second.

Rows are gathered on the event loop and handed, several times a second, to a thread that writes and
syncs them. A full or slow disk costs rows, which are counted, and never a request.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import msgspec

from slipway.serving.rows import FeedbackRow, RequestRow

log = logging.getLogger(__name__)

REQUESTS, FEEDBACK = "requests", "feedback"
SEGMENT_SECONDS = 600.0
"""How long rows may go into one segment, from the time that its name begins with."""
SEALED = 0o440
"""The mode of a segment that its writer has closed; one that was killed leaves another."""


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
        if self.size:
            os.fchmod(self._fd, SEALED)
        else:
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
        segment_seconds: float = SEGMENT_SECONDS,
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

    def request(self, constants: bytes, row: RequestRow) -> None:
        """Log one answered request; ``constants`` begin its JSON."""
        self._requests.append(constants + self._encode(row)[1:])

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
