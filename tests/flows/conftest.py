"""One home, one Prefect server and one released model for all tests of the flows."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from small_project import MODEL, lay_down
from workplace import Workplace, environment

from slipway import collector
from tasks.prefect_server import connect


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workplace]:
    """A home with nothing in it but a Prefect server, and the project beside it."""
    place = tmp_path_factory.mktemp("flows here")  # a path with a space in it
    root = place / "home"
    environ = environment(root)
    server = connect(root, environ)  # names the server in the environment, for every child
    bench = Workplace(lay_down(place / "press"), root, environ)
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(environ):
            patch.delenv(name)
        for name, value in environ.items():
            patch.setenv(name, value)
        server.ready()
        from prefect.settings import PREFECT_API_URL, temporary_settings

        try:
            with temporary_settings({PREFECT_API_URL: server.url}):
                yield bench
        finally:
            collector.done()  # the flows ran in this very process
            assert bench.slipway("stop").code == 0
    assert not bench.processes()


@pytest.fixture(scope="session")
def released(bench: Workplace) -> Workplace:
    """The home with the small project's first release live in it."""
    done = bench.slipway("release", str(bench.project), "--actor", "tester")
    assert done.code == 0, done.err
    assert bench.events(MODEL) == ["opened", "promoted"]
    return bench
