"""A helper process that imports a slow library while there is nothing to do yet.

Great Expectations takes ten seconds to import and Evidently fifteen. Each has a module here that
imports it at once, then answers one request line on its standard input, so the import runs
beside the loading of the data and never in the flow's own process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from slipway.errors import Refused

NICE = 10


class Warm:
    """Such a process, waiting for its one request."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.child = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        )
        # Two cores are few at a start, and nobody waits for this one yet.
        os.setpriority(os.PRIO_PROCESS, self.child.pid, NICE)

    def ask(self, request: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """Send the request and wait for the answer.

        Raises:
            Refused: the process failed or ran past ``timeout`` seconds; its last lines are told.
        """
        try:
            answer, said = self.child.communicate(json.dumps(request) + "\n", timeout=timeout)
        except subprocess.TimeoutExpired:
            self.child.kill()
            _, said = self.child.communicate()
            raise Refused(
                f"{self.module} took over {timeout:g} s", do="give it less data"
            ) from None
        if self.child.returncode != 0:
            last = " | ".join(said.strip().splitlines()[-3:])
            raise Refused(f"{self.module} failed: {last}", do="mend what it names")
        return dict(json.loads(answer.splitlines()[-1]))

    def end(self) -> None:
        """End the process, asked or not. A thread that waits for its answer is told it failed."""
        self.child.kill()
        self.child.wait()  # not communicate: that thread may be in it


_early: dict[str, Warm] = {}


@contextmanager
def early(*modules: str) -> Iterator[None]:
    """Start these modules' processes now, each for the first ``warm`` block that asks for it.

    Those that nobody asked for are ended with the block.
    """
    _early.update((module, Warm(module)) for module in modules)
    try:
        yield
    finally:
        for unused in filter(None, (_early.pop(module, None) for module in modules)):
            unused.end()


@contextmanager
def warm(module: str) -> Iterator[Warm]:
    """A warming process, ended with the block."""
    process = _early.pop(module, None) or Warm(module)
    try:
        yield process
    finally:
        process.end()


def answer_one(handle: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The child's side: read one request line, print one answer line. End of input ends it."""
    line = sys.stdin.readline()
    if line:
        sys.stdout.write(json.dumps(handle(json.loads(line))) + "\n")
