"""An expectation pack from what the data shows: frozen rows, suite, edge cases, bounds of gates.

Everything here is made from rows that have been through the snapshot: ``number`` columns are
float64 with NaN for a missing value, ``text`` columns hold "" for one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from slipway.errors import DataError
from slipway.expectations import Scored, figure
from slipway.new.columns import LEAST_OF_A_CLASS, LEAST_ROWS

if TYPE_CHECKING:
    import pandas as pd

FIXED_SHARE = 0.2
FIXED_MOST = 2000
LEAST_FROZEN = 10
GIVEAWAY = 0.95
UNSEEN = "never-seen-before"


def choose_fixed(
    rows: pd.DataFrame, target: str, time: str, two_valued: bool
) -> tuple[pd.DataFrame, str]:
    """The rows to freeze, and why these: the newest, or a fifth by a hash of the row.

    Args:
        rows: all rows, oldest first where there is a time column.
        target, time: the columns of that role; ``time`` may be empty.
        two_valued: whether the target is 0 or 1; then the frozen rows hold both.

    Raises:
        DataError: too few rows differ for some to be kept apart from the training data.
    """
    rows = rows.drop_duplicates(rows.columns.difference([target]))
    rarest = int(rows[target].value_counts().min()) if two_valued else len(rows)
    if len(rows) < LEAST_ROWS or rarest < LEAST_OF_A_CLASS:
        raise DataError(
            f"only {len(rows)} rows differ in more than the target, {rarest} of the rarer kind: "
            "too few to keep some apart from the training data",
            where=f"the target '{target}'",
            do="name the columns that tell rows apart: --time, --unit",
        )
    size = min(FIXED_MOST, round(FIXED_SHARE * len(rows)))
    newest = rows.tail(size)
    if time and (not two_valued or _both(newest[target])):
        return newest, f"the newest rows, since {newest[time].iloc[0].isoformat()}"
    if two_valued:
        return _by_hash(rows, rows[target], size), "by a hash of the row, in each class its share"
    return _by_hash(rows, rows[target] * 0, size), "by a hash of the row"


def _both(target: pd.Series[Any]) -> bool:
    return target.nunique() == 2 and target.value_counts().min() >= LEAST_FROZEN


def _by_hash(rows: pd.DataFrame, classes: pd.Series[Any], size: int) -> pd.DataFrame:
    """The rows of the smallest hashes in each class, so that a rare class is there too."""
    import pandas as pd

    order = pd.util.hash_pandas_object(rows, index=False).sort_values(kind="stable").index
    shuffled = classes.loc[order]
    wanted = {
        name: max(LEAST_FROZEN, round(size * count / len(rows)))
        for name, count in shuffled.value_counts().items()
    }
    place = shuffled.groupby(shuffled).cumcount()
    chosen = place[place < shuffled.map(wanted)].index
    return rows.loc[chosen.sort_values()]


def giveaways(rows: pd.DataFrame, features: Mapping[str, str], target: str) -> dict[str, float]:
    """Number columns that nearly are the target, by correlation: known too late, perhaps."""
    numbers = [name for name, kind in features.items() if kind == "number"]
    close = rows[numbers].corrwith(rows[target]).round(3)
    return {str(name): float(value) for name, value in close[close.abs() > GIVEAWAY].items()}


# What the training data must be like


def suite(
    name: str, rows: pd.DataFrame, features: Mapping[str, str], target: str
) -> dict[str, Any]:
    """A Great Expectations suite with slack: data like these pass, a mix-up of columns does not."""
    made: list[dict[str, Any]] = [
        _expect("table_row_count_to_be_between", min_value=len(rows) // 2),
        _expect("column_values_to_not_be_null", column=target),
        *_target_expectations(rows[target]),
    ]
    for feature, kind in features.items():
        describe = _number_expectations if kind == "number" else _text_expectations
        made += describe(rows[feature])
    return {"name": name, "expectations": made}


def _expect(kind: str, **kwargs: Any) -> dict[str, Any]:
    return {"type": f"expect_{kind}", "kwargs": kwargs}


def _target_expectations(target: pd.Series[Any]) -> list[dict[str, Any]]:
    name = str(target.name)
    mean, spread = float(target.mean()), float(target.std())
    if set(target.unique()) == {0.0, 1.0}:
        return [
            _expect("column_values_to_be_in_set", column=name, value_set=[0, 1]),
            _expect(
                "column_mean_to_be_between",
                column=name,
                min_value=_short(mean / 2),
                max_value=_short((1 + mean) / 2),
            ),
        ]
    low, high = _near(mean - spread, spread), _near(mean + spread, spread)
    return [_expect("column_mean_to_be_between", column=name, min_value=low, max_value=high)]


def _number_expectations(column: pd.Series[Any]) -> list[dict[str, Any]]:
    """Nearly all within the seen range and a tenth of it; not much more missing than now."""
    name, slack = str(column.name), float(column.max() - column.min()) / 10
    made = [
        _expect(
            "column_values_to_be_between",
            column=name,
            min_value=_near(float(column.min()) - slack, slack),
            max_value=_near(float(column.max()) + slack, slack),
            mostly=0.99,
        )
    ]
    mostly = round(1 - 2 * float(column.isna().mean()) - 0.05, 2)
    if mostly > 0:
        made.append(_expect("column_values_to_not_be_null", column=name, mostly=mostly))
    return made


def _text_expectations(column: pd.Series[Any]) -> list[dict[str, Any]]:
    """Nearly all of the common texts; where there are too many, at least not mostly missing."""
    name, counts = str(column.name), column.value_counts()
    if len(counts) <= 50:
        known = sorted(map(str, counts.index))
        return [_expect("column_values_to_be_in_set", column=name, value_set=known, mostly=0.95)]
    known_share = 1 - float((column == "").mean())
    return [
        _expect(
            "column_value_lengths_to_be_between",
            column=name,
            min_value=1,
            mostly=round(known_share * 0.9, 2),
        )
    ]


# Requests whose answer must satisfy something


class Sent(NamedTuple):
    """A request, what to call it, and why it is there."""

    name: str
    input: Mapping[str, Any]
    why: str


def edge_cases(
    rows: pd.DataFrame, features: Mapping[str, str], must: Mapping[str, Any], since: str
) -> list[dict[str, Any]]:
    """Generic cases, each a change of the most typical real row.

    Args:
        must: what every answer must satisfy, such as ``{"between": [0, 1]}``.
        since: the day, ISO 8601.
    """
    numbers = [name for name, kind in features.items() if kind == "number"]
    row = _typical(rows[list(features)], numbers)
    extremes = {"smallest": rows[numbers].min(), "largest": rows[numbers].max()} if numbers else {}
    answered = [
        Sent("a typical row", row, "the everyday request"),
        Sent("nothing is known", dict.fromkeys(row), "a client may know the columns alone"),
        *(
            Sent(f"{name} was never seen", {**row, name: UNSEEN}, "new texts come up")
            for name in features
            if name not in numbers
        ),
        *(
            Sent(
                f"every number at its {which}",
                {**row, **_plain_row(values)},
                f"each as the {which} that the data hold; together they are news",
            )
            for which, values in extremes.items()
        ),
    ]
    refused = _wrong(row, numbers)
    return [
        {"name": case.name, "input": case.input, "must": demand, "why": case.why, "since": since}
        for cases, demand in ((answered, must), (refused, {"refused": True}))
        for case in cases
    ]


def _wrong(row: Mapping[str, Any], numbers: Sequence[str]) -> list[Sent]:
    """Requests that are the caller's fault."""
    first = next(iter(row))
    kind, value = ("text", "oops") if first in numbers else ("number", 7)
    rest = {name: value for name, value in row.items() if name != first}
    return [
        Sent(f"{first} is left out", rest, "a client's bug must not pass for a missing value"),
        Sent("an unknown column", {**row, "no_such_column": 1}, "a client of another version"),
        Sent(f"a {kind} in {first}", {**row, first: value}, "no guess at what was meant"),
    ]


