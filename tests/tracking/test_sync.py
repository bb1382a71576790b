"""Trainings made without a server are published later; publishing them again duplicates nothing."""

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
import yaml
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import ViewType

from mergershift.cells.layout import default_output
from mergershift.cells.records import RunRecord, RunSpec, Selection
from mergershift.cli.main import main
from mergershift.config import compose, compose_selection
from mergershift.evaluation import ORACLE, VALIDATORS
from mergershift.stages.evaluate import evaluate_step
from mergershift.stages.prepare import prepare_step
from mergershift.stages.train import train_step
from mergershift.tracking import open_run, tracking_address
from mergershift.tracking import publisher as publisher_module
from mergershift.tracking.server import reach

NOBODY = "http://127.0.0.1:9"
EPOCHS = [{"epoch": float(n), "train_loss": 1 / (n + 3)} for n in range(4)]
CONFIG = {
    "seed": 3,
    "filters": {"name": "two"},
    "transfer": {"source": "pristine", "target": "noisy", "labelled": "source"},
    "training": {"optimizer": {"lr": 1e-05}},
    "choices": {"transfer": "pristine_to_noisy", "adaptation": "mmd"},
}
SPEC = RunSpec("t1", "e", "a training", CONFIG, {"data_hash": "d"}, None, 1000)


def finished(folder, spec=SPEC, status="FINISHED", epochs=EPOCHS):
    """Write the folder of a finished training that no server knows."""
    folder.mkdir(parents=True)
    run = open_run(NOBODY, spec)
    run.log_epochs(epochs)
    run.record({"target_entropy": 0.25}, status).write(folder / "run.json")
    (folder / "config.yaml").write_text("# as it was\n" + yaml.safe_dump(CONFIG))
    pd.DataFrame(epochs).to_csv(folder / "epochs.csv", index=False)
    (folder / "artifacts/figures").mkdir(parents=True)
    (folder / "artifacts/git.diff").write_text("diff")
    (folder / "artifacts/figures/curves.png").write_bytes(b"png")
    return folder


def sync(capsys, *folders):
    """Run `mergershift sync`; returns its exit code, its output and its error output."""
    with pytest.raises(SystemExit) as ended:
        main(["sync", *map(str, folders)])
    out, err = capsys.readouterr()
    return ended.value.code, out.strip(), err


def stored(address):
    """Everything that the active runs of a server hold, by training."""
    client = MlflowClient(tracking_uri=address)

    def files(run_id, folder=None):
        for entry in client.list_artifacts(run_id, folder):
            if entry.is_dir:
                yield from files(run_id, entry.path)
            else:
                yield entry.path

    found = {}
    for run in client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]):
        run_id, training = run.info.run_id, run.data.tags["mergershift.training"]
        assert training not in found, "one training, one run"
        histories = {
            name: sorted((m.step, m.timestamp, m.value) for m in client.get_metric_history(run_id, name))
            for name in run.data.metrics
        }
        found[training] = {
            "id": run_id,
            "name": run.info.run_name,
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "parameters": run.data.params,
            "tags": run.data.tags,
            "metrics": histories,
            "files": {name: _content(client, run_id, name) for name in files(run_id)},
        }
    return found


def _content(client, run_id, name):
    with TemporaryDirectory() as folder:
        return Path(client.download_artifacts(run_id, name, folder)).read_bytes()


def test_a_folder_is_published_as_it_is_and_publishing_it_again_duplicates_nothing(database, project, capsys):
    folder = finished(project / "outputs/cells/a/train")
    code, line, err = sync(capsys)
    assert (code, line) == (0, f"1 training: 1 published to {database}, 0 already complete"), err
    once = stored(database)
    record = json.loads((folder / "run.json").read_text())
    assert record["run_id"] is None
    run = once["t1"]
    assert run["name"] == "mmd · two · pristine→noisy · s3"
    assert run["status"] == "FINISHED"
    assert run["times"] == (1000, record["ended"])
    assert run["parameters"]["learning_rate"] == "1e-05"
    assert "data_hash" not in run["tags"], "it is in run.json"
    made = {int(epoch): when for epoch, when in record["epoch_times"].items()}
    assert run["metrics"] == {
        "train/loss": [(n, made[n], epoch["train_loss"]) for n, epoch in enumerate(EPOCHS)],
        "validators/target_entropy": [(0, record["ended"], 0.25)],
    }
    assert {name: run["files"][name] for name in ("git.diff", "figures/curves.png", "config.yaml")} == {
        "git.diff": b"diff",
        "figures/curves.png": b"png",
        "config.yaml": (folder / "config.yaml").read_bytes(),
    }
    assert run["files"].keys() == {"git.diff", "figures/curves.png", "config.yaml", "run.json"}
    assert sync(capsys)[1].endswith(f"0 published to {database}, 1 already complete")
    assert stored(database) == once


