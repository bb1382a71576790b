"""The whole pipeline under DVC, on a small archive of noise."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from mlflow import MlflowClient
from ruamel.yaml import YAML

from mergershift.config.study import read_study, set_filters

ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
METHODS = [
    {"transfer": "pristine_to_noisy", "adaptation": name, "experiment": "default"}
    for name in ("source_only", "mmd")
]
pytestmark = pytest.mark.slow


def study(project: Path, epochs: int = 1, **changes: object) -> None:
    """Make the study small."""
    yaml = YAML()
    path = project / "conf" / "study.yaml"
    document = yaml.load(path.read_text())
    document.update({"filters": ["two"]} | changes)
    yaml.dump(document, path)
    (project / "conf/training/demo.yaml").write_text(
        f"defaults:\n  - default\n  - _self_\nepochs: {epochs}\n"
    )
    (project / "conf/trainer/cpu.yaml").write_text("accelerator: cpu\nprecision: 32-true\nthreads: 1\n")


def repro(project: Path, *targets: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mergershift", "repro", *targets]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, env=ENVIRONMENT)


def dvc(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ran(done: subprocess.CompletedProcess) -> list[str]:
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return re.findall(r"Running stage '(.*)'", done.stdout)


def runs(project: Path) -> list:
    client = MlflowClient(tracking_uri=f"sqlite:///{project}/mlflow.db")
    experiment = client.get_experiment_by_name("mergershift")
    assert experiment is not None
    return client.search_runs([experiment.experiment_id])


def test_repro_runs_what_changed_and_nothing_else(archive):
    source_only, mmd = METHODS
    study(archive, methods=[source_only, mmd])
    text = (archive / "dvc.yaml").read_text()
    (archive / "dvc.yaml").write_text(text[: text.index("\n  report:\n")] + "\n")
    done = repro(archive)
    first = ran(done)
    cells = [f"two-method{n}-0" for n in range(2)]
    expected = [
        "code",
        "prepare@two",
        *(f"{step}@{cell}" for cell in cells for step in ("train", "evaluate")),
        "summary",
    ]
    assert sorted(first) == sorted(expected)
    for name in ("source_only", "mmd", "unknown data"):
        assert name in done.stdout, "the transfer table is printed"
    assert "…" not in done.stdout, "and fits 80 columns"
    assert ran(repro(archive)) == []

    conf = archive / "conf/adaptation/mmd.yaml"
    conf.write_text(conf.read_text().replace("trade_off: 1.0", "trade_off: 0.5"))
    again = re.findall(r"Running stage '(.*)'", dvc(archive, "repro", "evaluate"))
    assert sorted(again) == ["code", "evaluate@two-method1-0", "train@two-method1-0"]

    # Every training is one run, finished, with configuration, metrics by epoch, lineage and figures.
    found = runs(archive)
    assert len(found) == 3
    client = MlflowClient(tracking_uri=f"sqlite:///{archive}/mlflow.db")
    for run in found:
        assert run.info.status == "FINISHED"
        assert {"data_hash", "git_commit", "git_dirty", "config_hash", "data_kind"} <= run.data.tags.keys()
        assert run.data.params["training.optimizer.lr"] == "0.001"
        assert "target.unique.balanced_accuracy" in run.data.metrics
        assert [m.step for m in client.get_metric_history(run.info.run_id, "train_loss")] == [0]
        names = {f.path for f in client.list_artifacts(run.info.run_id)}
        assert {"config.yaml", "git.diff", "run.json", "metrics.json", "predictions.csv", "figures"} <= names
    table = pd.read_csv(archive / "outputs/summary/transfer.csv")
    assert set(table["adaptation"]) == {"source_only", "mmd"}
    assert (table["data"] == "unknown").all()
    assert not list((archive / "state").rglob("*.ckpt")), "a cell's state is deleted when it is done"
    for command in (["metrics", "show"], ["plots", "diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *command],
            cwd=archive,
            capture_output=True,
            text=True,
            env=ENVIRONMENT,
        )
        assert done.returncode == 0, done.stderr


def test_a_killed_training_resumes_in_the_same_run(archive, tmp_path):
    """All processes are killed with SIGKILL in mid-training; the same command then finishes the training."""
    study(archive, epochs=8, methods=METHODS[1:])
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mergershift", "repro", "summary"],
            cwd=archive,
            stdout=log,
            stderr=log,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        last = archive / "state/cells/two/pristine_to_noisy/mmd/default/seed0/checkpoints/last.ckpt"
        deadline = time.monotonic() + 120
        while not last.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
        family = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        psutil.wait_procs(family, timeout=30)  # DVC respects the lock of a zombie process
    assert last.exists(), (tmp_path / "log").read_text()
    (interrupted,) = runs(archive)
    assert interrupted.info.status == "RUNNING"
    ran(repro(archive, "summary"))
    (finished,) = runs(archive)
    assert finished.info.run_id == interrupted.info.run_id
    assert finished.info.status == "FINISHED"
    cell = archive / "outputs/cells/two/pristine_to_noisy/mmd/default/seed0"
    assert json.loads((cell / "train/run.json").read_text())["run_id"] == finished.info.run_id
    assert len(pd.read_csv(cell / "train/epochs.csv")) == 8
    client = MlflowClient(tracking_uri=f"sqlite:///{archive}/mlflow.db")
    steps = [m.step for m in client.get_metric_history(finished.info.run_id, "train_loss")]
    assert sorted(steps) == list(range(8)), "every epoch once"


def test_in_a_clone_without_data_the_message_names_the_commands(project):
    done = repro(project)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 2
    assert "mergershift data mock" in done.stderr
    assert "mergershift data fetch" in done.stderr


def test_a_missing_filter_set_is_named(archive):
    done = repro(archive)
    assert done.returncode == 1
    assert "no three-filter set" in done.stderr
    assert "runs filters two" in set_filters(["two"])
    assert read_study().filters == ("two",)
    assert "data/ has three too" in set_filters(["two", "three"]), (
        "a filter set that the user removed is not added again"
    )
    assert "# What `dvc repro` runs" in (archive / "conf/study.yaml").read_text()


def test_a_failed_stage_is_reported_without_a_traceback(archive):
    study(archive)
    (archive / "conf/adaptation/mmd.yaml").write_text("penalty: 3\nweighting: {}\n")
    done = repro(archive)
    assert done.returncode == 1
    assert "adaptation.penalty" in done.stderr
    assert "Traceback" not in done.stderr
