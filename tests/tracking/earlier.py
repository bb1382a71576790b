"""A project as an earlier version left it: its trainings on disk, and its database as that version had written it.

`earlier_runs.tar.gz` holds what `mergershift repro` of version 0.1.0 wrote for two trainings of three epochs on a small
mock, without weights and figures: the files of the cells, and every name, parameter, tag and metric of their runs,
which are written to a new database here, since only the MLflow that made a database file can open it.
"""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from registry.samples import earlier_program_of, facts_of, write_package

from mergershift.cells.layout import TRAINED, model_epochs, model_file
from mergershift.cells.records import Selection
from mergershift.classifier.classifier import build_classifier, save_classifier
from mergershift.config import Config
from mergershift.core.database_files import sqlite_address

ARCHIVE = Path(__file__).with_name("earlier_runs.tar.gz")
CELLS = "outputs/cells/two/pristine_to_noisy"
METHODS = ("source_only", "mmd")
MODEL = "mergershift_candidates"


def cell(project: Path, method: str) -> Path:
    """Folder of a training of the earlier version."""
    return project / CELLS / method / "default/seed0"


def write_cells(project: Path) -> None:
    """Unpack the trainings into the project, with the networks that their evaluations chose, which are untrained."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(project, filter="data")
    for method in METHODS:
        folder = cell(project, method)
        selection = Selection.read(folder / "evaluation/selection.json")
        config = Config.read(folder / "train/config.yaml")
        for epoch in {selection.epoch, selection.oracle_epoch}:
            path = model_file(folder / TRAINED, epoch)
            path.parent.mkdir(exist_ok=True)
            save_classifier(build_classifier(config), path)
        assert model_epochs(folder / TRAINED)


def write_runs(project: Path) -> MlflowClient:
    """Write the runs of the earlier version into the project's database."""
    client = MlflowClient(tracking_uri=sqlite_address(project / "mlflow.db"))
    experiment = client.create_experiment("mergershift", artifact_location=(project / "mlartifacts").as_uri())
    for run in json.loads((project / "runs.json").read_text()):
        made = client.create_run(experiment, run["started"], run["tags"], run["name"]).info.run_id
        client.log_batch(
            made,
            [Metric(*entry) for entry in run["metrics"]],
            [Param(key, value) for key, value in run["params"].items()],
        )
        folder = project / "outputs" / run["name"]
        for part in ("train", "evaluation"):
            for path in (folder / part).glob("*.*"):
                if path.name in run["tags"]["mergershift.files"]:
                    client.log_artifact(made, str(path))
        client.set_terminated(made, run["status"], run["ended"])
    return client


def register(project: Path, client: MlflowClient) -> None:
    """Register a model for the second run as the earlier version did: files of the run, named by a few tags."""
    facts = json.loads((project / "facts.json").read_text())
    package = write_package(project / "package", facts_of(), earlier_program_of())
    (package / "facts.json").write_text(json.dumps(facts))
    experiment = client.get_experiment_by_name("mergershift")
    assert experiment is not None
    run = next(
        found for found in client.search_runs([experiment.experiment_id]) if "mmd" in str(found.info.run_name)
    )
    place = "models/0123456789abcdef"
    client.log_artifacts(run.info.run_id, str(package), place)
    client.create_registered_model(MODEL)
    tags = {
        "mergershift.fingerprint": "0123456789abcdef" * 4,
        "config_hash": facts["config_hash"],
        "data_hash": facts["data_hash"],
        "data_kind": "mock",
        "dvc_stage": "evaluate@two-method1-0",
        "git_commit": "0123456789abcdef",
        "git_dirty": "true",
        "run_id": run.info.run_id,
    }
    source = f"{run.info.artifact_uri}/{place}"
    client.create_model_version(MODEL, source, run.info.run_id, tags, description="An earlier model.")
