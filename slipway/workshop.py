"""Running a team's own code in a process of its own: started, limited, ended, and read.

The other side is ``slipway.child``, where requests and results are described.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slipway import errors

# One thread and one hash seed: floating-point sums depend on how the work is split, sets on hashes.
FIXED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
    "PYTHONUNBUFFERED": "1",
}
FAILURE = {"snapshot": errors.DataError, "train": errors.TrainerError}
SECTION = {"snapshot": "data", "train": "trainer"}
LAST_LINES = 15


def run(
    verb: str,
    request: Mapping[str, Any],
    *,
    python: str = "",
    cwd: Path,
    timeout: float,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Do one verb in a child process, and give its result.

    The child's output goes to ``<out>/<verb>.log``; request and result are kept beside it. Its
    whole process group is ended when the limit is passed, and when this process is interrupted or
    ends in any other way.

    Args:
        verb: ``snapshot`` or ``train``.
        request: as ``slipway.child`` describes; ``out`` is the folder to write into.
        python: the interpreter of the team's environment; empty for this one.
        cwd: where the child starts: the model's folder.
        timeout: its limit, in seconds.
        env: more environment variables.

    Raises:
        DataError, TrainerError: the child said so, ran past its limit, or ended without a result.
        RuntimeFailure: the interpreter cannot be started.
    """
    out = Path(request["out"]).resolve()
    out.mkdir(parents=True, exist_ok=True)
    asked, told, log = (out / f"{verb}.{end}" for end in ("request.json", "result.json", "log"))
    asked.write_text(json.dumps({**request, "out": str(out)}, indent=1, sort_keys=True))
    told.unlink(missing_ok=True)
    command = [python or sys.executable, "-m", "slipway.child", verb, str(asked), str(told)]
    code = _run_group(command, cwd, _environment(python, env), log, timeout)
    failure, section = FAILURE[verb], SECTION[verb]
    if code is None:
        raise failure(
            f"the {section}'s code ran past its limit of {timeout:g} s and was ended",
            where=_tail(log),
            do=f"raise {section}.timeout in slipway.yaml, or give it less to do",
        )
    if code != 0 or not told.exists():
        raise failure(
            f"the {section}'s process {_how(code)} and left no result",
            where=_tail(log),
            do="its last lines tell why; an end by signal 9 is often a lack of memory",
        )
    return _read(json.loads(told.read_text()), log)


def _run_group(
    command: list[str], cwd: Path, env: dict[str, str], log: Path, timeout: float
) -> int | None:
    """Run a command in a process group of its own; its exit code, or None past the limit."""
    lifeline, held = os.pipe()
    env["SLIPWAY_LIFELINE"] = str(lifeline)
    try:
        process = _start(command, cwd, env, log, lifeline)
        try:
            return process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end_group(process)
    finally:
        os.close(lifeline)
        os.close(held)


def _start(
    command: list[str], cwd: Path, env: dict[str, str], log: Path, lifeline: int
) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        try:
            return subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(lifeline,),
            )
        except OSError as error:
            raise errors.RuntimeFailure(
                f"the interpreter '{command[0]}' cannot be started: {error.strerror}",
                where="trainer.python",
                do="give the path of the Python of the environment that your code runs in",
            ) from error


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the group: the child itself, and anything it started."""
    with contextlib.suppress(ProcessLookupError):  # all of it has ended by itself
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(python: str, env: Mapping[str, str] | None) -> dict[str, str]:
    """This process's environment with threads and hash seed fixed.

    Where the child runs on this very interpreter it also finds this very Slipway, installed or
    not; another interpreter has its own.
    """
    found = {**os.environ, **FIXED, **(env or {})}
    if not python or Path(python) == Path(sys.executable):
        here = str(Path(__file__).resolve().parent.parent)
        found["PYTHONPATH"] = os.pathsep.join(p for p in (here, found.get("PYTHONPATH")) if p)
    return found


def _read(answer: Mapping[str, Any], log: Path) -> dict[str, Any]:
    if answer["ok"]:
        return dict(answer["result"])
    told = answer["error"]
    kind: type[errors.SlipwayError] = getattr(errors, told["type"])
    raise kind(told["what"], where=told["where"], do=f"{told['do']} (log: {log})")


def _how(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LAST_LINES:]
    return "\n".join([str(log), *(f"         | {line}" for line in lines)])
