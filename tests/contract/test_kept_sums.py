"""Live looks go on from kept sums, and see what a whole read sees, whatever happens to the file."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from test_evidence_of_the_log import Log, assert_same

from slipway.evidence import Evidence
from slipway.gates import parse
from slipway.home import Home
from slipway.metrics import measures
from slipway.rehearsal import MODEL, Rehearsal
from slipway.standings import standings
from slipway.stores.evidence import SETTLED_SECONDS, LogEvidence
from slipway.stores.inference_log import main
from slipway.stores.kept import FORGET_SECONDS, file_of, held, longest
from slipway.testing import plan, table
from slipway.verdict import Outcome, Verdict
from tasks.observe import observe

GUARD = {"kind": "guardrail", "direction": "lower", "margin": {"relative": 0.1}}
LATE = {**GUARD, "metric": "wrong", "type": "rate", "maturity": 200, "coverage": 0.1}
P90 = {**GUARD, "metric": "latency", "type": "quantile", "q": 0.9}
ERROR = {**GUARD, "metric": "error", "type": "rate"}
GATES = {"gate": [ERROR, {**LATE, "metric": "brier", "type": "mean", "maturity": 0}, LATE, P90]}
GOAL = {**ERROR, "kind": "goal"}


def serve(played: Rehearsal, writer: Log, name: str, seconds: int) -> None:
    """A request each half a second, of few users, by the routes in force; half are labelled."""
    route, rng = played.state.route, random.Random(name)
    assert route is not None
    for i in range(2 * seconds):
        at, unit = played.clock() + i / 2, f"u{rng.randrange(400)}"
        arm, number = route.assign(unit), int(at * 2)
        writer.request(
            number, at=at, model=MODEL, unit=unit, arm=arm.name, release=arm.release,
            route=route.number, ok=rng.random() > 0.1, score=rng.random(),
            latency_ms=rng.lognormvariate(3.0, 0.5),
        )  # fmt: skip
        if number % 2:
            writer.label(number, at + rng.random() * 500.0, rng.random() < 0.3)
    writer.close(name)
    played.clock.advance(float(seconds))


def beside(log: Path, root: Path) -> Path:
    """The same log where no sums can be kept, so that all of it is read by each look."""
    root.mkdir(parents=True)
    for kind in ("requests", "feedback"):
        (root / kind).symlink_to(log / kind)
    (root / "sums").write_text("no folder")
    return root


def told(verdict: Verdict) -> Any:
    """A verdict as it is recorded, without figures in sentences: sums end differently there."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return re.sub(r"[-+\d.e]+", "", value) if isinstance(value, str) else value

    return plain(verdict.record())


def test_the_verdict_on_a_step_is_that_of_a_whole_read(tmp_path: Path) -> None:
    """At each of its looks, with labels that come late and a quantile's threshold."""
    home = Home(tmp_path, f"sqlite:///{tmp_path / 'ledger.db'}")
    whole = replace(home, root=tmp_path / "whole")
    played, writer = Rehearsal(plan([0.4], gates=GATES)), Log(home.log)
    played.release("A")
    played.tick()
    played.release("B")
    played.tick()
    serve(played, writer, "first", 500)
    beside(home.log, whole.log)
    for name in ("second", "third", "fourth"):
        serve(played, writer, name, 150)
        state, now = played.state, played.clock()
        seen = observe(home, state, now)
        assert_same(told(seen), told(observe(whole, state, now)))
    assert state.rollout is not None
    assert state.route is not None
    assert file_of(home.log, MODEL, state.rollout.id, state.route.number).exists()
    assert len(seen.gates) == len(GATES["gate"])
    assert seen.outcome is not Outcome.NOT_MEASURED


