"""The child process from the parent's side: limited, ended whole, and read."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from slipway import workshop
from slipway.errors import DataError, RuntimeFailure

SOURCE = """
import os
import numpy as np, pandas as pd


def good(*, params, since, until):
    print("reading", params["rows"], "rows")
    random = np.random.default_rng(1)
    x = random.normal(size=params["rows"])
    return pd.DataFrame({"x": x, "y": (x > 0).astype(float)})


def broken(*, params, since, until):
    return params["nowhere"]


def dies(*, params, since, until):
    print("about to fail", flush=True)
    os._exit(9)


def killed(*, params, since, until):
    os.kill(os.getpid(), 9)


def fit(x, y, *, params, seed):
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression().fit(x, y.astype(int))
"""

# By itself, without a library to import, so that it hangs soon after it is started.
HANGS = """
import os, subprocess, sys, time


def hangs(*, params, since, until):
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open("pids", "w") as told:
        told.write(f"{os.getpid()} {helper.pid}")
    os.rename("pids", "pids.json")
    time.sleep(600)
"""


def wait_for(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    """Come back as soon as a condition holds."""
    ends, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < ends, "it did not come about"
        pause.wait(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs (one that has ended and was not yet waited for does not)."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, with a space in its name."""
    folder = tmp_path / "my model"
    folder.mkdir()
    (folder / "source.py").write_text(SOURCE)
    (folder / "slow.py").write_text(HANGS)
    return folder


def asked(folder: Path, source: str, out: str = "out") -> dict[str, Any]:
    """A snapshot request."""
    return {
        "folder": str(folder),
        "source": source if ":" in source else f"source:{source}",
        "params": {"rows": 200},
        "from": "",
        "until": "",
        "features": [{"name": "x", "kind": "number"}],
        "target": "y",
        "time": "",
        "unit": "",
        "fixed": "",
        "fixed_rows": "refuse",
        "out": str(folder / out),
    }


def test_the_same_inputs_are_the_same_bytes(folder: Path) -> None:
    """Two processes, one after the other, freeze and fit to the same digests."""
    results = []
    for out in ("one", "two"):
        request = asked(folder, "good", out)
        frozen = workshop.run("snapshot", request, cwd=folder, timeout=120)
        (folder / "fixed.csv").write_text("x,y\n0.5,1\n-0.5,0\n")
        more = {"snapshot": frozen["path"], "trainer": "source:fit", "params": {}, "seed": 1}
        fitted = {**request, **more, "fixed": str(folder / "fixed.csv"), "trusted": []}
        told = workshop.run("train", fitted, cwd=folder, timeout=120)
        results.append((frozen["content"], told["files"]))
    assert results[0] == results[1]
    assert set(results[0][1]) == {"model.skops", "model.onnx", "native_scores.json"}
    assert "reading 200 rows" in (folder / "one" / "snapshot.log").read_text()


def test_an_error_of_theirs_comes_back_as_ours(folder: Path) -> None:
    """Its type, its line and its log, across the process boundary."""
    with pytest.raises(DataError, match="'source:broken' raised KeyError: 'nowhere'") as raised:
        workshop.run("snapshot", asked(folder, "broken"), cwd=folder, timeout=120)
    assert "source.py:14 in broken" in raised.value.where
    assert "snapshot.log" in raised.value.do
    assert "Traceback" in (folder / "out" / "snapshot.log").read_text()


@pytest.mark.parametrize(
    ("function", "how"), [("dies", "ended with exit code 9"), ("killed", "ended by signal 9")]
)
def test_a_process_that_ends_without_a_result_is_told(
    folder: Path, function: str, how: str
) -> None:
    """No result is no success, whatever the exit code; its last lines are shown."""
    with pytest.raises(DataError, match=how) as raised:
        workshop.run("snapshot", asked(folder, function), cwd=folder, timeout=120)
    assert function == "killed" or "| about to fail" in raised.value.where


def test_an_earlier_result_is_not_taken_for_this_one(folder: Path) -> None:
    """A run that fails in a folder where one succeeded must fail."""
    workshop.run("snapshot", asked(folder, "good"), cwd=folder, timeout=120)
    with pytest.raises(DataError):
        workshop.run("snapshot", asked(folder, "dies"), cwd=folder, timeout=120)


def test_past_its_limit_the_whole_group_is_ended(folder: Path) -> None:
    """What it started itself ends with it, and the error says where to raise the limit."""
    with pytest.raises(DataError, match="ran past its limit of 3 s") as raised:
        workshop.run("snapshot", asked(folder, "slow:hangs"), cwd=folder, timeout=3)
    assert "raise data.timeout in slipway.yaml" in raised.value.do
    for pid in (folder / "pids.json").read_text().split():
        wait_for(lambda pid=pid: not alive(int(pid)))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_when_the_parent_ends_so_does_the_group(folder: Path, ending: signal.Signals) -> None:
    """Ctrl-C, a polite end, or none: nobody is left computing for a run that is over."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import json, signal, sys; from pathlib import Path; from slipway import workshop\n"
            # A shell's background job ignores Ctrl-C, and so would what it starts.
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "request = json.loads(sys.argv[1])\n"
            "workshop.run('snapshot', request, cwd=Path(request['folder']), timeout=600)",
            json.dumps(asked(folder, "slow:hangs")),
        ],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(workshop.__file__).parents[1])},
    )
    wait_for((folder / "pids.json").exists)
    parent.send_signal(ending)
    parent.wait(30)
    for pid in (folder / "pids.json").read_text().split():
        wait_for(lambda pid=pid: not alive(int(pid)))


def test_an_interpreter_that_is_not_there_is_told(folder: Path) -> None:
    """A wrong ``trainer.python`` is the spec's fault, not the trainer's."""
    with pytest.raises(RuntimeFailure, match="'/nowhere/python' cannot be started") as raised:
        workshop.run(
            "snapshot", asked(folder, "good"), python="/nowhere/python", cwd=folder, timeout=120
        )
    assert raised.value.where == "trainer.python"


def test_an_environment_without_slipway_says_so(folder: Path) -> None:
    """The team's environment needs Slipway and its libraries too; its own last line tells."""
    venv.create(folder / "empty")
    python = str(folder / "empty" / "bin" / "python")
    with pytest.raises(DataError, match="left no result") as raised:
        workshop.run("snapshot", asked(folder, "good"), python=python, cwd=folder, timeout=120)
    assert "No module named" in raised.value.where
