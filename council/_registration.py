"""How a run and a version are written into MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from council._mlflow import Connection

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Entities that one call carries.
BATCH = 100


def experiment_of(connection: Connection, artifact_root: Path, name: str) -> str:
    """Id of the experiment of a registered model; made where there is none."""
    client = connection.client
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        # Without a place of its own, an experiment of an SQLite store goes to the working directory.
        place = (artifact_root / name).absolute().as_uri() if connection.file else None
        return str(client.create_experiment(name, artifact_location=place))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def log_run(
    client: MlflowClient, run_id: str, metrics: Mapping[str, float], params: Mapping[str, Any], tags: Mapping[str, str]
) -> None:
    """Log metrics, parameters and tags of a run, some at a time."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.utils.time import get_current_time_millis

    now = get_current_time_millis()
    kept: list[tuple[str, Any]] = [
        *(("metrics", Metric(key, float(value), now, 0)) for key, value in metrics.items()),
        *(("params", Param(key, str(value))) for key, value in params.items()),
        *(("tags", RunTag(key, str(value))) for key, value in tags.items()),
    ]
    for start in range(0, len(kept), BATCH):
        batch: dict[str, list[Any]] = {}
        for kind, entity in kept[start : start + BATCH]:
            batch.setdefault(kind, []).append(entity)
        client.log_batch(run_id, **batch)


def create_version(
    client: MlflowClient, name: str, run_id: str, tags: Mapping[str, str], description: str, folder: str
) -> int:
    """Register the council of a run; the number of the new version."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
    made = client.create_model_version(
        name, source, run_id, tags={key: str(value) for key, value in tags.items()}, description=description
    )
    return int(made.version)