def sane(target: pd.Series[Any], two_valued: bool) -> dict[str, Any]:
    """What any answer must satisfy: a probability, or within twice the range seen."""
    if two_valued:
        return {"between": [0, 1]}
    low, high = float(target.min()), float(target.max())
    half = (high - low) / 2
    return {"between": [_near(low - half, half), _near(high + half, half)]}


def _typical(rows: pd.DataFrame, numbers: Sequence[str]) -> dict[str, Any]:
    """The row whose numbers are nearest the middle and whose texts are the most common."""
    odd = (rows[numbers].rank(pct=True) - 0.5).abs().fillna(1.0).sum(axis=1)
    for name in rows.columns.difference(list(numbers)):
        odd += rows[name] != rows[name].mode().iloc[0]
    row = rows.iloc[int(odd.argmin())]
    return _plain_row(row)


def _plain_row(row: pd.Series[Any]) -> dict[str, Any]:
    return {str(name): plain(value) for name, value in row.items()}


def plain(value: Any) -> Any:
    """A value as a client sends it: missing is null, a whole number has no point."""
    if isinstance(value, str):
        return value or None
    if math.isnan(value):
        return None
    return int(value) if float(value).is_integer() else float(value)


# Bounds of the offline gates


def bounds(
    answers: Sequence[float], truth: Sequence[float], two_valued: bool, mean: float
) -> tuple[dict[str, float], str]:
    """Figures of the default model on the fixed dataset, and bounds half-way to a mere guess.

    Args:
        mean: of the target in training: the best constant answer that could be known.

    Returns:
        The figures by name, and a warning where the default model is no better than a guess.
    """
    scored = Scored(answers, truth, {})
    if two_valued:
        auc, error = _figure("auc", scored), _figure("calibration_error", scored)
        found = {
            "auc": _short(auc),
            "calibration_error": _short(error),
            "min_auc": round(max(0.55, (0.5 + auc) / 2), 3),
            "max_calibration_error": round(max(0.1, 2 * error), 3),
        }
        weak = f"its AUC is {auc:.3f}, a coin's is 0.5" if auc < 0.55 else ""
        return found, weak
    rmse = _figure("rmse", scored)
    guess = _figure("rmse", Scored([mean] * len(truth), truth, {}))
    found = {
        "rmse": _short(rmse),
        "guess": _short(guess),
        "max_rmse": _short(min(guess, (rmse + guess) / 2)),
        "margin": _short(guess / 20),
    }
    weak = f"its RMSE is {rmse:.4g}, a constant's is {guess:.4g}" if rmse >= guess else ""
    return found, weak


def _figure(metric: str, scored: Scored) -> float:
    value = figure(metric, scored)
    assert value is not None, f"{metric} has a value: the fixed dataset holds both classes"
    return value


def _near(value: float, slack: float) -> float:
    """A value rounded to a hundredth of the slack, or finer."""
    return round(value, 2 - math.floor(math.log10(slack))) if slack else value


def _short(value: float) -> float:
    """Four digits: enough for a bound, and readable."""
    return float(f"{value:.4g}")
