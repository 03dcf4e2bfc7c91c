"""``slipway new``: a complete, working model folder for someone's own CSV or Parquet file.

The folder is built beside its place, tried there with the very processes that a release uses
(snapshot, then training on what the fixed dataset leaves), and renamed when all of it holds.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from slipway import expectations, spec
from slipway.errors import Refused, UsageError
from slipway.new import pack, texts
from slipway.new.columns import Roles, form_of, look
from slipway.new.trial import Trial

Say = Callable[[str], object]


def lay_down(
    name: str,
    data: Path,
    target: str,
    time: str,
    unit: str,
    into: Path,
    *,
    say: Say = click.echo,
) -> Path:
    """Lay down a model folder, whole or not at all.

    Args:
        name: the model's name.
        data: the CSV or Parquet file; it is used where it lies, not copied.
        target: the column to predict: a number, or one of two values.
        time: the column that orders rows in time; empty for none.
        unit: the column that names who a row is about; empty for none.
        into: the folder to make; it may exist if it is empty.
        say: told what was found and decided, line by line.

    Returns:
        The folder, with ``slipway.yaml`` in it.

    Raises:
        UsageError: the name is not allowed, a column has two roles, or the folder is taken.
        DataError: the file is no table, lacks a column, or cannot be learnt from.
        Refused: the folder cannot be written.
    """
    roles = Roles(target, time, unit)
    _check_call(name, roles, into)
    data = data.resolve()
    today = datetime.now(tz=UTC).date().isoformat()
    told = texts.Told(name, data, form_of(data), roles, look(data, roles), today)
    for line in told.notes:
        say(line)
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{into.name}.", dir=into.parent) as beside:
            part = Path(beside).resolve() / into.name
            part.mkdir()
            _fill(part, told, say)
            part.rename(into)
    except OSError as error:
        raise Refused(
            f"the folder cannot be written: {error.strerror or error}",
            where=str(error.filename or into),
            do="make room on the disk, or name another place with --into",
        ) from error
    return into


def _check_call(name: str, roles: Roles, into: Path) -> None:
    if not re.fullmatch(spec.NAME, name):
        raise UsageError(
            f"'{name}' is no name for a model",
            do="use small letters, digits, '-' and '_', beginning with a letter; at most 63",
        )
    if len(set(roles.named)) < len(roles.named):
        raise UsageError(
            f"one column has two roles: {', '.join(roles.named)}",
            do="target, time and unit are three columns",
        )
    if into.is_symlink() or (into.exists() and not (into.is_dir() and not any(into.iterdir()))):
        raise UsageError(
            "the folder is there already, and is not empty",
            where=str(into),
            do="name another with --into, or remove it",
        )
    if into.resolve() == Path.cwd():
        raise UsageError("you stand in the folder that is to be made", do="call it from outside")


def _fill(part: Path, told: texts.Told, say: Say) -> None:
    """Write every file, each from what the ones before it gave."""
    target, two_valued = told.roles.target, told.columns.target.two_valued
    texts.write_code(part, told)
    trial = Trial(spec.load(part))
    rows = trial.snapshot(None)
    for name, value in pack.giveaways(rows, told.columns.features, target).items():
        say(
            f"WARNING: '{name}' follows '{target}' (correlation {value:g}): if it is not known "
            "before the answer is needed, take it out of slipway.yaml and the pack"
        )
    fixed, why = pack.choose_fixed(rows, target, told.roles.time, two_valued)
    frozen = texts.write_fixed(part, told, fixed, why)
    training = trial.snapshot(frozen)
    answers = trial.train(frozen)
    truth, mean = fixed[target].tolist(), float(training[target].mean())
    bounds, weak = pack.bounds(answers, truth, two_valued, mean)
    texts.write_expectations(part, told, rows, bounds)
    texts.write_readme(part, told, fixed, why)
    expectations.load(spec.load(part).pack)
    trial.close()
    say(f"fixed dataset: {len(fixed)} rows, {why}; {len(training)} are left to train on")
    say(f"the default model on the fixed dataset: {texts.measured(bounds)}")
    if weak:
        say(
            f"WARNING: that is no better than a guess ({weak}): its release will be refused until "
            "train.py or the data know more"
        )