def test_an_interrupted_run_is_completed(database, project, capsys):
    """The training was killed after the server had two epochs, and was finished without a server."""
    open_run(database, SPEC).log_epochs(EPOCHS[:2])
    finished(project / "outputs/runs/a/train")
    run_id = stored(database)["t1"]["id"]
    assert "1 published" in sync(capsys)[1]
    run = stored(database)["t1"]
    assert (run["id"], run["status"]) == (run_id, "FINISHED")
    assert [(step, value) for step, _, value in run["metrics"]["train/loss"]] == [
        (n, epoch["train_loss"]) for n, epoch in enumerate(EPOCHS)
    ]
    (artifact,) = (project / "mlartifacts").rglob("curves.png")
    artifact.unlink()
    assert "1 published" in sync(capsys)[1]
    assert artifact.read_bytes() == b"png", "a file that the server has lost is sent again"
    assert "1 already complete" in sync(capsys)[1]


def test_changed_metrics_and_files_replace_the_old_ones_once(database, project, capsys):
    """They come from a cache and are older than those they replace."""
    folder = finished(project / "outputs/runs/a/train")
    sync(capsys)
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(record | {"metrics": {"target_entropy": 0.75}, "ended": 5}))
    (folder / "artifacts/git.diff").write_text("diffs")
    for outcome in ("1 published", "1 already complete"):
        assert outcome in sync(capsys)[1]
    run = stored(database)["t1"]
    assert (
        MlflowClient(tracking_uri=database).get_run(run["id"]).data.metrics["validators/target_entropy"]
        == 0.75
    )
    assert [value for *_, value in run["metrics"]["validators/target_entropy"]] == [0.25, 0.75]
    assert run["files"]["git.diff"] == b"diffs"


def test_trials_are_published_as_children_of_their_study(database, project, capsys):
    """In any order: the folder of a child may come before that of its parent."""
    study = replace(SPEC, training="study", name="tuning of mmd")
    trials = project / "state/tuning/mmd"
    for number, status in enumerate(("FINISHED", "KILLED")):
        child = replace(SPEC, training=f"trial{number}", parent="study")
        finished(trials / f"0-trial{number}", child, status)
    finished(trials / "study", study, epochs=[])
    assert "3 published" in sync(capsys)[1]
    found = stored(database)
    assert found["trial1"]["status"] == "KILLED"
    assert {found[f"trial{n}"]["tags"]["mlflow.parentRunId"] for n in (0, 1)} == {found["study"]["id"]}
    assert "3 already complete" in sync(capsys)[1]


RECORD = RunRecord(
    run_id=None,
    experiment="e",
    name="a training",
    training="t9",
    parent=None,
    tags={},
    status="FINISHED",
    metrics={},
    started=None,
    ended=2000,
    epoch_times={},
).model_dump(mode="json")
BAD: dict[str, tuple[Any, str]] = {
    "torn": ('{"training": "t', "not JSON"),
    "list": (["training"], "found ['training'], expected an object"),
    "model": ({"model": "x"}, "missing"),
    "nameless": (
        {key: value for key, value in RECORD.items() if key != "training"},
        "training: missing",
    ),
    "query": (RECORD | {"training": "' or 1"}, "string should match"),
    "word": (RECORD | {"training": "t2", "metrics": {"best": "high"}}, "metrics.best"),
    "experiment": (RECORD | {"training": "t3", "experiment": "e" * 501}, "MLflow rejects this training"),
    "later": (RECORD | {"training": "t6", "format": 2}, "format: found 2, expected 1"),
    "earlier": ({key: value for key, value in RECORD.items() if key != "format"}, "format: missing"),
    "more": (RECORD | {"training": "t7", "surplus": 1}, "surplus: not a known entry"),
}


def test_trainings_that_cannot_be_published_are_named_and_the_others_published(database, project, capsys):
    good = finished(project / "outputs/cells/good/train")
    for name, (record, _) in BAD.items():
        (project / f"outputs/cells/{name}/train").mkdir(parents=True)
        text = record if isinstance(record, str) else json.dumps(record)
        (project / f"outputs/cells/{name}/train/run.json").write_text(text)
    table = finished(project / "outputs/cells/table/train", replace(SPEC, training="t4")) / "epochs.csv"
    table.write_text("epoch,train_loss\n0,0.5\n1")
    shutil.copytree(good, project / "outputs/cells/of_good/train")
    finished(project / "outputs/cells/new/train.part", replace(SPEC, training="t5"))
    code, line, err = sync(capsys)
    assert code == 1
    lines = err.splitlines()
    for name, (_, found) in BAD.items():
        (problem,) = (text for text in lines if f"/cells/{name}/train" in text)
        assert found in problem
    assert sum(str(table) in text for text in lines) == 1
    duplicate = project / "outputs/cells/of_good/train"
    assert f"{duplicate}: the same training as {good}, which is published instead." in lines
    assert len(lines) == 2 * (len(BAD) + 2)
    assert line.startswith(f"{len(BAD) + 3} trainings: 1 published")
    assert line.endswith(f"{len(BAD) + 2} not published, see above")


