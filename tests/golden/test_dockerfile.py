"""The rendered Dockerfile, compared as whole text; no engine is needed."""

from pathlib import Path

import pytest

from slipway.errors import SpecError
from slipway.image.recipe import dockerfile

GOLDEN = Path(__file__).with_name("Dockerfile.golden")


def test_the_rendered_dockerfile() -> None:
    """What the project's template gives for Python's own image is this text, to the last byte."""
    assert dockerfile("python:3.11-slim") == GOLDEN.read_text()


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    """A user's file takes the template's place, with its shell variables left alone."""
    mine = tmp_path / "Dockerfile"
    mine.write_text("FROM @{base}\nENV WHO=me@example.org\nRUN echo ${HOME} $PATH {}\n")
    text = dockerfile("my/base:1", mine)
    assert text == "FROM my/base:1\nENV WHO=me@example.org\nRUN echo ${HOME} $PATH {}\n"


@pytest.mark.parametrize("placeholder", ["@{bass}", "@{}"])
def test_an_unknown_placeholder_is_named(tmp_path: Path, placeholder: str) -> None:
    """A placeholder that there is not is an error that tells the file and the known one."""
    (tmp_path / "Dockerfile").write_text(f"FROM {placeholder}\n")
    with pytest.raises(SpecError, match="unknown placeholders") as told:
        dockerfile("base", tmp_path / "Dockerfile")
    assert str(tmp_path) in told.value.where
    assert "@{base}" in told.value.do


def test_a_template_that_is_not_there(tmp_path: Path) -> None:
    """A missing file is an error at image.dockerfile."""
    with pytest.raises(SpecError, match="cannot be read") as told:
        dockerfile("base", tmp_path / "none")
    assert told.value.where.startswith("image.dockerfile")
