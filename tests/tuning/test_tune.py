"""Searches on real databases, with real worker processes that are really killed."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from mlflow import MlflowClient
from optuna.trial import TrialState

from mergershift.config import compose
from mergershift.errors import UserError
from mergershift.steps import prepare_step
from mergershift.tracking import tracking_address
from mergershift.tuning import outcome
from mergershift.tuning.store import TRAINING, open_study
from mergershift.tuning.trials import FINISHED, Objective, original_number
from mergershift.tuning.tune import read_search
from mergershift.tuning.worker import work

QUICK = ["filters=two", "adaptation=mmd", "training.epochs=3", "training.batch_size=32", "tuning.heartbeat=1"]


@pytest.fixture
def ready(archive, monkeypatch):
    """A project with prepared images; work() changes how signals are answered."""
    prepare_step(compose(["filters=two"]))
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield archive
    for each, handler in before.items():
        signal.signal(each, handler)


def study_of(overrides):
    search, _, _ = read_search(overrides)
    return open_study(search)


def wait_for(condition, seconds=90):
    for _ in range(seconds * 10):
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")


def running_with_an_epoch(study):
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.intermediate_values and "worker" in trial.user_attrs:
            return trial
    return None


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "postgresql"])
def test_a_killed_workers_trial_is_taken_up_and_none_is_lost_or_doubled(ready, storage, request):
    overrides = [*QUICK, "tuning.trials=4", "tuning.pruning=false"]
    if storage == "postgresql":
        overrides.append(f"tuning.storage={request.getfixturevalue('postgresql')}")
    study = study_of(overrides)
    command = [sys.executable, "-m", "mergershift", "tune", "--workers", "2", *overrides]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    victim = wait_for(lambda: running_with_an_epoch(study))
    os.kill(int(victim.user_attrs["worker"].rpartition(":")[2]), signal.SIGKILL)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "was killed (signal 9) and is started again" in said

    trials = study.get_trials()
    assert sum(each.state in FINISHED for each in trials) == 4
    assert {each.state for each in trials} == {TrialState.COMPLETE, TrialState.FAIL}
    (again,) = (each for each in trials if original_number(each) != each.number)
    assert original_number(again) == victim.number
    assert again.params == victim.params
    assert trials[victim.number].state == TrialState.FAIL
    assert sorted(again.intermediate_values) == [0, 1, 2]

    client = MlflowClient(tracking_uri=tracking_address(None))
    experiment = client.get_experiment_by_name("mergershift")
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in runs if run is not parent]
    assert parent.data.tags["mergershift.training"] == study.user_attrs[TRAINING]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert len(children) == 4
    for run in children:
        history = client.get_metric_history(run.info.run_id, "source_val_loss")
        assert sorted(point.step for point in history) == [0, 1, 2]
    assert {run.info.status for run in runs} == {"FINISHED"}
    figures = {path.path for path in client.list_artifacts(parent.info.run_id, "figures")}
    assert {f"figures/{name}.png" for name in ("history", "parallel_coordinates", "importances")} <= figures

    folder = ready / "outputs/tuning/tuned_mmd"
    facts, table = json.loads((folder / "study.json").read_text()), pd.read_csv(folder / "trials.csv")
    assert (facts["completed"], facts["retried"]) == (4, 1)
    assert table["information_maximisation"].max() == pytest.approx(
        facts["best"]["values"]["information_maximisation"]
    )
    assert table["takes_up"].dropna().tolist() == [victim.number]
    assert (folder / "history.png").stat().st_size > 1000

    written = (ready / "conf/experiment/tuned_mmd.yaml").read_text()
    config = compose(["experiment=tuned_mmd", "filters=two"])
    assert (
        config.adaptation.weighting["trade_off"] == study.best_trial.params["adaptation.weighting.trade_off"]
    )
    assert config.training.optimizer["lr"] == study.best_trial.params["training.optimizer.lr"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "4 trials completed" in done.stdout
    assert len(study.get_trials()) == len(trials)
    assert (ready / "conf/experiment/tuned_mmd.yaml").read_text() == written


def test_two_objectives_give_a_pareto_front_and_an_interruption_hands_the_trial_back(ready, monkeypatch):
    objectives = "tuning.objectives=[source_balanced_accuracy,domain_distance]"
    overrides = [*QUICK, objectives, "tuning.trials=2", "training.epochs=1"]
    search, prepared, best_by = read_search(overrides)
    study = open_study(search)

    def interrupted(self, trial):
        trial.suggest_float("x", 0, 1)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Objective, "__call__", interrupted)
        with pytest.raises(KeyboardInterrupt):
            work(search, prepared, best_by)
    assert [each.state for each in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    work(search, prepared, best_by)
    finished = study.get_trials(states=FINISHED)
    assert len(finished) == 2
    assert original_number(finished[0]) == 0
    best = outcome.winner(study, search, best_by)
    front = {each.number for each in study.best_trials}
    assert best.number in front
    assert best.user_attrs[best_by] == max(study.trials[n].user_attrs[best_by] for n in front)
    accuracy, distance = best.values
    assert 0 <= accuracy <= 1
    assert -0.1 < distance <= 2
    assert "pareto_front" in outcome.figures(search, study)
    table = outcome.table(search, study)
    assert table.loc[table["state"] == "complete", "domain_distance"].notna().all()


def test_a_diverged_training_is_a_pruned_trial(ready):
    overrides = [
        *QUICK,
        "tuning.trials=1",
        "training.optimizer.lr=1e30",
        "tuning.space.training.optimizer.lr={low: 1e29, high: 1e31, log: true}",
    ]
    search, prepared, best_by = read_search(overrides)
    work(search, prepared, best_by)
    (trial,) = open_study(search).trials
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["why"] == "diverged"
    with pytest.raises(UserError, match="none of 1 trials came to its end"):
        outcome.winner(open_study(search), search, best_by)


def test_an_oracle_is_called_so_everywhere(ready):
    search, _, _ = read_search([*QUICK, "tuning.objectives=[oracle_target_balanced_accuracy]"])
    assert search.experiment == "oracle_tuned_mmd"
    assert search.name.startswith("oracle_tuned_mmd-")


def test_a_search_says_nothing_of_target_labels(ready):
    """Turning all labels of the target round changes no trial."""
    search, prepared, best_by = read_search([*QUICK, "tuning.trials=1", "training.epochs=1"])
    work(search, prepared, best_by)
    (first,) = open_study(search).trials
    path = prepared.folder / "noisy-labels.npy"
    labels = np.load(path)
    np.save(path, 1 - labels)
    other, prepared, _ = read_search([*QUICK, "tuning.trials=1", "training.epochs=1", "tuning.name=turned"])
    work(other, prepared, best_by)
    (second,) = open_study(other).trials
    assert second.values == first.values
    assert second.params == first.params


def test_the_same_name_for_another_search_is_refused(ready):
    study_of([*QUICK, "tuning.name=ours"])
    study_of([*QUICK, "tuning.name=ours", "tuning.trials=99", "trainer=cpu"])
    with pytest.raises(UserError, match="'ours' searches something else"):
        study_of([*QUICK, "tuning.name=ours", "training.batch_size=64"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["tuning.storage=postgresql+psycopg://a:secret@127.0.0.1:1/b"],
            r"a:\*\*\*@127.0.0.1.*does not answer",
        ),
        (["tuning.storage=nonsense"], "not the address of a database"),
        (["experiment=deepmerge_2020"], "a search starts from the plain configuration"),
        (["tuning=mdm"], "conf/tuning/ has no 'mdm'"),
    ],
)
def test_mistakes_are_said_in_two_lines(ready, overrides, message):
    with pytest.raises(UserError, match=message) as caught:
        study_of([*QUICK, *overrides])
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


def test_a_method_without_ranges_is_named(ready):
    (ready / "conf/tuning/mmd.yaml").unlink()
    with pytest.raises(UserError, match=r"conf/tuning/mmd\.yaml: missing"):
        read_search(QUICK)


def test_an_own_experiment_is_not_overwritten(ready):
    search, _, _ = read_search([*QUICK, "tuning.trials=1"])
    study = optuna.create_study()
    ranges = search.tuning.ranges
    params = {key: 0.5 * (each.low + each.high) for key, each in ranges.items() if each.choices is None}
    distributions = {
        key: optuna.distributions.FloatDistribution(ranges[key].low, ranges[key].high) for key in params
    }
    study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=0.5))
    path = ready / "conf/experiment/tuned_mmd.yaml"
    path.write_text("# @package _global_\n# mine\n")
    assert outcome.write_experiment(search, study, study.best_trial) == path
    assert path.with_name("tuned_mmd.yaml.bak").read_text().endswith("# mine\n")
    outcome.write_experiment(search, study, study.best_trial)
    assert path.with_name("tuned_mmd.yaml.bak").read_text().endswith("# mine\n")
    document = yaml.safe_load(path.read_text())
    assert document["training"]["optimizer"]["lr"] == params["training.optimizer.lr"]
    assert {"override /adaptation": "mmd"} in document["defaults"]