CHOSEN = Selection(
    training="t9",
    validator="target_entropy",
    best_by="target_entropy",
    threshold_rule="half",
    epoch=1,
    threshold=0.5,
    oracle_epoch=1,
    oracle_threshold=0.5,
).model_dump(mode="json")
FOREIGN: dict[str, tuple[str, Any, str]] = {
    "list": ("selection.json", ["t"], "found ['t'], expected an object"),
    "no-epoch": (
        "selection.json",
        {key: CHOSEN[key] for key in CHOSEN if key != "epoch"},
        "epoch: missing",
    ),
    "word": ("selection.json", CHOSEN | {"epoch": "last"}, "epoch: found 'last', expected a valid integer"),
    "torn": ("selection.json", '{"training": "to', "not JSON"),
    "metrics": ("metrics.json", ["t"], "found ['t'], expected an object"),
    "flat": ("metrics.json", {"target": {"unique": {"auc": 0.5}}}, "target.unique.auc: found 0.5"),
    "gone": ("metrics.json", None, "no such file"),
}


def tables() -> dict[str, Any]:
    """The tables of an evaluation, with a single test image."""
    validators = pd.DataFrame({"epoch": [1], **dict.fromkeys((*VALIDATORS, ORACLE), 0.5)})
    row = {"row": 0, "galaxy": 0, "camera": 0, "block": 0, "label": 1, "probability": 0.5, "threshold": 0.5}
    predictions = pd.DataFrame([row | {"role": role, "domain": role} for role in ("source", "target")])
    return {
        "validators.csv": validators.to_csv(index=False),
        "predictions.csv": predictions.to_csv(index=False),
        "metrics.json": {"target": {"unique": {"auc": {"value": 0.5}}}},
    }


def write_evaluation(folder: Path, files: dict[str, Any]) -> None:
    """Write the files of an evaluation of the training in `folder`, by name; those that are None are left out."""
    evaluated = folder.with_name("evaluation")
    evaluated.mkdir()
    for name, content in files.items():
        if content is not None:
            (evaluated / name).write_text(content if isinstance(content, str) else json.dumps(content))


def test_a_foreign_evaluation_is_named_and_the_other_trainings_are_published(database, project, capsys):
    finished(project / "outputs/cells/good/train")
    for training, (name, content, _) in FOREIGN.items():
        folder = finished(project / f"outputs/cells/{training}/train", replace(SPEC, training=training))
        write_evaluation(
            folder, tables() | {"selection.json": CHOSEN | {"training": training}, name: content}
        )
    code, line, err = sync(capsys)
    assert code == 1
    assert line.startswith(f"{1 + len(FOREIGN)} trainings: 1 published")
    for training, (name, _, reason) in FOREIGN.items():
        (problem,) = (text for text in err.splitlines() if f"/cells/{training}/evaluation/{name}" in text)
        assert reason in problem


def test_only_the_named_folder_is_published(database, project, capsys):
    finished(project / "outputs/cells/b/train", replace(SPEC, training="b"))
    named = finished(project / "outputs/runs/c/train", replace(SPEC, training="c"))
    assert sync(capsys, named)[1].startswith("1 training: 1 published")
    assert stored(database).keys() == {"c"}
    assert sync(capsys)[1].startswith("2 trainings: 1 published")


def test_a_deleted_run_stays_deleted(database, project, capsys):
    finished(project / "outputs/cells/a/train")
    sync(capsys)
    client = MlflowClient(tracking_uri=database)
    client.delete_run(stored(database)["t1"]["id"])
    code, line, _ = sync(capsys)
    assert code == 0
    assert line.endswith("1 deleted on the server and left deleted")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    assert len(client.search_runs(experiments, run_view_type=ViewType.ALL)) == 1


def test_a_deleted_experiment_stays_deleted(database, project, capsys):
    finished(project / "outputs/cells/a/train")
    sync(capsys)
    client = MlflowClient(tracking_uri=database)
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    experiment_id = experiment.experiment_id
    client.delete_experiment(experiment_id)
    finished(project / "outputs/cells/b/train", replace(SPEC, training="t2"))
    code, line, _ = sync(capsys)
    assert code == 0
    assert line.endswith(
        f"0 published to {database}, 0 already complete, 2 deleted on the server and left deleted"
    )
    assert client.get_experiment(experiment_id).lifecycle_stage == "deleted"
    run = open_run(database, SPEC)
    assert client.get_experiment(experiment_id).lifecycle_stage == "active", "a resumed training needs it"
    assert run.run_id in {found["id"] for found in stored(database).values()}


