"""Slipway's image of a bundle beside the one of MLflow's own Dockerfile, from the same base.

    python benchmarks/images.py [--base slipway-base:bookworm] [--rounds 3]

One logistic pipeline, trained with several strengths. MLflow's Dockerfile is what ``mlflow models
generate-dockerfile`` writes, with nothing changed but the name of its base: Python's own image
cannot be had everywhere, so both start from a base that can, with what MLflow's steps expect of
Python's image added to it (``python`` beside ``python3``, and leave for pip to install).

Timed by the clock: the first build, with no cache; then, in turn, builds of another model with the
same packages; then builds of the same model again. Each image is asked a row at the end. Needs a
Docker engine with the base image, and a package index.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from server_models import Model, logistic

from slipway import sealed
from slipway.engine import connected
from slipway.release import Bundle, digest
from tasks.image import build

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
AS_PYTHONS_OWN = f"""
RUN ln -s /usr/bin/python3 /usr/local/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
ENV PIP_CERT={CERTIFICATES}
"""
NAME = f"bench-{os.getpid()}"
SECONDS = 300


class Ours:
    """Slipway's build."""

    name = "Slipway"

    def __init__(self, base: str, models: list[Model]) -> None:
        self.base, self.models = base, models
        # A date and a pip of this run alone: nothing is there to stand on.
        now = int(time.time())
        self.environ = {**os.environ, "SOURCE_DATE_EPOCH": str(now)}
        self.environ["PIP_DEFAULT_TIMEOUT"] = str(1000 + now % 10_000)

    def build(self, number: int, first: bool = False) -> str:
        """Build the image of a model. Its id."""
        place = self.models[number].folder / "bundle-onnx"
        bundle = Bundle(digest(number), "onnx", sealed.contents(place), str(place))
        return build(NAME, bundle, self.base, say=lambda _: None, environ=self.environ).content


class Theirs:
    """MLflow's Dockerfile and the engine's own command line."""

    name = "MLflow"

    def __init__(self, base: str, models: list[Model], folder: Path) -> None:
        self.folder, self.base = folder, f"{NAME}-mlflow:base"
        run(["docker", "build", "-t", self.base, "-"], said=f"FROM {base}{AS_PYTHONS_OWN}")
        for number, model in enumerate(models):
            self._write(folder / str(number), model)

    def _write(self, place: Path, model: Model) -> None:
        command = [sys.executable, "-m", "mlflow", "models", "generate-dockerfile"]
        run([*command, "-m", str(model.folder / "mlflow"), "-d", str(place)])
        file = place / "Dockerfile"
        file.write_text(re.sub(r"(?m)^FROM .*", f"FROM {self.base}", file.read_text()))

    def build(self, number: int, first: bool = False) -> str:
        """Build the image of a model. Its id."""
        tag, fresh = f"{NAME}-mlflow:{number}", ["--no-cache"] if first else []
        command = ["docker", "build", "--network=host", *fresh, "-t", tag]
        run([*command, str(self.folder / str(number))])
        return run(["docker", "image", "inspect", "-f", "{{.Id}}", tag]).strip()


def run(command: list[str], said: str = "") -> str:
    """Run a command to its end. What it printed; what went wrong ends the benchmark."""
    done = subprocess.run(command, input=said, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def timed(builder: Ours | Theirs, number: int, first: bool = False) -> tuple[float, str]:
    """Seconds that a build takes, and the image's id."""
    began = time.perf_counter()
    image = builder.build(number, first)
    return time.perf_counter() - began, image


def ask(image: str, model: Model) -> Any:
    """What a container of an image says of the model's row."""
    with container(image) as port:
        return _post(port, model.split())


@contextlib.contextmanager
def container(image: str) -> Iterator[int]:
    """A container that is ready, on a port of loopback; removed afterwards."""
    with connected() as engine:
        made = engine.containers.run(image, detach=True, ports={"8080/tcp": ("127.0.0.1", None)})
        try:
            made.reload()
            port = int(made.ports["8080/tcp"][0]["HostPort"])
            deadline = time.monotonic() + SECONDS
            while not _ready(port):
                if time.monotonic() > deadline:
                    raise SystemExit(made.logs().decode()[-2000:])
                time.sleep(0.1)
            yield port
        finally:
            made.remove(force=True)


def _ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    return False


def _post(port: int, body: Any) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        told = {"content-type": "application/json"}
        connection.request("POST", "/invocations", json.dumps(body), told)
        return json.load(connection.getresponse())["predictions"][0]


def added(image: str, base: str) -> int:
    """The bytes that an image adds to its base."""
    with connected() as engine:
        whole, below = (engine.images.get(name).attrs["Size"] for name in (image, base))
    return int(whole - below)


def forget() -> None:
    """Remove the images of this run."""
    listed = run(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}"]).split()
    mine = [each for each in listed if NAME in each]
    if mine:
        run(["docker", "image", "rm", *mine])


def measure(base: str, rounds: int, folder: Path) -> None:
    """Build, ask and print."""
    models = [logistic(folder / f"model-{n}", 0.5**n) for n in range(rounds + 1)]
    builders = [Ours(base, models), Theirs(base, models, folder)]
    firsts = [timed(each, 0, first=True) for each in builders]
    others = [[timed(each, n)[0] for each in builders] for n in range(1, rounds + 1)]
    again = [[timed(each, 0)[0] for each in builders] for _ in range(rounds)]
    bytes_added = [added(image, base) for _, image in firsts]
    answers = [ask(image, models[0]) for _, image in firsts]
    print("| | first build, s | another model, s | unchanged, s | added to the base, MB |")
    print("|---|---|---|---|---|")
    for at, each in enumerate(builders):
        new, same = (statistics.median(row[at] for row in rows) for rows in (others, again))
        size = bytes_added[at] / 1e6
        print(f"| {each.name} | {firsts[at][0]:.1f} | {new:.2f} | {same:.2f} | {size:.1f} |")
    size, new = (
        bytes_added[1] / bytes_added[0],
        statistics.median(theirs / ours for ours, theirs in others),
    )
    print(f"\nadded size {size:.1f} times smaller, another model {new:.0f} times faster")
    print(f"one row, asked of both: {answers[0]} and {answers[1]}")


def main() -> None:
    """The program."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--base", default="slipway-base:bookworm")
    options.add_argument("--rounds", type=int, default=3)
    told = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            measure(told.base, told.rounds, Path(folder))
        finally:
            forget()


if __name__ == "__main__":
    main()
