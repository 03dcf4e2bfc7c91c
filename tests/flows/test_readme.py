"""The README's commands, as they stand: each is run here, or is known to be run elsewhere."""

from __future__ import annotations

import csv
import random
import re
import shlex

from small_project import MODEL
from workplace import ROOT, Done, Workplace

ELSEWHERE = {
    "make demo": ".ci/run",
    "make test": ".ci/run",
    ".venv/bin/slipway stop": "tests/flows/conftest.py",
    ".venv/bin/slipway release churn": "tests/e2e/test_new_model.py",
}
HERE = {
    ".venv/bin/slipway status": (0, f"{MODEL}  idle"),
    ".venv/bin/slipway history flights": (0, "promoted"),
    ".venv/bin/slipway why flights": (0, "no baseline"),
    ".venv/bin/slipway verify": (0, f"{MODEL}: "),
    ".venv/bin/slipway new churn --data customers.csv --target churned --unit customer_id": (
        0,
        "churn is ready",
    ),
    '.venv/bin/slipway rollback churn --reason "support reports wrong answers"': (
        2,
        "there is no model 'churn' on record",  # it is laid down, and not released yet
    ),
}


def _shown() -> list[str]:
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    return [line.split("  #")[0].strip() for b in blocks for line in b.splitlines() if line]


def _run(place: Workplace, command: str) -> Done:
    words = [MODEL if word == "flights" else word for word in shlex.split(command)[1:]]
    return place.slipway(*words)


def _customers(place: Workplace) -> None:
    """A file as its readers have one: who left, and what they paid."""
    draw = random.Random(3)
    with (place.project.parent / "customers.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["customer_id", "months", "paid", "plan", "churned"])
        for number in range(600):
            months, paid = draw.randrange(48), round(draw.uniform(5, 90), 2)
            churned = int(draw.random() < (0.8 if paid > 50 and months < 12 else 0.15))
            rows.writerow([f"c{number % 200}", months, paid, draw.choice("abc"), churned])


def test_every_command_of_the_readme_is_known() -> None:
    """A command that is new in the README must be run here, or said where it is."""
    assert set(_shown()) == set(ELSEWHERE) | set(HERE)
    assert [place for place in ELSEWHERE.values() if not (ROOT / place).exists()] == []


def test_the_readme_s_commands_do_what_it_says(released: Workplace) -> None:
    """In the README's order, on the small project in place of the flights."""
    _customers(released)
    for command in _shown():
        if command in HERE:
            code, said = HERE[command]
            done = _run(released, command)
            assert done.code == code, done
            assert said in done.out + done.err
