"""``python -m slipway.serving.gateway``: the gateway as a process and its workers."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from slipway.errors import SlipwayError, UsageError
from slipway.serving.metrics import Shared
from slipway.serving.process import announce
from slipway.serving.request_id import load_key
from slipway.serving.shared import Table
from slipway.serving.supervisor import Supervisor
from slipway.serving.worker import Common

if TYPE_CHECKING:
    from slipway.ports import LedgerStore

_REMEMBERED_FEEDBACK = 1 << 18
_REMEMBERED_RATES = 1 << 17


def parser() -> argparse.ArgumentParser:
    """The command line."""
    own = argparse.ArgumentParser(prog="python -m slipway.serving.gateway", description=__doc__)
    own.add_argument("--host", default="127.0.0.1")
    own.add_argument("--port", type=int, default=8700, help="0 for any free one")
    own.add_argument("--workers", type=int, default=1, help="processes that share the port")
    own.add_argument(
        "--ledger",
        default=os.environ.get("SLIPWAY_LEDGER", ""),
        help="URL of the ledger whose routes are served; best told by SLIPWAY_LEDGER, since every "
        "user of a machine may read a process's arguments",
    )
    own.add_argument("--log", required=True, type=Path, help="directory of the inference log")
    own.add_argument("--key-file", type=Path, help="secret of request ids and overrides")
    own.add_argument("--announce", default="", help="file to write pid, host and port to")
    own.add_argument("--name", default="", help="how this gateway signs what it serves")
    own.add_argument("--grace", type=float, default=10.0, help="seconds to drain on SIGTERM")
    own.add_argument("--tls-cert", default="", help="certificate chain (PEM); reread on SIGHUP")
    own.add_argument("--tls-key", default="", help="its private key (PEM)")
    own.add_argument(
        "--share-port", action="store_true", help="beside another gateway, to replace it"
    )
    own.add_argument("--compact-seconds", type=float, default=60.0, help="0: never from here")
    return own


def reserve_port(host: str, port: int, shared: bool) -> socket.socket:
    """A socket that holds the port for the workers, without listening.

    Raises:
        UsageError: the port is taken, and not meant to be shared.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if port and not shared:  # workers share the port: without this look, so would a stranger
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(probe, host, port)
    holder = socket.socket(family)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    _bind(holder, host, port)
    return holder


def _bind(end: socket.socket, host: str, port: int) -> None:
    try:
        end.bind((host, port))
    except OSError as error:
        raise UsageError(
            f"the gateway cannot listen: {error.strerror}",
            where=f"{host}:{port}",
            do="choose another --port, or end what listens there",
        ) from error


def _open_ledger(url: str) -> LedgerStore:
    from slipway.stores.sql_ledger import open_ledger

    return open_ledger(url)


def _raise_file_limit() -> None:
    """Every connection is a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))


def serve(options: argparse.Namespace) -> int:
    """Serve until told to stop. Returns the exit code."""
    if options.workers < 1:
        raise UsageError("a gateway has at least one worker", where="--workers")
    if not options.ledger:
        raise UsageError("no ledger is named", where="--ledger", do="name it in SLIPWAY_LEDGER")
    options.log.mkdir(parents=True, exist_ok=True)
    holder = reserve_port(options.host, options.port, options.share_port)
    port = holder.getsockname()[1]
    common = Common(
        host=options.host,
        port=port,
        log_folder=options.log,
        key=load_key(options.key_file or options.log / "gateway.key"),
        tls=(options.tls_cert, options.tls_key),
        grace_seconds=options.grace,
        metrics=Shared(options.workers + 1),
        feedback=Table(_REMEMBERED_FEEDBACK),
        buckets=Table(_REMEMBERED_RATES),
    )

    def ready() -> None:
        logging.getLogger(__name__).info(
            "serving at %s:%d, pid %d", options.host, port, os.getpid()
        )
        if options.announce:
            announce(options.announce, options.host, port)

    return Supervisor(
        common,
        options.workers,
        lambda: _open_ledger(options.ledger),
        name=options.name or f"{options.host}:{port}",
        compact_seconds=options.compact_seconds,
        ready=ready,
    ).run()


def main(arguments: Sequence[str]) -> int:
    """The program."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    _raise_file_limit()
    try:
        return serve(parser().parse_args(arguments))
    except SlipwayError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
