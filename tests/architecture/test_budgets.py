"""Sizes stay human, and tests keep the rules of the house."""

import ast
import re
import statistics

from source import ROOT, Function, dotted, functions, imported, place, python_files, tree

CODE = python_files("slipway", "flows", "tasks")
TESTS = [p for p in python_files("tests") if p.name.startswith("test_")]


def length(function: Function) -> int:
    """Lines of a function without its docstring and its signature's own lines."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 1


def test_no_file_is_over_500_lines() -> None:
    """A file is one idea."""
    long = {place(p): n for p in CODE if (n := len(p.read_text().splitlines())) > 500}
    assert not long, long


def test_functions_are_short() -> None:
    """None over 60 lines, nine in ten under 30, half of them under 10."""
    lengths = {place(p, f): length(f) for p in CODE for f in functions(p)}
    long = {where: n for where, n in lengths.items() if n > 60}
    assert not long, long
    assert statistics.median(lengths.values()) < 10
    assert statistics.quantiles(lengths.values(), n=10)[-1] < 30


def every_test() -> list[tuple[str, Function]]:
    """Every test function with its place."""
    found = [(place(p, f), f) for p in TESTS for f in functions(p)]
    return [(where, f) for where, f in found if f.name.startswith("test_")]


def test_every_test_says_in_a_sentence_what_it_shows() -> None:
    """A test without a docstring is a riddle to whoever breaks it."""
    assert not [where for where, f in every_test() if not (ast.get_docstring(f) or "").strip()]


def test_tests_sleep_for_no_time_and_leave_nothing_out() -> None:
    """A condition is waited for, never a time; and no test is skipped or expected to fail.

    Left out may be only what needs the material beside the project (``skipif``), or a real
    server or engine that is not there, which must fail where SLIPWAY_REAL asks for it.
    """
    found = []
    for path in TESTS:
        for node in ast.walk(tree(path)):
            name = dotted(node) if isinstance(node, ast.Attribute) else ""
            asked_for = name == "pytest.skip" and "SLIPWAY_REAL" in path.read_text()
            left_out = name in ("pytest.skip", "pytest.mark.skip", "pytest.mark.xfail")
            if name == "time.sleep" or (left_out and not asked_for):
                found.append(f"{place(path, node)} {name}")
    assert not found, "\n".join(found)


def test_every_test_is_run() -> None:
    """``make test`` names each tier, or each of its files: what it does not name, no CI runs."""
    named = set(re.findall(r"tests/[\w/.]+", (ROOT / "Makefile").read_text()))
    files = [p.relative_to(ROOT) for p in TESTS if p.name.startswith("test_")]
    assert not [str(p) for p in files if not named & {str(p), *map(str, p.parents)}]


def test_mocks_are_rare() -> None:
    """Fewer than five uses of mock per hundred tests: a fake that keeps the laws is better."""
    uses = [place(p, n) for p in TESTS for m, n in imported(p) if "mock" in m]
    uses += [
        place(p, n)
        for p in TESTS
        for n in ast.walk(tree(p))
        if isinstance(n, ast.Name) and n.id in ("Mock", "MagicMock", "AsyncMock", "mocker")
    ]
    assert len(uses) * 100 < 5 * len(every_test()), uses