@pytest.mark.parametrize("rules", [{}, {"floor": 0.05, "shift_seconds": 0.0}])
def test_the_standings_of_a_league_are_those_of_a_whole_read(
    tmp_path: Path, rules: dict[str, float]
) -> None:
    """Whether shares are fixed or follow, before and after a member joins, which moves users."""
    log, gates = tmp_path / "log", {"gate": [GOAL, LATE]}
    played = Rehearsal(plan([0.6], strategy="league", league={"most": 3, **rules}, gates=gates))
    writer = Log(log)
    for name in ("A", "B", "C"):
        played.release(name)
        played.tick()
    serve(played, writer, "first", 400)
    whole = beside(log, tmp_path / "whole")
    for name in ("", "second", "D", "third", "fourth"):
        if name == "D":
            played.tick()  # the lease is out
            played.release("D")
            played.tick()
        elif name:
            serve(played, writer, name, 300)
        seen = standings(log, played.state, played.clock())
        assert_same(told(seen), told(standings(whole, played.state, played.clock())))
    rollout = played.state.rollout
    assert rollout is not None
    assert len(seen.standings) == len(rollout.members) == 3
    for first in {member.since for member in rollout.members}:
        assert file_of(log, MODEL, rollout.id, first).exists()


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Requests of 300 seconds."""
    writer = Log(tmp_path_factory.mktemp("sums") / "log")
    for i in range(300):
        writer.request(i, ok=i % 7 > 0, arm="candidate" if i % 3 else "stable")
    writer.close()
    return writer.folder


def look(
    log: Path, cache: Path | None, until: float = 300.0, settled: float = SETTLED_SECONDS
) -> Evidence:
    """One look at it."""
    asked = measures(parse({"gate": [ERROR, P90]}))
    source = LogEvidence(log, {}, cache, settled=settled)
    return source.observe("m", 3, asked, since=0.0, until=until)


@contextmanager
def another(script: str, file: Path) -> Iterator[None]:
    """Another process, once it has said that it has the file, until it is told to end."""
    program = [sys.executable, "-c", script, str(file)]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"True\n"
            yield
        finally:
            process.kill()


HOLDS = """
import sys
from pathlib import Path
from slipway.stores.kept import held
with held(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""
OPENS = """
import sys, duckdb
db = duckdb.connect(sys.argv[1])
print(True, flush=True)
sys.stdin.read()
"""


def test_a_look_beside_another_reads_all_itself(log: Path, tmp_path: Path) -> None:
    """It neither waits nor fails, and leaves the other's file alone; when that dies, it goes on."""
    cache = tmp_path / "m" / "1.duckdb"
    with another(HOLDS, cache):
        assert_same(look(log, cache), look(log, None))
        assert not cache.exists()
    assert_same(look(log, cache), look(log, None))
    assert cache.exists()


def test_a_file_that_a_person_has_opened_is_not_waited_for(log: Path, tmp_path: Path) -> None:
    """DuckDB lets one process have it; the sums are begun anew elsewhere by the next look."""
    cache = tmp_path / "1.duckdb"
    look(log, cache, 250.0)
    with another(OPENS, cache):
        assert_same(look(log, cache), look(log, None))
    assert_same(look(log, cache), look(log, None))
    assert cache.exists()


@pytest.mark.parametrize("damage", ["garbage", "empty", "half", "zeros", "journal"])
def test_a_damaged_file_is_thrown_away(log: Path, tmp_path: Path, damage: str) -> None:
    """The look sees what it would have seen, and the next one finds sound sums."""
    cache = tmp_path / "1.duckdb"
    look(log, cache, 250.0)
    good = cache.read_bytes()
    if damage == "journal":
        cache.with_name("1.duckdb.wal").write_bytes(b"no journal" * 100)
    else:
        zeros = good[:8192] + bytes(len(good) - 8192)
        bad = {"garbage": b"garbage" * 9999, "empty": b"", "half": good[: len(good) // 2]}
        cache.write_bytes(bad.get(damage, zeros))
    for until in (290.0, 300.0):
        assert_same(look(log, cache, until), look(log, None, until))
    with duckdb.connect(str(cache), read_only=True) as db:
        kept = 250.0 if damage == "journal" else 300.0  # DuckDB knows that it is none of its own
        assert db.execute("SELECT until FROM progress").fetchall() == [(kept - SETTLED_SECONDS,)]


@pytest.mark.parametrize("room", [0, 20_000, 200_000])
def test_a_full_disk_does_not_change_a_look(log: Path, tmp_path: Path, room: int) -> None:
    """No sums are kept then."""
    cache = tmp_path / "1.duckdb"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        seen = look(log, cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_same(seen, look(log, None))
    assert_same(look(log, cache), look(log, None))


LOOKS = """
import sys
from pathlib import Path
tests, log, cache = map(Path, sys.argv[1:])
sys.path.insert(0, str(tests))
from test_kept_sums import look
for tenth in range(1, 3000):
    look(log, cache, tenth / 10, settled=0.04)
    print(tenth, flush=True)
"""


def test_a_killed_look_leaves_what_the_next_can_use(log: Path, tmp_path: Path) -> None:
    """While it wrote: there is a journal then, and each of these looks writes."""
    cache, journal = tmp_path / "1.duckdb", tmp_path / "1.duckdb.wal"
    program = [sys.executable, "-c", LOOKS, str(Path(__file__).parent), str(log), str(cache)]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        while process.poll() is None and not journal.exists():
            pass
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert_same(look(log, cache), look(log, None))
    assert cache.exists()


def test_sums_that_nobody_goes_on_with_are_forgotten(log: Path, tmp_path: Path) -> None:
    """When the log is compacted; those of an open rollout, and those in use, stay."""
    old, taken, new = (file_of(tmp_path, model, "r", 1) for model in ("old", "taken", "new"))
    for file in (old, taken, new):
        look(log, file)
    long_ago = time.time() - FORGET_SECONDS - 1.0
    for file in (old, taken):
        os.utime(file, (long_ago, long_ago))
    with held(taken) as mine:
        assert mine
        assert main(["compact", str(tmp_path)]) == 0
    assert [file.exists() for file in (old, taken, new)] == [False, True, True]


@pytest.mark.parametrize(
    ("policy", "seconds"),
    [
        ({}, 22.0),
        ({"budget_ms": 30_000, "fallbacks": ["stable"]}, 150.0),
        ({"budgets_ms": {"stable": 100_000}, "fallbacks": []}, 300.0),
        ({"protocol": "http"}, None),
    ],
)
def test_a_row_is_waited_for_as_long_as_a_request_may_take(
    policy: dict[str, Any], seconds: float | None
) -> None:
    """Time budgets bound it; nothing bounds a stream, of which no sums are kept."""
    assert longest(replace(table(), policy=policy)) == seconds
