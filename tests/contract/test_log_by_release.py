"""What each release did lately is what the log's own rows say, however they are stored."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from slipway.serving.rows import RequestRow, constants_of
from slipway.stores.by_release import by_release
from slipway.stores.inference_log import REQUESTS, compact, files
from slipway.stores.log_writer import SEGMENT_SECONDS

NOW = 1_500_000_000.0


def _segment(folder: Path, began: float, rows: list[tuple[str, RequestRow]]) -> None:
    """A sealed segment, written as a gateway writes it."""
    import msgspec

    place = folder / REQUESTS
    place.mkdir(parents=True, exist_ok=True)
    lines = [
        constants_of("flights", arm, f"sha256:{arm}", 1) + msgspec.json.encode(row)[1:]
        for arm, row in rows
    ]
    (place / f"{int(began * 1000):013d}-1.ndjson").write_bytes(b"\n".join(lines) + b"\n")


def _row(number: int, at: float, cost: float | None = 0.5, *, ok: bool = True) -> RequestRow:
    status = 200 if ok else 502
    return RequestRow(f"r{number}", at, "N1", float(number), status=status, ok=ok, cost=cost)


@pytest.fixture()
def folder(tmp_path: Path) -> Path:
    """A log of one file in Parquet and one segment, with rows from before and in the last hour."""
    _segment(
        tmp_path,
        NOW - 3700,
        [("stable", _row(999, NOW - 3650))]
        + [("stable", _row(n, NOW - 3599 + n, ok=n != 7)) for n in range(1, 101)],
    )
    assert compact(tmp_path, NOW) == 1
    _segment(
        tmp_path,
        NOW - 60,
        [
            ("candidate", _row(1, NOW - 50, None)),
            ("candidate", _row(3, NOW - 1, None)),
            ("stable", _row(101, NOW - 40, None)),
            ("stable", _row(5, NOW + 1)),
        ],
    )
    return tmp_path


def test_the_last_hour_by_release(folder: Path) -> None:
    """Counts, exact quantiles, errors and costs, of Parquet and of what is not compacted yet."""
    candidate, stable = by_release(folder, NOW - 3600, NOW)
    assert candidate.arm == "candidate"
    assert (candidate.requests, candidate.p50_ms, candidate.errors) == (2, 2.0, 0.0)
    assert (candidate.cost, candidate.unknown) == (None, 2)
    assert (stable.requests, stable.p50_ms, stable.p95_ms, stable.p99_ms) == (101, 51, 96, 100)
    assert stable.errors == pytest.approx(1 / 101)
    assert (stable.cost, stable.unknown) == (50.0, 1)


def test_a_time_with_no_rows_has_no_releases(folder: Path) -> None:
    """Nothing is made up."""
    assert by_release(folder, NOW + 10, NOW + 20) == []


@pytest.mark.parametrize("began", [NOW - SEGMENT_SECONDS - 59, NOW - 1, NOW + 5])
def test_a_file_that_may_hold_a_row_of_the_time_is_read(tmp_path: Path, began: float) -> None:
    """A file's last row may be as much later than its name as rows may go into it."""
    _segment(tmp_path, began, [("stable", _row(1, NOW))])
    assert [one.requests for one in by_release(tmp_path, NOW, NOW + 1)] == [1]


def test_files_that_ended_before_are_not_opened(tmp_path: Path) -> None:
    """The last hour of a long log costs as much as that of a short one."""
    _segment(tmp_path, NOW - 7200, [("stable", _row(1, NOW - 7000))])
    assert files(tmp_path, REQUESTS, NOW - 3600) == ([], [])
    assert len(files(tmp_path, REQUESTS)[1]) == 1


def test_the_command_shows_all_of_it_and_refuses_what_is_no_number(folder: Path) -> None:
    """One line a release; a wrong argument shows the usage."""
    command = [sys.executable, "-m", "slipway.stores.by_release", str(folder)]
    shown = subprocess.run([*command, "1e6"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[1] for line in shown.splitlines()] == ["candidate", "stable"]
    assert "cost unknown" in shown.splitlines()[0]
    assert "p50 51.00 ms" in shown.splitlines()[1]
    wrong = subprocess.run([*command, "soon"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "usage" in wrong.stderr
