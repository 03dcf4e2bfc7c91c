"""Prose that is held to the code: commands, the drawn lifecycle, links, and the spec's keys."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from slipway import lifecycle
from slipway.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
LINK = re.compile(r"!?\[[^]]*]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:\.venv/bin/)?slipway [^`\n#|]+")


def _typed(page: Path) -> Iterator[str]:
    """Every line of a page's shell blocks: what people copy and run."""
    for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(), re.DOTALL):
        yield from (line.strip() for line in block.replace("\\\n", " ").splitlines())


def _named(page: Path) -> Iterator[str]:
    """Every piece of code inside a sentence, which may name a command without its arguments."""
    prose = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    yield from (" ".join(c.split()) for c in re.findall(r"`([^`]+)`", prose))


def _commands(lines: Iterator[str]) -> list[str]:
    return [match.group().strip() for line in lines if (match := COMMAND.match(line))]


def _parse(command: str, *, whole: bool) -> None:
    """Let click find a command and, where it is shown whole, parse it; nothing is run."""
    words = shlex.split(command)[1:]
    group: click.Command = cli
    context = click.Context(cli, info_name="slipway")
    while isinstance(group, click.Group) and words and not words[0].startswith("-"):
        name, found, words = group.resolve_command(context, words)
        assert found is not None, f"there is no command '{name}'"
        group = found
    if whole:
        group.make_context(group.name, words, parent=context)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_shown_is_one(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page tells people to type has the command, the options and the arguments it names."""
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")  # pages say to set it
    for command in _commands(_typed(page)):
        _parse(command, whole=True)
    for command in _commands(_named(page)):
        _parse(command, whole=False)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """A link to a file of the project finds it."""
    targets = (t.split("#")[0] for t in LINK.findall(page.read_text()) if "://" not in t)
    lost = [t for t in targets if t and not (page.parent / t).exists()]
    assert lost == []


def test_the_drawn_lifecycle_is_the_table() -> None:
    """The diagram in the architecture page is the one that the code draws."""
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
    drawn = page.split("<!-- lifecycle:begin -->\n")[1].split("<!-- lifecycle:end -->")[0]
    assert drawn == f"```mermaid\n{lifecycle.diagram()}```\n"


def test_make_knows_what_the_pages_ask_of_it() -> None:
    """Every ``make TARGET`` that a page names is in the Makefile."""
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        lines = [*_typed(page), *_named(page)]
        asked = [line.split() for line in lines if line.startswith("make ")]
        assert {words[1] for words in asked if len(words) > 1} <= known, page


def test_every_decision_and_how_to_is_linked() -> None:
    """No page of the docs is left where nobody finds it."""
    linked = {
        (page.parent / target.split("#")[0]).resolve()
        for page in PAGES
        for target in LINK.findall(page.read_text())
        if "://" not in target
    }
    pages = {p.resolve() for p in ROOT.glob("docs/**/*.md")}
    assert sorted(p.name for p in pages - linked if p.parent not in linked) == []
