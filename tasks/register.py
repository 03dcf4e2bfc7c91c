"""Register a blessed candidate in MLflow, and point the aliases that its users expect.

Registering is idempotent: a version that carries the same report's digest is found, not made
again, so a release that was killed half-way goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from slipway.errors import Refused
from slipway.home import Home
from slipway.release import Bundle, Candidate, Report, Snapshot, Version, short
from slipway.rollout import ModelState
from slipway.spec import Spec
from tasks import template
from tasks.record import ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
CHALLENGER = "challenger"
STANDARD = ("sklearn.", "numpy.", "scipy.", "builtins.", "collections.")
TAG = "slipway.report"


def client(home: Home, tracking_uri: str) -> MlflowClient:
    """A client of the registry that the spec declares, or of the one in this home."""
    import logging

    import mlflow

    # By default a server that does not answer is asked eight times, over several minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.WARNING)
    uri = home.tracking_uri(tracking_uri)
    if uri == home.own_tracking_uri:
        template.copy("mlflow", home.root / "mlflow.db")
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient(uri)


def prepare() -> Path:
    """Make the migrated, empty database that new homes' registries start from.

    Returns:
        The template's path.
    """
    return template.make("mlflow", _migrated)


def _migrated(scratch: Path) -> Path:
    # The public way in, a client, would also write an experiment that names this scratch folder.
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    database = scratch / "mlflow.db"
    engine = create_sqlalchemy_engine(f"sqlite:///{database}")
    _initialize_tables(engine)
    engine.dispose()
    return database


@task(name="open registry", cache_policy=NO_CACHE)
def open_registry(home: Home, tracking_uri: str) -> None:
    """Reach the registry while the candidate trains: a first one takes seconds to make.

    Raises:
        Refused: it cannot be reached; better told before the training than after.
    """
    try:
        client(home, tracking_uri).search_registered_models(max_results=1)
    except Exception as error:  # MLflow and its stores raise whatever their drivers raise
        raise Refused(
            f"the model registry cannot be reached: {str(error).splitlines()[0]}",
            where=home.tracking_uri(tracking_uri),
            do="check registry.tracking_uri in slipway.yaml, and that its server runs",
        ) from error


@task(name="register", cache_policy=NO_CACHE)
def register(
    home: Home, spec: Spec, snapshot: Snapshot, candidate: Candidate, bundle: Bundle, report: Report
) -> Version:
    """Register a blessed candidate, or find it registered, and make it the challenger."""
    name = spec.registry.name or spec.model
    mlflow = client(home, spec.registry.tracking_uri)
    found = _find(mlflow, name, report)
    if found is None:
        found = _log(home, mlflow, name, snapshot, candidate, bundle, report)
    mlflow.set_registered_model_alias(name, CHALLENGER, found.version)
    get_run_logger().info("registered %s version %s (%s)", name, found.version, CHALLENGER)
    return Version(
        name=name,
        candidate=candidate.digest,
        report=report.digest,
        number=str(found.version),
        run=found.run_id or "",
        uri=f"models:/{name}/{found.version}",
        registry=spec.registry.tracking_uri,
    )


def crown(home: Home, state: ModelState) -> None:
    """Point ``champion`` at the version that is stable now, ``challenger`` at the one on trial.

    Where no rollout is open, a version that was launched is no challenger any more, however that
    ended; one that was registered and not launched yet still is. Safe to repeat.
    """
    if not state.stable:
        return
    store = ledger(home)
    found = store.manifest(state.stable).locators
    name, mlflow = found["name"], client(home, found["registry"])
    mlflow.set_registered_model_alias(name, CHAMPION, found["number"])
    if state.rollout:
        on_trial = store.manifest(state.rollout.release).locators["number"]
        mlflow.set_registered_model_alias(name, CHALLENGER, on_trial)
        return
    aliases = mlflow.get_registered_model(name).aliases
    if str(aliases.get(CHALLENGER, "")) in _launched(home, state, name):
        mlflow.delete_registered_model_alias(name, CHALLENGER)


def _launched(home: Home, state: ModelState, name: str) -> set[str]:
    """The versions of a registered name that were ever launched."""
    told = [ledger(home).manifest(release).locators for release in state.terms]
    return {found["number"] for found in told if found["name"] == name}


def _find(mlflow: MlflowClient, name: str, report: Report) -> Any:
    versions = mlflow.search_model_versions(f"name = '{name}'")
    return next((v for v in versions if v.tags.get(TAG) == report.digest), None)


def _log(
    home: Home,
    mlflow: MlflowClient,
    name: str,
    snapshot: Snapshot,
    candidate: Candidate,
    bundle: Bundle,
    report: Report,
) -> Any:
    import mlflow as fluent

    experiment = mlflow.get_experiment_by_name(name)
    artefacts = home.folder("mlartifacts", name).as_uri()
    if experiment is None:
        mlflow.create_experiment(name, artifact_location=artefacts)
    fluent.set_experiment(name)
    with fluent.start_run(run_name=f"{name} {short(candidate.digest)}", log_system_metrics=False):
        fluent.log_params({**_flat(candidate.params), "trainer": candidate.trainer})
        fluent.log_param("seed", candidate.seed)
        fluent.log_metrics(_metrics(report))
        fluent.log_input(_dataset(snapshot), context="training")
        fluent.log_dict(report.record(), "report.json")
        fluent.log_dict(candidate.record(), "candidate.json")
        info = _model(candidate, bundle)
        run = fluent.active_run()
        assert run is not None
    if not mlflow.search_registered_models(f"name = '{name}'"):
        mlflow.create_registered_model(name)
    return mlflow.create_model_version(
        name,
        info.model_uri,
        run.info.run_id,
        tags={TAG: report.digest, "slipway.candidate": candidate.digest},
        model_id=info.model_id,
    )


def _model(candidate: Candidate, bundle: Bundle) -> Any:
    """Log the model itself: scikit-learn's flavour, or the bundle where user types are inside.

    Reading a model with the user's own types would run their code in this process; the bundle
    brings it along and runs it where it serves.
    """
    from mlflow.models.signature import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    kinds = {"number": "double", "text": "string"}
    inputs = Schema([ColSpec(kinds[c.kind], c.name, c.required) for c in candidate.signature])
    signature = ModelSignature(inputs=inputs, outputs=Schema([ColSpec("double")]))
    requirements = (Path(bundle.path) / "requirements.txt").read_text().split()
    if all(kind.startswith(STANDARD) for kind in candidate.trusted):
        import mlflow.sklearn
        import skops.io

        stored = Path(candidate.path) / "model.skops"
        model = skops.io.load(stored, trusted=list(candidate.trusted))
        return mlflow.sklearn.log_model(
            model,
            name="model",
            serialization_format="skops",
            skops_trusted_types=list(candidate.trusted),
            signature=signature,
            pip_requirements=_requirements("scikit-learn", "skops", "numpy", "pandas", "mlflow"),
        )
    import mlflow.pyfunc

    return mlflow.pyfunc.log_model(
        name="model",
        loader_module="slipway.serving.pyfunc",
        data_path=bundle.path,
        code_paths=[str(Path(bundle.path) / "app" / "slipway")],
        signature=signature,
        pip_requirements=requirements,
    )


def _requirements(*names: str) -> list[str]:
    from importlib.metadata import version

    return [f"{name}=={version(name)}" for name in names]


def _dataset(snapshot: Snapshot) -> Any:
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource

    source = LocalArtifactDatasetSource(Path(snapshot.path).as_uri())
    # MLflow allows a dataset's digest 36 characters; the whole one is in candidate.json.
    return MetaDataset(source, name=snapshot.model, digest=short(snapshot.content))


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, (int, float)) else json.dumps(value)
    return flat


def _metrics(report: Report) -> dict[str, float]:
    """Every measured figure, under a name that MLflow allows."""
    plain = {c.name: c.value for c in report.checks if c.value is not None}
    return {
        "".join(x if x.isalnum() or x in "_-./ " else "_" for x in k): v for k, v in plain.items()
    }
