"""Docker engines of a test's own: each in a network namespace, as if on a machine of its own.

The namespaces hang on one bridge in a namespace of its own, so that no firewall of this machine is
in between; this machine is on it too, at the first address. Needs root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from real_prefect import until

from slipway.engine import connected
from slipway.errors import RuntimeFailure

SUBNET = "10.213.47"
SWITCH = "slipway-switch"
UPLINK = "slipway-up"
HERE = f"{SUBNET}.1"


@dataclass
class Node:
    """One engine.

    Args:
        name: of its namespace.
        ip: its address on the bridge.
        folder: its data, socket and log.
        process: the engine, while it runs.
    """

    name: str
    ip: str
    folder: Path
    options: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """As ``DOCKER_HOST`` takes it."""
        return f"unix://{self.folder}/docker.sock"

    def start(self) -> None:
        """Start the engine and wait until it answers."""
        command = ["nsenter", f"--net=/var/run/netns/{self.name}", "dockerd"]
        command += ["--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"]
        command += ["--pidfile", f"{self.folder}/pid", "--host", self.address, *self.options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self.answers, 60, f"the engine {self.name}")

    def answers(self) -> bool:
        """Whether the engine answers."""
        assert self.process is None or self.process.poll() is None, self.tail()
        try:
            with connected(self.address, timeout=5):
                return True
        except RuntimeFailure:
            return False

    def tail(self) -> str:
        """The end of its log."""
        return (self.folder / "log").read_text()[-2000:]

    def end(self, *, kill: bool = False) -> None:
        """End the engine; killed, as by a lack of memory."""
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.wait(60)
            self.process = None
            # Its containerd ends a moment later; an engine started before would wait for it.
            pid = (self.folder / "exec/containerd/containerd.pid").read_text()
            until(lambda: not (Path("/proc") / pid).exists(), 30, "the end of containerd")

    def lose(self) -> None:
        """Cut the node off and end all that runs on it, as a power failure does."""
        run("ip", "-n", SWITCH, "link", "set", self.name, "down")
        self.end(kill=True)
        self.end_containers()

    def end_containers(self) -> None:
        """End containerd and what it supervises: all processes whose command names the folder."""
        for proc in Path("/proc").glob("[0-9]*"):
            if str(self.folder) in _command(proc) and int(proc.name) != os.getpid():
                _end_tree(int(proc.name))

    def load(self, archive: Path) -> None:
        """Load an image's archive."""
        with connected(self.address) as engine, archive.open("rb") as stream:
            engine.images.load(stream)


def _command(proc: Path) -> str:
    """The command line of a process; nothing once it has ended."""
    try:
        return (proc / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _end_tree(pid: int) -> None:
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    ).stdout.split()
    for one in (*map(int, children), pid):
        try:
            os.kill(one, 9)
        except ProcessLookupError:
            continue


def run(*command: str) -> None:
    """Run a command to its end; it must succeed."""
    subprocess.run(command, check=True, capture_output=True)


def swarm(manager: Node, *workers: Node) -> None:
    """Make one swarm of nodes."""
    with connected(manager.address) as one:
        one.swarm.init(advertise_addr=manager.ip, listen_addr=manager.ip)
        token = one.swarm.attrs["JoinTokens"]["Worker"]
    for node in workers:
        with connected(node.address) as engine:
            engine.swarm.join([manager.ip], token, advertise_addr=node.ip, listen_addr=node.ip)


@contextmanager
def nodes(count: int, *options: str) -> Iterator[list[Node]]:
    """Engines that see each other; ended, with all they made, afterwards."""
    with ExitStack() as undo:
        run("ip", "netns", "add", SWITCH)
        undo.callback(run, "ip", "netns", "delete", SWITCH)
        run("ip", "-n", SWITCH, "link", "add", "switch", "type", "bridge")
        run("ip", "-n", SWITCH, "link", "set", "switch", "up")
        run("ip", "link", "add", UPLINK, "type", "veth", "peer", "name", UPLINK, "netns", SWITCH)
        undo.callback(run, "ip", "link", "delete", UPLINK)
        run("ip", "-n", SWITCH, "link", "set", UPLINK, "master", "switch", "up")
        run("ip", "address", "add", f"{HERE}/24", "dev", UPLINK)
        run("ip", "link", "set", UPLINK, "up")
        yield [undo.enter_context(_node(number, options)) for number in range(1, count + 1)]


@contextmanager
def _node(number: int, options: Sequence[str]) -> Iterator[Node]:
    name, ip = f"slipway-n{number}", f"{SUBNET}.{number + 1}"
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    node = Node(name, ip, folder, options)
    with ExitStack() as undo:
        undo.callback(_remove, folder)
        run("ip", "netns", "add", name)
        undo.callback(run, "ip", "netns", "delete", name)
        inside, outside = ("ip", "-n", name), ("ip", "-n", SWITCH)
        peer = ("peer", "name", name, "netns", SWITCH)
        run(*inside, "link", "add", "eth0", "type", "veth", *peer)
        run(*outside, "link", "set", name, "master", "switch", "up")
        run(*inside, "address", "add", f"{ip}/24", "dev", "eth0")
        run(*inside, "link", "set", "eth0", "up")
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "route", "add", "default", "via", HERE)
        undo.callback(node.end_containers)
        undo.callback(node.end, kill=True)  # nothing of it is kept
        node.start()
        yield node


def _remove(folder: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    for line in reversed(mounts):
        if str(folder) in (place := line.split()[4]):
            subprocess.run(["umount", "-l", place], check=False)
    shutil.rmtree(folder, ignore_errors=True)
