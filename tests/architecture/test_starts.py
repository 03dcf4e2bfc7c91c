"""What a short command may not import: help is asked for often, and waited for."""

import subprocess
import sys

HEAVY = ("sqlalchemy", "pydantic", "duckdb", "numpy", "docker", "cryptography", "rich", "yaml")
LOOK = """
import sys
from click.testing import CliRunner
from slipway.cli import cli

assert CliRunner().invoke(cli, sys.argv[1:]).exit_code == 0
print(*sorted(m for m in sys.modules if "." not in m))
"""


def test_help_imports_no_heavy_library() -> None:
    """Every command has its line in ``--help`` without being imported for it."""
    told = subprocess.run(
        [sys.executable, "-c", LOOK, "--help"], capture_output=True, text=True, check=True
    )
    assert not set(HEAVY) & set(told.stdout.split())


def test_every_heavy_command_is_there() -> None:
    """What ``--help`` names by text can be imported, and has help of its own."""
    import click

    from slipway import cli

    for name in cli.HEAVY:
        command = cli.cli.get_command(click.Context(cli.cli), name)
        assert command is not None
        assert command.get_short_help_str()
