"""Hold a candidate's bundle against its expectations: the report blesses or refuses."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from slipway.expectations import Pack, Scored, check_edge_case, check_offline
from slipway.home import Home
from slipway.release import Bundle, Candidate, Check, Release, Report, short
from slipway.rollout import NO_BASELINE
from slipway.spec import Spec
from tasks.ask import Client, FixedRows, fixed_rows, serving


@task(name="validate", cache_policy=NO_CACHE)
def validate(
    home: Home,
    spec: Spec,
    pack: Pack,
    candidate: Candidate,
    bundle: Bundle,
    data_checks: tuple[Check, ...],
    against: Release | None,
) -> Report:
    """Start the very bundle that will serve, ask it everything, and write the report.

    The baseline's bundle answers the same fixed rows beside it, so the comparison is of today's
    rows and not of figures from another day.

    Args:
        against: the baseline; None where there is none.
    """
    rows = fixed_rows(pack.fixed_set, spec)
    theirs = None
    if against:
        with _serving(home, Path(against.locators["bundle"]), against.bundle) as client:
            theirs = _answers(client, rows)
    with _serving(home, Path(bundle.path), bundle.digest) as client:
        ours = _answers(client, rows)
        edges = [check_edge_case(case, lambda row: _one(client, row)) for case in pack.edge_cases]
    offline = [check_offline(gate, ours, theirs) for gate in pack.offline]
    report = Report(
        candidate=candidate.digest,
        bundle=bundle.digest,
        expectations=pack.digest,
        baseline=against.id if against else NO_BASELINE,
        checks=(*data_checks, *edges, *offline),
    )
    _keep(home, report)
    key = f"report-{spec.model.replace('_', '-')}"  # the letters that Prefect allows in a key
    create_markdown_artifact(key=key, markdown=page(report), description="The report")
    log = get_run_logger()
    for check in report.refusals:
        log.warning("%s: %s: %s", check.outcome, check.name, check.reason)
    passed = len(report.checks) - len(report.refusals)
    log.info("report %s: %d of %d checks passed", short(report.digest), passed, len(report.checks))
    return report


def page(report: Report) -> str:
    """The report as the Prefect UI shows it: one row per check, what stands in the way first."""
    word = "blessed" if report.blessed else "refused"
    against = report.baseline if report.baseline == NO_BASELINE else short(report.baseline)
    rows = [*report.refusals, *(c for c in report.checks if c.outcome == "pass")]
    lines = [
        f"# Report {short(report.digest)}: {word}",
        f"Candidate {short(report.candidate)}, bundle {short(report.bundle)}, compared with "
        f"{against}. {len(report.checks) - len(report.refusals)} of {len(report.checks)} passed.",
        "| outcome | check | reason |\n|---|---|---|",
    ]
    told = [(c.outcome.replace("_", " "), c.name, c.reason) for c in rows]
    return "\n\n".join(lines) + "".join(f"\n| {' | '.join(map(_cell, row))} |" for row in told)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _serving(home: Home, path: Path, digest: str) -> AbstractContextManager[Client]:
    """A bundle's server, announced by its digest: one that a kill left is found, and no other's."""
    return serving(path, home.run / "validate" / f"{short(digest)}.json")


def _answers(client: Client, rows: FixedRows) -> Scored:
    answers = client.all(rows.requests)
    return Scored(answers, rows.truth, rows.columns, client.p99_ms(rows.requests))


def _one(client: Client, row: object) -> float | None:
    answers = client.answers([dict(row)])  # type: ignore[call-overload]
    return answers[0] if answers else None


def _keep(home: Home, report: Report) -> None:
    path = home.folder("runs", "reports") / f"{short(report.digest)}.json"
    path.write_text(json.dumps({**report.record(), "blessed": report.blessed}, indent=1))