def test_a_server_that_does_not_answer_is_reported_in_two_lines(project, capsys, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", NOBODY)
    finished(project / "outputs/cells/a/train")
    code, line, err = sync(capsys)
    assert (code, line) == (1, "")
    assert err.startswith(f"Error: MLflow at {NOBODY} does not answer: connection refused.")
    assert err.count("\n") == 2


def test_only_one_process_publishes_at_a_time(database, project, capsys):
    (project / "state").mkdir()
    with FileLock(project / "state/sync.lock"):
        code, _, err = sync(capsys)
    assert code == 1
    assert "another process is publishing" in err


@pytest.fixture
def trained(archive, database):
    """A function that trains and evaluates a cell and returns its folder."""

    def train(*overrides, seed=0):
        config = compose(
            ["filters=two", "training.epochs=2", "trainer.threads=1", f"seed={seed}", *overrides]
        )
        prepare_step(config)
        cell = default_output(config)
        train_step(config, cell)
        evaluate_step(cell, compose_selection())
        return cell

    return train


def content(run):
    """The content of a run that depends neither on its time nor on its id."""
    return {
        "name": run["name"],
        "status": run["status"],
        "parameters": run["parameters"],
        "tags": run["tags"],
        "metrics": {
            name: [(step, value) for step, _, value in history]
            for name, history in run["metrics"].items()
            if not name.startswith("system/")  # of the machine during the training, and nowhere on disk
        },
        "files": run["files"],
    }


@pytest.mark.system
def test_an_empty_server_gets_the_same_run_as_the_first_one(archive, trained, server, capsys, monkeypatch):
    """The case of a cell that DVC took from its cache, or that a colleague trained."""
    cell = trained()
    ((training, first),) = stored(tracking_address(None)).items()
    times = json.loads((cell / "train/run.json").read_text())["epoch_times"]
    assert [when for _, when, _ in first["metrics"]["train/loss"]] == list(times.values())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    assert sync(capsys)[1] == f"1 training: 1 published to {server.address}, 0 already complete"
    once = stored(server.address)[training]
    assert content(once) == content(first)
    assert sync(capsys)[1].endswith("1 already complete")
    assert stored(server.address)[training] == once
    assert {"git.diff"}.isdisjoint(once["files"]), "the checkout is clean"
    assert {"config.yaml", "run.json", "statistics.json", "metrics.json", "predictions.csv"} <= set(
        once["files"]
    )
    assert {"figures/learning_curves.png", "figures/roc.png"} <= set(once["files"])
    assert {"validators/epoch", "validators/threshold", "target/auc", "validation/source_loss"} <= set(
        once["metrics"]
    )


@pytest.mark.system
def test_a_training_and_its_evaluation_without_a_server(archive, trained, capsys, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    (archive / "src/mergershift/new.py").write_text("x = 1\n")
    secret = NOBODY.replace("//", "//bob:s@cret@")
    probed: list[str] = []

    def reach_and_remember(address: str) -> None:
        probed.append(address)
        reach(address)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", secret)
    monkeypatch.setattr(publisher_module, "reach", reach_and_remember)
    cell = trained(f"tracking.uri='{secret}'")
    assert probed == [secret], "the evaluation uses the current password, which the training's folder lacks"
    assert not any(b"cret@" in path.read_bytes() for path in cell.rglob("*") if path.is_file())
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3, caplog.text
    assert all("`mergershift sync`" in message for message in caplog.messages)
    assert json.loads((cell / "train/run.json").read_text())["run_id"] is None
    assert (cell / "evaluation/metrics.json").is_file()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    # A training that replaces another one has the other's evaluation until it is evaluated itself.
    other = trained(seed=1)
    shutil.rmtree(other / "evaluation")
    shutil.copytree(cell / "evaluation", other / "evaluation")
    sync(capsys)
    found = stored(tracking_address(None))
    assert len(found) == 2
    run = found[json.loads((cell / "train/run.json").read_text())["training"]]
    assert run["status"] == "FINISHED"
    assert b"+x = 1" in run["files"]["git.diff"]
    assert [step for step, *_ in run["metrics"]["train/loss"]] == [0, 1]
    assert run["metrics"]["target/auc"]
    assert sync(capsys)[1].startswith("2 trainings: 0 published")
    assert stored(tracking_address(None)) == found
