"""The button: retrain, validate, register, build, and launch in stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.advance import see_through
from slipway import preflight
from slipway.errors import RolloutError
from slipway.expectations import Pack
from slipway.home import Home
from slipway.release import bind, short
from slipway.spec import Spec
from tasks import suite
from tasks.bundle import bundle
from tasks.checkout import checkout
from tasks.image import image
from tasks.open import baseline, only_one, open_for, require_blessing, require_plan
from tasks.record import state_of
from tasks.register import open_registry, register
from tasks.serve import ensure_gateway
from tasks.snapshot import snapshot
from tasks.suite import check_data
from tasks.train import train
from tasks.validate import validate
from tasks.warm import warm


@flow(name="release", flow_run_name="release {spec} {commit}")
def release(
    spec: str,
    commit: str = "",
    repository: str = "",
    overrides: dict[str, Any] | None = None,
    actor: str = "",
    wait: bool = True,
) -> str:
    """Retrain a model, validate it, register it, build it, and launch it in stages.

    Args:
        spec: Path of the model's slipway.yaml, or of its folder (inside the repository, if one is
            given).
        commit: Git commit to release; empty for the files as they are.
        repository: Path of the git repository that holds the commit; empty for none.
        overrides: Values of the spec to change for this run, by dotted path, such as
            {"data.range.until": "2013-05-01"}.
        actor: Who asked for it, for the ledger; empty for the user who runs it.
        wait: Whether to see the rollout through to its end, or to open it and leave the rest to
            the scheduled advance.
    """
    home = Home.of()
    path, commit = checkout(home, repository, commit, Path(spec))
    declared, pack = preflight.read(path, overrides)
    before = state_of(home, declared.model).stable
    release_id = build(home, declared, pack, commit, actor)
    if wait:
        told = see_through(home, declared.model, release_id, declared.rollout.tick_seconds)
        if state_of(home, declared.model).stable != release_id:
            raise RolloutError(told, do=f"see 'slipway why {declared.model}'")
        unchanged = f"{declared.model} {short(release_id)}: nothing has changed, it is live already"
        return unchanged if release_id == before else told
    return f"{short(release_id)} is open; 'advance' takes it on"


def build(home: Home, declared: Spec, pack: Pack, commit: str, actor: str) -> str:
    """From data to an open rollout. Returns the release's id."""
    require_plan(home, declared, pack)
    with only_one(home, declared), warm(suite.MODULE) as inspector:
        registry = open_registry.submit(home, declared.registry.tracking_uri)
        data = snapshot(home, declared, pack.fixed_set)
        checked = check_data.submit(
            inspector, data, pack.folder / "suite.json", home.folder("runs", "data") / "result.json"
        )
        candidate = train(home, declared, data, pack.fixed_set, commit)
        built = bundle(home, declared, candidate, pack.fixed_set)
        against = baseline(home, declared.model, built)
        report = validate(home, declared, pack, candidate, built, checked.result(), against)
        require_blessing(declared.model, report)
        registry.result()
        version = register(home, declared, data, candidate, built, report)
        chain = {"snapshot": data.digest, "report": report.digest, "version": version.digest}
        picture, _ = image(declared, built, candidate.commit, chain)
        made = bind(data, candidate, built, report, version, picture)
        ensure_gateway(home)
        open_for(home, declared, pack, candidate, made, actor)
    return made.id
