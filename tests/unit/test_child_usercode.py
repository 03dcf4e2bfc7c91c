"""A team's own code: found by name, called, and its faults told by their own lines."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from slipway.child import usercode
from slipway.errors import DataError, TrainerError


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A model's folder with one module, forgotten again afterwards."""
    (tmp_path / "their_code.py").write_text(
        "import sys\n\n\n"
        "def double(x, *, by=2):\n    return x * by\n\n\n"
        "def broken():\n    return 1 / 0\n\n\n"
        "def leaves():\n    sys.exit(3)\n\n\n"
        "_hidden = len\nNOT_CALLABLE = 3\n"
    )
    (tmp_path / "half_written.py").write_text("import no_such_library\n")
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in ("their_code", "half_written"):
        sys.modules.pop(name, None)


def test_a_function_is_called_with_its_arguments(folder: Path) -> None:
    """Positional and named arguments arrive as given."""
    assert usercode.call("their_code:double", folder, DataError, 4, by=3) == 12


def test_what_it_raises_is_told_with_its_own_line(folder: Path) -> None:
    """The reader is sent to the line in their file, not to one of ours."""
    with pytest.raises(TrainerError) as raised:
        usercode.call("their_code:broken", folder, TrainerError)
    assert "ZeroDivisionError: division by zero" in raised.value.what
    assert raised.value.where == f"{folder / 'their_code.py'}:9 in broken: return 1 / 0"


def test_leaving_the_process_is_an_error_like_any_other(folder: Path) -> None:
    """``sys.exit`` in a trainer must not pass for a finished training."""
    with pytest.raises(TrainerError, match="raised SystemExit: 3"):
        usercode.call("their_code:leaves", folder, TrainerError)


@pytest.mark.parametrize("name", ["triple", "NOT_CALLABLE"])
def test_an_unknown_function_lists_the_known_ones(folder: Path, name: str) -> None:
    """A name that is no function is told, with those that are."""
    with pytest.raises(DataError, match=f"has no function '{name}'") as raised:
        usercode.find(f"their_code:{name}", folder, DataError)
    assert raised.value.do == "name one of: broken, double, leaves"


def test_a_module_that_cannot_be_imported_says_which_line(folder: Path) -> None:
    """A missing library in their module is their error, at their line."""
    with pytest.raises(DataError, match="importing 'half_written' raised ModuleNotFoundError") as e:
        usercode.find("half_written:load", folder, DataError)
    assert "half_written.py:1" in e.value.where


def test_a_module_that_is_not_there_names_the_folder(folder: Path) -> None:
    """Where it was looked for is the folder of the model."""
    with pytest.raises(DataError, match="No module named 'nowhere_at_all'") as raised:
        usercode.find("nowhere_at_all:load", folder, DataError)
    assert raised.value.where == str(folder)
