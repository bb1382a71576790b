"""The whole pipeline under DVC, on a small archive of noise."""

import json
import subprocess
import time

import pandas as pd
import pytest
from checkouts import commit
from studies import (
    EPOCHS,
    begin_repro,
    cell_of,
    checkpoint,
    client,
    dvc,
    kill_family,
    leave_page_out,
    ran,
    repro,
    runs,
    stages,
    steps,
)

from mergershift.config.study import read_study
from mergershift.config.study_choice import set_filters

pytestmark = pytest.mark.system


def test_repro_runs_all_once_and_prints_the_table(first_repro, studied):
    _, done = first_repro
    cells = ["two-source_only-s0", "two-mmd-s0"]
    expected = [
        "code",
        "prepare@two",
        *(f"{step}@{cell}" for cell in cells for step in ("train", "evaluate")),
        "summary",
    ]
    assert sorted(ran(done)) == sorted(expected)
    for name in ("source_only", "mmd", "images of unknown provenance"):
        assert name in done.stdout, "the transfer table is printed"
    assert "…" not in done.stdout, "and fits 80 columns"
    assert ran(repro(studied, "summary")) == []
    table = pd.read_csv(studied / "outputs/summary/transfer.csv")
    assert set(table["adaptation"]) == {"source_only", "mmd"}
    assert (table["data"] == "unknown").all()
    assert not list((studied / "state").rglob("*.ckpt")), "state goes when a cell is done"
    for command in (["metrics", "show"], ["plots", "diff"]):
        dvc(studied, *command)


def test_an_edit_runs_what_it_changes_and_a_kill_costs_no_second_run(studied, tmp_path):
    """kill -9 of everything in mid-training; the same command then brings it to its end."""
    before = {run.info.run_id for run in runs(studied)}
    conf = studied / "conf/adaptation/mmd.yaml"
    conf.write_text(conf.read_text().replace("trade_off: 1.0", "trade_off: 0.5"))
    process = begin_repro(studied, tmp_path / "log", "evaluate")
    last = checkpoint(studied, "mmd")
    deadline = time.monotonic() + 120
    while not last.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    kill_family(process)
    said = (tmp_path / "log").read_text()
    assert last.exists(), said
    (interrupted,) = (run for run in runs(studied) if run.info.run_id not in before)
    assert interrupted.info.status == "RUNNING"
    again = ran(repro(studied, "evaluate"))
    assert stages(said) == ["code", "train@two-mmd-s0"]
    assert again == ["train@two-mmd-s0", "evaluate@two-mmd-s0"]
    (finished,) = (run for run in runs(studied) if run.info.run_id not in before)
    assert finished.info.run_id == interrupted.info.run_id
    trained = cell_of(studied, "mmd") / "train"
    assert json.loads((trained / "run.json").read_text())["run_id"] == finished.info.run_id
    assert len(pd.read_csv(trained / "epochs.csv")) == EPOCHS

    # Every training is one run, finished, with configuration, metrics by epoch, lineage and figures.
    found = runs(studied)
    assert len(found) == 3
    for run in found:
        assert run.info.status == "FINISHED"
        assert {"data", "target_95", "dvc_stage", "mlflow.source.git.commit"} <= run.data.tags.keys()
        assert run.data.params["learning_rate"] == "0.001"
        assert "target/balanced_accuracy" in run.data.metrics
        assert steps(studied, run) == list(range(EPOCHS)), "every epoch once"
        names = {f.path for f in client(studied).list_artifacts(run.info.run_id)}
        assert {"config.yaml", "git.diff", "run.json", "metrics.json", "predictions.csv", "figures"} <= names


def test_a_teammate_takes_the_study_from_the_remote(studied, tmp_path, monkeypatch):
    leave_page_out(studied)
    remote = tmp_path / "remote"
    for command in (["add", "data"], ["remote", "add", "-d", "store", str(remote)], ["push", "--run-cache"]):
        dvc(studied, *command, "--quiet")
    commit(studied)
    mate = tmp_path / "mate"
    subprocess.run(["git", "clone", "-q", studied, mate], check=True)
    monkeypatch.chdir(mate)
    found = repro(mate)
    assert found.returncode == 1
    assert found.stderr.count("\n") == 2
    for advice in ("mergershift repro --pull", "dvc pull data.dvc", "mergershift data mock"):
        assert advice in found.stderr
    done = repro(mate, "--pull", "--jobs", "2")
    assert ran(done) == []
    assert "Data and pipelines are up to date." in done.stdout
    assert "Balanced accuracy" in done.stdout, "the transfer table is printed"
    for name in ("train/epochs.csv", "evaluation/metrics.json"):
        assert (cell_of(mate, "mmd") / name).read_bytes() == (cell_of(studied, "mmd") / name).read_bytes()
    refused = repro(mate, "--pull", "--dry")
    assert refused.returncode == 1
    assert "Leave out one of them" in refused.stderr


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
    assert "data/ also has three" in set_filters(["two", "three"]), "what the user took out stays out"
    assert "# The study that `dvc repro` runs" in (archive / "conf/study.yaml").read_text()


def test_a_failed_stage_is_reported_without_a_traceback_of_ours(studied):
    (studied / "conf/adaptation/mmd.yaml").write_text("penalty: 3\nweighting: {}\n")
    done = repro(studied)
    assert done.returncode == 1
    assert "adaptation.penalty" in done.stderr
    assert "Traceback" not in done.stderr
