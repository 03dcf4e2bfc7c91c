"""Check a snapshot with Great Expectations, in a process of its own (see ``tasks.warm``)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway import collector
from slipway.release import Check, Snapshot
from tasks.warm import Warm, answer_one

MODULE = "tasks.suite"
SECONDS = 600.0


@task(name="check data", cache_policy=NO_CACHE)
def check_data(inspector: Warm, snapshot: Snapshot, suite: Path, result: Path) -> tuple[Check, ...]:
    """Run a suite on a snapshot: one check per expectation.

    Args:
        result: where Great Expectations' whole result is kept, as JSON.

    Raises:
        Refused: Great Expectations could not run the suite.
    """
    request = {"snapshot": snapshot.path, "suite": str(suite), "result": str(result)}
    answer = inspector.ask(request, SECONDS)
    checks = tuple(Check(**raw) for raw in answer["checks"])
    met = sum(c.outcome == "pass" for c in checks)
    get_run_logger().info("data suite: %d of %d expectations met", met, len(checks))
    return checks


def run(request: dict[str, str]) -> dict[str, Any]:
    """The child's side: validate the whole frame against the suite."""
    import great_expectations as gx
    import pandas as pd

    frame = pd.read_parquet(request["snapshot"])
    suite = json.loads(Path(request["suite"]).read_text())
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("snapshot").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})
    expectations = [_expectation(gx, raw) for raw in suite["expectations"]]
    result = batch.validate(gx.ExpectationSuite(name=suite["name"], expectations=expectations))
    Path(request["result"]).write_text(json.dumps(result.to_json_dict(), indent=1))
    return {"checks": [_check(r) for r in result.results]}


def _expectation(gx: Any, raw: dict[str, Any]) -> Any:
    kind = "".join(part.capitalize() for part in raw["type"].split("_"))
    return getattr(gx.expectations, kind)(**raw.get("kwargs", {}))


def _check(result: Any) -> dict[str, Any]:
    """One result as a check. An expectation that raised was not measured; it did not fail."""
    config = result.expectation_config
    about = config.kwargs.get("column") or config.kwargs.get("column_A") or "the table"
    name = f"data: {config.type} ({about})"
    if result.exception_info and result.exception_info.get("raised_exception"):
        reason = str(result.exception_info.get("exception_message"))
        return {"name": name, "outcome": "not_measured", "reason": reason}
    seen = result.result.get("observed_value", result.result.get("unexpected_percent"))
    outcome = "pass" if result.success else "fail"
    return {"name": name, "outcome": outcome, "reason": f"observed {seen}"}


if __name__ == "__main__":
    with collector.paused():
        import great_expectations
        import pandas.io.parquet  # noqa: F401

        great_expectations.get_context(mode="ephemeral")  # its lazy imports, before the data
    answer_one(run)
    collector.done()
