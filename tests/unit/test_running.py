"""Where what runs for a home is looked for."""

from __future__ import annotations

from pathlib import Path

from slipway.container import scope
from slipway.home import Home
from slipway.running import runtimes


def test_containers_are_looked_for_once_a_launch_may_have_begun_some(tmp_path: Path) -> None:
    """A first launch that was killed has no entry, but the mark of its containers."""
    home = Home.of({"SLIPWAY_HOME": str(tmp_path / "home")})
    assert [terms.kind for terms, _ in runtimes(home)] == ["process"]
    assert scope(home.run / "docker") == scope(home.run / "docker")
    assert [terms.kind for terms, _ in runtimes(home)] == ["process", "docker"]
