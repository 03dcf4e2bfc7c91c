"""Bad input: one clear error, a non-zero exit code, and a world as it was before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from small_project import MODEL
from workplace import Done, Workplace, until


@pytest.fixture
def untouched(released: Workplace) -> Iterator[Workplace]:
    """The released home; afterwards it is as it was, and runs what it ran."""
    heads, processes = released.heads(), released.processes()
    bundles, manifests = _made(released)
    yield released
    assert released.heads() == heads
    assert _made(released) == (bundles, manifests)
    assert released.left_behind() == []
    until(lambda: released.processes() <= processes, 20, "the end of what the run started")


def _made(place: Workplace) -> tuple[set[str], int]:
    """The bundles, and how many versions the registry knows."""
    from mlflow import MlflowClient

    versions = MlflowClient(f"sqlite:///{place.root}/mlflow.db").search_model_versions()
    return {p.name for p in (place.root / "bundles").iterdir()}, len(versions)


def _refused(done: Done, *said: str) -> None:
    """One error in three lines' shape: what, where, what to do; and no traceback beside it."""
    assert done.code == 1, done.err
    for words in said:
        assert words in done.err
    assert done.err.count("  where: ") == 1
    assert done.err.count("  do: ") == 1
    assert "Traceback" not in done.err


# What is refused before anything starts.

EARLY: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "requests forgotten too early": (
        {"rollout.review.after": 604800, "serving.log.keep_days": 1},
        ("requests are kept for 1 days", "ask for those of 7", "serving.log.keep_days"),
    ),
    "three faults": (
        {"trainer.sead": 1, "rollout.lease_seconds": 0.1, "data.target": None},
        ("3 faults", "trainer.sead: unknown key", "did you mean 'seed'", "rollout.lease_seconds",
         "data.target"),
    ),
    "unknown strategy": ({"rollout.strategy": "roulette"}, ("'roulette'", "canary")),
    "no gates": (
        {"expectations": "expectations/no_gates"},
        ("holds no [[offline]] gate", "gate: there is none"),
    ),
    "no edge cases": ({"expectations": "expectations/no_cases"}, ("holds no cases",)),
    "unknown metric": ({"expectations": "expectations/odd_metric"}, ("'happiness'", "brier")),
    "changed rows": (
        {"expectations": "expectations/changed_rows"},
        ("the fixed dataset was changed", "sha256:"),
    ),
    "no image's name": (
        {"model": "press-", "expectations": "expectations/press", "image.build": "auto"},
        ("'press-' cannot name an image", "image.build"),
    ),
    "no pack": ({"expectations": "expectations/none"}, ("lacks suite.json",)),
}  # fmt: skip


@pytest.mark.parametrize("case", EARLY)
def test_a_faulty_spec_is_refused_before_anything_starts(untouched: Workplace, case: str) -> None:
    """Every fault of a spec is named at once, with its path and what is allowed."""
    values, said = EARLY[case]
    pairs = [f"--set={path}={'null' if v is None else v}" for path, v in values.items()]
    _refused(untouched.slipway("release", str(untouched.project), *pairs), *said)


# What is refused by the data or the trainer, through the flow.

LATE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "missing column": (
        {"data__params": {"path": "no_load.csv"}},
        ("no column 'load'", "where: no_load.csv"),
    ),
    "empty file": ({"data__params": {"path": "empty.csv"}}, ("the data is empty",)),
    "one class": (
        {"data__params": {"path": "one_class.csv"}},
        ("the target 'failed' is 0 in all 400 rows",),
    ),
    "all-NaN feature": (
        {"data__params": {"path": "nothing_measured.csv"}},
        ("the feature 'temperature' is missing in all 400 rows",),
    ),
    "overlap": (
        {"data__params": {"path": "overlap.csv"}},
        ("3 rows of the fixed dataset are in the training data", "fixed_rows: drop"),
    ),
    "no file": ({"data__params": {"path": "nowhere.csv"}}, ("nowhere.csv",)),
    "trainer raises": (
        {"trainer__use": "train:raises"},
        ("raised ArithmeticError: the press is jammed", "train.py"),
    ),
    "trainer hangs": (
        {"trainer__use": "train:hangs", "trainer__timeout": 8},
        ("ran past its limit of 8 s", "trainer.timeout"),
    ),
    "no model": ({"trainer__use": "train:gives_no_model"}, ("returned a dict, which is no model",)),
    "unknown trainer": ({"trainer__use": "train:trane"}, ("no function 'trane'", "name one of")),
    "registry unreachable": (
        {"registry__tracking_uri": "http://127.0.0.1:9"},
        ("the model registry cannot be reached", "registry.tracking_uri"),
    ),
}


@pytest.mark.parametrize("case", LATE)
def test_what_cannot_be_trained_on_is_refused(untouched: Workplace, case: str) -> None:
    """Data or a trainer with a fault is one clear error, and nothing is made of it."""
    overrides, said = LATE[case]
    _refused(untouched.release(**overrides), *said)


def test_a_refusal_is_told_once_in_the_terminal(untouched: Workplace) -> None:
    """The command's stderr is Prefect's progress and then the error: no traceback drowns it."""
    done = untouched.slipway(
        "release", str(untouched.project), "--set", "data.params.path=no_load.csv"
    )
    _refused(done, "slipway release: the data has no column 'load'")
    assert done.out == ""


def test_a_full_disk_is_told_and_leaves_no_bundle(untouched: Workplace) -> None:
    """No room while the bundle is written: one clear error, and no half of a bundle."""
    asked = untouched.asked(trainer__params={"c": 3.0})
    done = untouched.strike("fill", "before:flows.release.bundle", "release", **asked)
    _refused(done, "the bundle cannot be written: File too large", "make room on the disk")


@pytest.mark.parametrize(
    ("action", "c", "said"),
    [
        ("swap", 0.02, ("is not the one that was released",)),
        ("doubt", 0.04, ("a replica failed its probe", "differ from the trained model's")),
    ],
)
def test_what_is_not_what_was_validated_is_refused(
    released: Workplace, action: str, c: float, said: tuple[str, ...]
) -> None:
    """Its bytes are held against the release, its answers against the model; nothing stays."""
    heads, running = released.heads(), released.processes()
    asked = released.asked(trainer__params={"c": c})
    done = released.strike(action, "before:flows.release.open_for", "release", **asked)
    _refused(done, *said)
    assert released.processes() == running
    assert released.heads() == heads


def test_of_two_releases_at_once_one_is_refused(untouched: Workplace) -> None:
    """While a release holds the model, a second one is refused at once."""
    with untouched.ledger.lock(MODEL):
        _refused(untouched.release(), "another release", MODEL)


def test_of_two_releases_at_once_one_waits_where_the_spec_says_so(untouched: Workplace) -> None:
    """Told to wait, the second says so, and goes on as soon as the first is done."""
    with untouched.ledger.lock(MODEL):
        child = untouched.start("release", str(untouched.project), "--set", "concurrency=wait")
        assert child.stderr is not None
        assert any("is under way: waiting" in line for line in child.stderr)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 0, err
    assert "it is live already" in out
