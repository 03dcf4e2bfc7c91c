"""``slipway judge``: verdicts by themselves, on a file of observations and a file of gates."""

from __future__ import annotations

import json
import math
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from slipway.errors import SlipwayError, UsageError
from slipway.gates import Gates, parse
from slipway.league import Place, Standing
from slipway.rounds import Look, Trial
from slipway.verdict import GateResult, Outcome

if TYPE_CHECKING:
    from slipway.evidence import Evidence
    from slipway.observations import Observations

EXIT_CODES = {Outcome.PASS: 0, Outcome.FAIL: 1, Outcome.INCONCLUSIVE: 3, Outcome.NOT_MEASURED: 4}
_WORST_FIRST = (Outcome.FAIL, Outcome.NOT_MEASURED, Outcome.INCONCLUSIVE, Outcome.PASS)
_COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "not_measured": "yellow"}


@click.command("judge")
@click.argument("observations", required=False, type=click.Path(path_type=Path))
@click.option("--gates", required=True, type=click.Path(path_type=Path), help="A gates.toml.")
@click.option("--baseline", default="stable", show_default=True, help="The arm to compare with.")
@click.option(
    "--looks", help="Replay as seen live: every:60s, every:100 (rows) or each. Default: at the end."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the looks into this PNG file.")
@click.option("--exit-code", is_flag=True, help="1 fail, 3 inconclusive, 4 not measured.")
@click.option("--prometheus", metavar="URL", help="Ask the gates' queries of this server instead.")
@click.option("--start", help="With --prometheus: from when, as in 2026-01-31T12:00:00Z.")
@click.option("--end", help="With --prometheus: until when.")
@click.option("--step", default="60s", show_default=True, help="With --prometheus: each window.")
def command(
    *,
    observations: Path | None,
    gates: Path,
    baseline: str,
    looks: str | None,
    as_json: bool,
    plot: Path | None,
    exit_code: bool,
    prometheus: str | None,
    start: str | None,
    end: str | None,
    step: str,
) -> None:
    """Judge the arms in OBSERVATIONS (CSV or Parquet: time, arm, unit, one column per metric).

    Every verdict is valid at every look. With --prometheus it judges windows instead of units,
    which claims less. Exit code 0 when it could judge, whatever the outcome
    (see --exit-code), 2 for wrong usage or input.
    """
    from slipway.observations import ask, read
    from slipway.steady import require_steady

    chosen = load(gates)
    if plot and (plot.suffix.lower() != ".png" or not plot.parent.is_dir()):
        raise UsageError(
            "the picture has no place there",
            where=str(plot),
            do="give a path that ends in .png, in a folder that exists",
        )
    if (observations is None) == (prometheus is None):
        raise UsageError(
            "there is nothing to judge, or two things",
            do="give either a file of observations or --prometheus URL",
        )
    if observations is not None:
        seen = read(observations, chosen, baseline)
    else:
        # Windows are as many in every arm: they say nothing of the split of users.
        chosen = replace(chosen, policy=replace(chosen.policy, shares={}))
        when = {"start": _when("--start", start), "end": _when("--end", end)}
        seen = ask(str(prometheus), chosen, baseline, **when, step=_step(step))
    _require_shares(chosen, seen, gates)
    require_steady(seen)
    answer = _answer(seen, chosen, looks, bool(plot))
    told = _told(answer.looks, seen, answer.standings)
    if as_json:
        click.echo(json.dumps(told, indent=2, allow_nan=False))
    else:
        _show(answer.looks, seen)
        _show_standings(answer.standings)
    if plot:
        from slipway.plot import draw

        draw(plot, answer.looks, answer.drawn, chosen, baseline, seen.dated)
    sys.exit(EXIT_CODES[Outcome(told["outcome"])] if exit_code else 0)


def _require_shares(gates: Gates, seen: Observations, path: Path) -> None:
    """Refuse shares that do not name the arms that are judged: the split could not be held to them.

    Raises:
        UsageError: it names the arms.
    """
    without = [arm for arm in seen.arms if gates.policy.shares and arm not in gates.policy.shares]
    if without:
        raise UsageError(
            f"policy.shares says nothing of {', '.join(without)}",
            where=str(path),
            do=f"give each arm of the file its share: {', '.join(seen.arms)}",
        )


def _when(option: str, told: str | None) -> float:
    """Seconds since 1970 of a moment in ISO 8601; without a zone it is UTC."""
    from datetime import UTC, datetime

    try:
        at = datetime.fromisoformat(told or "")
    except ValueError as error:
        raise UsageError(
            f"{option} is {told!r}, and no moment", do="give one such as 2026-01-31T12:00:00Z"
        ) from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _step(told: str) -> float:
    try:
        seconds = float(told.removesuffix("s"))
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds < math.inf:
        raise UsageError(f"--step is {told!r}, and no length of time", do="give one such as 60s")
    return seconds


def load(path: Path) -> Gates:
    """The gates of a file.

    Raises:
        UsageError: it cannot be read, or its gates have faults, all of which are named.
    """
    try:
        return parse(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the gates cannot be read: {error}", where=str(path), do="give a TOML file of gates"
        ) from error
    except SlipwayError as error:
        raise UsageError(error.what, where=str(path), do=error.do) from error


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is told, and what is drawn: by candidate.

    Args:
        looks: the one that settled its outcome, or else the last.
        standings: best first, where candidates compete.
        drawn: all looks, for a picture.
    """

    looks: Mapping[str, Look]
    standings: tuple[Standing, ...]
    drawn: Mapping[str, Sequence[Look]]


def _answer(seen: Observations, gates: Gates, looks: str | None, picture: bool) -> _Answer:
    """That of the whole file, or of a replay, whether or not a picture is drawn of one."""
    from slipway.replay import Looks, replay

    trial = Trial(gates, seen.arms[0], seen.arms[1:])
    told: dict[str, Look] = {}
    drawn: dict[str, list[Look]] = {arm: [] for arm in trial.members}
    standings: tuple[Standing, ...] = ()
    if looks is not None or picture:
        when = Looks.parse(f"every:{max(seen.count // 200, 1)}" if looks is None else looks)
        seen.refuse_crossed()
        for found in replay(seen.rows(), seen.measures, trial, when, to_end=picture):
            told |= found.looks
            standings = found.standings if found.looks else standings
            for arm, look in {**found.looks, **found.beside}.items() if picture else ():
                drawn[arm].append(look)
    if looks is None:
        whole = trial.look(_evidence(seen), seen.last)
        told, standings = dict(whole.looks), whole.standings
    return _Answer(told, standings, drawn)


def _evidence(seen: Observations) -> Evidence:
    """All of it, summed where the rows lie.

    Raises:
        UsageError: a unit is in two arms.
    """
    evidence = observe(seen, seen.arms[0])
    if evidence.crossed:
        seen.refuse_crossed()
    return evidence


def observe(seen: Observations, baseline: str) -> Evidence:
    """All evidence that observations hold; a quantile's is about the baseline."""
    from slipway.stores.gather import Gathering, Source

    seen.db.execute("ATTACH IF NOT EXISTS ':memory:' AS kept")
    source = Source("observations", "observations", "true", -1.7e308, baseline, "rowid")
    return Gathering(seen.db, source, seen.measures).look(math.nextafter(seen.last, math.inf), {})


# Telling


def _told(
    answers: Mapping[str, Look], seen: Observations, standings: tuple[Standing, ...]
) -> dict[str, Any]:
    """The JSON answer: of one candidate, with each by name where there are several.

    Where they compete it is that of the one that is ahead, and a *pass* only if it wins; else that
    of the worst.
    """
    single = {arm: _tell(look, seen) for arm, look in answers.items()}
    if standings:
        first, outcome = standings[0].member, standings[0].outcome
    else:
        first = min(answers, key=lambda arm: _rank(answers[arm]))
        outcome = answers[first].verdict.outcome
    arms = {"stable": seen.arms[0], "candidate": first}
    told = {**single[first], "outcome": str(outcome), "arms": arms}
    if len(single) > 1:
        told["candidates"] = single
    if standings:
        told["standings"] = [s.record() for s in standings]
    return told


def _rank(look: Look) -> tuple[int, int]:
    """The worst comes first: of failures the earliest, of passes the last, when all have passed."""
    outcome = look.verdict.outcome
    number = look.number if outcome is Outcome.FAIL else -look.number
    return _WORST_FIRST.index(outcome), number


def _tell(look: Look, seen: Observations) -> dict[str, Any]:
    verdict = look.verdict
    return {
        "outcome": str(verdict.outcome),
        "reason": verdict.reason,
        "decided_at": seen.moment(look.at) if look.settled else None,
        "looks": look.number,
        "units": {"stable": verdict.units[0], "candidate": verdict.units[1]},
        "unit": seen.unit,
        "more_units": verdict.more_units,
        "gates": [g.record() for g in verdict.gates],
    }


def _show(answers: Mapping[str, Look], seen: Observations) -> None:
    for arm, look in answers.items():
        verdict = look.verdict
        told = _tell(look, seen)
        outcome = click.style(verdict.outcome.replace("_", " "), fg=_COLOURS[verdict.outcome])
        decided = look.settled if isinstance(look.settled, Place) else "decided"
        when = f", {decided} at {told['decided_at']}" if look.settled else ""
        click.echo(f"{arm} against {seen.arms[0]}: {outcome} at look {look.number}{when}")
        if not any(g.reason in verdict.reason for g in verdict.gates):
            click.echo(f"  {verdict.reason}")
        if verdict.more_units:
            click.echo(f"  a decision needs about {verdict.more_units} more units of {arm}")
        if seen.windows:
            click.echo("  its units are windows of time: nothing is claimed of users")
        for gate in verdict.gates:
            click.echo(f"  {_line(gate)}")


def _show_standings(standings: tuple[Standing, ...]) -> None:
    for number, standing in enumerate(standings, start=1):
        if number == 1:
            click.echo("standings")
        click.echo(f"  {number}  {standing.member}: {standing.place}: {standing.reason}")


def _line(gate: GateResult) -> str:
    outcome = gate.outcome.replace("_", " ")
    return f"{gate.kind:9} {outcome:12} e-value {gate.e_value:.3g}: {gate.reason}"
