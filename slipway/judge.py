"""``slipway judge``: verdicts by themselves, on a file of observations and a file of gates."""

from __future__ import annotations

import json
import math
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slipway.errors import SlipwayError, UsageError
from slipway.gates import Gates, parse
from slipway.verdict import GateResult, Outcome, Verdict, judge

if TYPE_CHECKING:
    from slipway.observations import Observations
    from slipway.replay import Look

EXIT_CODES = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.INCONCLUSIVE: 3, Outcome.NOT_MEASURED: 4}
_WORST_FIRST = (Outcome.FAIL, Outcome.NOT_MEASURED, Outcome.INCONCLUSIVE, Outcome.PASS)
_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "not_measured": "yellow"}


@click.command("judge")
@click.argument("observations", type=click.Path(path_type=Path))
@click.option("--gates", required=True, type=click.Path(path_type=Path), help="A gates.toml.")
@click.option("--baseline", default="stable", show_default=True, help="The arm to compare with.")
@click.option(
    "--looks", help="Replay as seen live: every:60s, every:100 (rows) or each. Default: at the end."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the looks into this PNG file.")
@click.option("--exit-code", is_flag=True, help="1 fail, 3 inconclusive, 4 not measured.")
def command(
    observations: Path,
    gates: Path,
    baseline: str,
    looks: str | None,
    as_json: bool,
    plot: Path | None,
    exit_code: bool,
) -> None:
    """Judge the arms in OBSERVATIONS (CSV or Parquet: time, arm, unit, one column per metric).

    Every verdict is valid at every look. Exit code 0 when it could judge, whatever the outcome
    (see --exit-code), 2 for wrong usage or input.
    """
    from slipway.observations import read

    chosen = load(gates)
    seen = read(observations, chosen, baseline)
    answers = {arm: _answer(seen, chosen, arm, looks, bool(plot)) for arm in seen.arms[1:]}
    if plot:
        from slipway.plot import draw

        draw(plot, answers, seen.dated)
    told = _told({arm: found[-1] for arm, found in answers.items()}, seen)
    if as_json:
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        _show({arm: found[-1] for arm, found in answers.items()}, seen)
    sys.exit(EXIT_CODES[Outcome(told["outcome"])] if exit_code else 0)


def load(path: Path) -> Gates:
    """The gates of a file.

    Raises:
        UsageError: it cannot be read, or its gates have faults, all of which are named.
    """
    try:
        return parse(tomllib.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the gates cannot be read: {error}", where=str(path), do="give a TOML file of gates"
        ) from error
    except SlipwayError as error:
        raise UsageError(error.what, where=str(path), do=error.do) from error


def _answer(
    seen: Observations, gates: Gates, arm: str, looks: str | None, intervals: bool
) -> list[Look]:
    """The looks at one arm, the deciding or last one at the end.

    Several arms share alpha equally, since each could be called worse by chance.
    """
    from slipway.replay import Look, Looks, replay

    baseline, part = seen.arms[0], 1.0 / len(seen.arms[1:])
    if looks is None and not intervals:
        verdict = _at_once(seen, gates, arm, part)
        return [Look(1, seen.last, verdict)]
    when = Looks.parse(looks or f"every:{max(seen.count // 200, 1)}")
    seen.refuse_crossed()
    return list(
        replay(
            seen.rows(), seen.measures, gates, when, baseline=baseline, candidate=arm, part=part,
            intervals=intervals,
        )
    )  # fmt: skip


def _at_once(seen: Observations, gates: Gates, arm: str, part: float) -> Verdict:
    """One look at the end, summed where the rows lie."""
    from slipway.stores.gather import Gathering, Source

    seen.db.execute("ATTACH IF NOT EXISTS ':memory:' AS kept")
    source = Source("observations", "observations", "true", -1.7e308, seen.arms[0])
    evidence = Gathering(seen.db, source, seen.measures).look(
        math.nextafter(seen.last, math.inf), {}
    )
    if evidence.crossed:
        seen.refuse_crossed()
    return judge(evidence, gates, part=part, candidate=arm, baseline=seen.arms[0])


# Telling


def _told(answers: dict[str, Look], seen: Observations) -> dict[str, Any]:
    """The JSON answer: of the one candidate, or of the worst with each by name."""
    single = {arm: _tell(look, seen) for arm, look in answers.items()}
    worst = min(single, key=lambda arm: _WORST_FIRST.index(Outcome(single[arm]["outcome"])))
    arms = {"stable": seen.arms[0], "candidate": worst}
    told = {**single[worst], "arms": arms}
    return told if len(single) == 1 else {**told, "candidates": single}


def _tell(look: Look, seen: Observations) -> dict[str, Any]:
    verdict = look.verdict
    decided = verdict.outcome in (Outcome.PASS, Outcome.FAIL)
    return {
        "outcome": str(verdict.outcome),
        "reason": verdict.reason,
        "decided_at": moment(look.at, seen.dated) if decided else None,
        "looks": look.number,
        "units": {"stable": verdict.units[0], "candidate": verdict.units[1]},
        "more_units": verdict.more_units,
        "gates": [g.record() for g in verdict.gates],
    }


def moment(at: float, dated: bool) -> str | float:
    """A time as the file gave it: a moment in ISO 8601, or a number."""
    if not dated:
        return int(at) if at == int(at) else at
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at, UTC).isoformat()


def _show(answers: dict[str, Look], seen: Observations) -> None:
    for arm, look in answers.items():
        verdict = look.verdict
        told = _tell(look, seen)
        outcome = click.style(verdict.outcome.replace("_", " "), fg=_COLOURS[verdict.outcome])
        when = f", decided at {told['decided_at']}" if told["decided_at"] is not None else ""
        click.echo(f"{arm} against {seen.arms[0]}: {outcome} at look {look.number}{when}")
        if not any(g.reason in verdict.reason for g in verdict.gates):
            click.echo(f"  {verdict.reason}")
        if verdict.more_units:
            click.echo(f"  a decision needs about {verdict.more_units} more units of {arm}")
        for gate in verdict.gates:
            click.echo(f"  {_line(gate)}")


def _line(gate: GateResult) -> str:
    outcome = gate.outcome.replace("_", " ")
    return f"{gate.kind:9} {outcome:12} e-value {gate.e_value:.3g}: {gate.reason}"
