"""What an earlier version recorded goes on to work, and is shown as new runs are once it has been published again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from registry.samples import stamps
from tracking import earlier

from mergershift.cli.main import main

pytestmark = pytest.mark.slow
SCORE = "target/balanced_accuracy"


def run(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert ended.value.code == 0, arguments


@pytest.fixture
def client(project: Path, database: str) -> MlflowClient:
    """The project's database with the runs of an earlier version, whose trainings are in the project."""
    earlier.write_cells(project)
    return earlier.write_runs(project)


def runs(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("mergershift")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], order_by=[f"metrics.`{SCORE}` DESC"]))


def test_sync_brings_them_up_to_date_without_duplicates(
    project: Path, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {found.info.run_id: found for found in runs(client)}
    run("sync")
    assert "2 trainings: 2 published" in capsys.readouterr().out
    after = {found.info.run_id: found for found in runs(client)}
    assert set(after) == set(before)
    names = {found.info.run_name for found in after.values()}
    assert names == {"source_only · two · pristine→noisy · s0", "mmd · two · pristine→noisy · s0"}
    for run_id, now in after.items():
        old = before[run_id].data
        method = old.params["choices.adaptation"]
        assert (now.data.params["method"], now.data.params["filters"]) == (method, "two")
        assert now.data.metrics[SCORE] == old.metrics["target.unique.balanced_accuracy"]
        assert now.data.metrics["validators/epoch"] == old.metrics["selected_epoch"]
        assert now.data.tags["mergershift.training"] == old.tags["mergershift.training"]
        assert not [
            key for key in now.data.tags if key.startswith(("choice.", "read.")) or key.endswith("_hash")
        ]
        assert "mergershift.files" not in now.data.tags
        assert json.loads(now.data.tags["mlflow.mergershift.files"])["config.yaml"]
        assert "MOCK" in now.data.tags["mlflow.note.content"]
        assert now.inputs is not None
        assert now.inputs.dataset_inputs
        epochs = client.get_metric_history(run_id, "train/loss")
        assert sorted(metric.step for metric in epochs) == [0, 1, 2]
    run("sync")
    assert "0 published" in capsys.readouterr().out
    assert {found.info.run_id for found in runs(client)} == set(before)


def test_the_list_shows_them_beside_new_ones(project: Path, client: MlflowClient) -> None:
    new = project / "outputs/runs/new"
    shutil.copytree(earlier.cell(project, "mmd"), new)
    for path in ("train/run.json", "evaluation/selection.json"):
        change(new / path, training="new")
    run("sync", str(new))
    names = [found.info.run_name for found in runs(client)]
    assert names.count("mmd · two · pristine→noisy · s0") == 1
    assert sum(str(name).startswith("cells/two/") for name in names) == 2, "those of others are left alone"
    run("sync")
    shown = [found for found in runs(client) if found.data.tags.get("kind") == "training"]
    assert len(shown) == 3
    scores = [found.data.metrics[SCORE] for found in shown]
    assert scores == sorted(scores, reverse=True)


def change(path: Path, **values: str) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_their_folders_are_compared(
    project: Path, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    run("compare", *(str(earlier.cell(project, method)) for method in earlier.METHODS))
    out = capsys.readouterr().out
    assert "mmd" in out
    assert "source_only" in out


def test_their_models_are_promoted_and_predict(
    project: Path, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier.register(project, client)
    run("sync")  # the run changes its name, and keeps the model
    run("promote")
    assert "models:/mergershift/1" in capsys.readouterr().out
    run("promote", "1")
    assert "already the champion" in capsys.readouterr().out
    version = client.get_model_version_by_alias("mergershift", "champion")
    assert version.run_id is not None
    assert client.get_run(version.run_id).info.run_name == "mmd · two · pristine→noisy · s0"
    np.save("images.npy", stamps(3))
    run("predict", "images.npy", "--model", "models:/mergershift@champion")
    assert (project / "predictions.ecsv").is_file()
