"""A stand-in for a cluster: the part of the Kubernetes API that our runtime calls, over real HTTP.

It is no Kubernetes. It keeps objects in memory, answers 404 and 409 as the API reference says, and
plays controller and kubelet in one: each pod of a Deployment is a real process of a real bundle, at
an address of its own on loopback.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from slipway.daemon import answers

Object = dict[str, Any]


@dataclass
class Pod:
    """One pod and its process."""

    name: str
    ip: str
    template: Object
    born: int
    process: subprocess.Popen[bytes]
    log: Path

    def record(self) -> Object:
        """As the API tells it."""
        code = self.process.poll()
        ready = code is None and answers(f"{self.ip}:8080", "/ping")
        state = {"running": {}} if code is None else {"terminated": {"exitCode": code}}
        status = {"name": "model", "ready": ready, "restartCount": 0, "state": state}
        return {
            "metadata": {
                **self.template["metadata"],
                "name": self.name,
                "creationTimestamp": f"2026-01-01T00:{self.born // 60:02}:{self.born % 60:02}Z",
            },
            "spec": {"containers": self.template["spec"]["containers"]},
            "status": {
                "podIP": self.ip,
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "containerStatuses": [{**status, "image": "", "imageID": ""}],
            },
        }


@dataclass
class SmallCluster:
    """The objects of one namespace.

    Args:
        bundles: image to the bundle that it serves.
        folder: for the pods' logs.
        forbidden: kinds that the account may not create.
    """

    bundles: Mapping[str, Path]
    folder: Path
    forbidden: frozenset[str] = frozenset()
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    pods: dict[str, list[Pod]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(2))
    lock: threading.RLock = field(default_factory=threading.RLock)

    def create(self, kind: str, body: Object) -> tuple[int, Object]:
        """An object, unless one of that name is there."""
        name = body["metadata"]["name"]
        if kind in self.forbidden:
            return 403, {"kind": "Status", "reason": "Forbidden"}
        if (kind, name) in self.objects:
            return 409, {"kind": "Status", "reason": "AlreadyExists"}
        self.objects[kind, name] = body
        self.reconcile()
        return 201, body

    def delete(self, kind: str, name: str) -> tuple[int, Object]:
        """Forget an object; a Deployment's pods end."""
        found = self.objects.pop((kind, name), None)
        if found is None:
            return 404, {"kind": "Status", "reason": "NotFound"}
        self.reconcile()
        return 200, found if kind == "services" else {"kind": "Status", "status": "Success"}

    def reconcile(self) -> None:
        """Run as many pods as each Deployment says."""
        wanted = {n: o["spec"] for (kind, n), o in self.objects.items() if kind == "deployments"}
        for name, spec in wanted.items():
            own = self.pods.setdefault(name, [])
            own += [
                self.started(name, spec["template"]) for _ in range(spec["replicas"] - len(own))
            ]
        for name in set(self.pods) - set(wanted):
            for pod in self.pods.pop(name):
                pod.process.terminate()
                pod.process.wait(20)

    def started(self, owner: str, template: Object) -> Pod:
        """A pod's process, at the next address."""
        number = next(self.numbers)
        ip, log = f"127.0.9.{number}", self.folder / f"{number}.log"
        serve = self.bundles[template["spec"]["containers"][0]["image"]] / "serve.py"
        command = [sys.executable, "-P", str(serve), "--host", ip, "--port", "8080"]
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file)
        return Pod(f"{owner}-{number}", ip, template, number, process, log)

    def answer(self, method: str, path: str, query: str, body: Object) -> tuple[int, Object | str]:
        """One request, by the paths of the API reference."""
        parts = path.strip("/").split("/")
        kind, *rest = parts[parts.index("namespaces") + 2 :]
        every = [pod for pods in self.pods.values() for pod in pods]
        if method == "POST":
            return self.create(kind, body)
        if method == "DELETE":
            return self.delete(kind, rest[0])
        if kind == "pods" and rest:
            return 200, next(p for p in every if p.name == rest[0]).log.read_text()
        if kind == "pods":
            chosen = dict(c.split("=") for c in parse_qs(query)["labelSelector"][0].split(","))
            found = [p for p in every if chosen.items() <= p.template["metadata"]["labels"].items()]
            return 200, {"kind": "PodList", "items": [pod.record() for pod in found]}
        found_one = self.objects[kind, rest[0]]
        if method == "PATCH":
            found_one["spec"] |= body["spec"]
            self.reconcile()
        return 200, found_one


@contextmanager
def small_cluster(bundles: Mapping[str, Path], folder: Path, *forbidden: str) -> Iterator[Path]:
    """Serve the API on loopback. Gives the path of its kubeconfig."""
    cluster = SmallCluster(bundles, folder, frozenset(forbidden))

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            sent = self.rfile.read(int(self.headers.get("content-length") or 0))
            url = urlsplit(self.path)
            with cluster.lock:
                body = json.loads(sent) if sent else {}
                status, told = cluster.answer(self.command, url.path, url.query, body)
            raw = told.encode() if isinstance(told, str) else json.dumps(told).encode()
            self.send_response(status)
            kind = "text/plain" if isinstance(told, str) else "application/json"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = do_PATCH = do_DELETE = do  # noqa: N815  the base class calls these

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever).start()
    try:
        yield _kubeconfig(folder / "kubeconfig", server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        cluster.objects.clear()
        cluster.reconcile()


def _kubeconfig(file: Path, port: int) -> Path:
    where = {"server": f"http://127.0.0.1:{port}"}
    file.write_text(
        json.dumps(
            {
                "clusters": [{"name": "small", "cluster": where}],
                "users": [{"name": "tester", "user": {}}],
                "contexts": [{"name": "small", "context": {"cluster": "small", "user": "tester"}}],
                "current-context": "small",
            }
        )
    )
    return file
