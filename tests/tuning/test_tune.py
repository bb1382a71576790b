"""Searches on real databases, with real worker processes that are killed."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
import yaml
from checkouts import copy
from click.testing import CliRunner
from mlflow import MlflowClient
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from mergershift.cli.main import cli, main
from mergershift.config import compose
from mergershift.config.tuning_schema import RangeConfig
from mergershift.core.errors import UserError
from mergershift.images import prepare
from mergershift.tracking import tracking_address
from mergershift.tuning import outcome
from mergershift.tuning.endings import is_finished, original_number
from mergershift.tuning.objective import Objective, study_folder
from mergershift.tuning.space import current
from mergershift.tuning.storage import TRAINING, answering, open_study
from mergershift.tuning.tune import read_search
from mergershift.tuning.worker import work

QUICK = ["filters=two", "adaptation=mmd", "training.epochs=3", "training.batch_size=32", "tuning.heartbeat=1"]


@pytest.fixture(scope="module")
def prepared_once(committed, sample, tmp_path_factory):
    """The images that each search gets a copy of."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(sample, "two", compose(["filters=two"], committed / "conf").split, folder / "two-by_galaxy")
    return folder


@pytest.fixture
def ready(archive, prepared_once):
    """A project with prepared images; work() changes how signals are answered."""
    (archive / "outputs").mkdir()
    copy(prepared_once, archive / "outputs/prepared")
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield archive
    for number, handler in before.items():
        signal.signal(number, handler)


def study_of(overrides):
    search, _ = read_search(overrides)
    return open_study(search)


def wait_for(condition, seconds=90):
    for _ in range(seconds * 10):
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"condition not met within {seconds} s")


def running_with_an_epoch(study):
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.intermediate_values and "worker" in trial.user_attrs:
            return trial
    return None


def distribution(searched: RangeConfig) -> BaseDistribution:
    if searched.choices:
        return CategoricalDistribution(list(searched.choices))
    assert searched.low is not None
    assert searched.high is not None
    return FloatDistribution(searched.low, searched.high)


@pytest.mark.system
@pytest.mark.parametrize("storage", ["sqlite", "postgresql"])
def test_a_killed_workers_trial_is_retried_and_none_is_lost_or_duplicated(ready, storage, request):
    overrides = [*QUICK, "tuning.trials=3", "tuning.pruning=false"]
    if storage == "postgresql":
        overrides.append(f"tuning.storage={request.getfixturevalue('postgresql')}")
    study = study_of(overrides)
    command = [sys.executable, "-m", "mergershift", "tune", "--workers", "2", *overrides]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    victim = wait_for(lambda: running_with_an_epoch(study))
    os.kill(int(victim.user_attrs["worker"].rpartition(":")[2]), signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert ": killed (signal 9); starting it again" in output

    trials = study.get_trials()
    assert sum(map(is_finished, trials)) == 3
    assert {trial.state for trial in trials} == {TrialState.COMPLETE, TrialState.FAIL}
    (retry,) = (trial for trial in trials if original_number(trial) != trial.number)
    assert original_number(retry) == victim.number
    assert retry.params == victim.params
    assert trials[victim.number].state == TrialState.FAIL
    assert sorted(retry.intermediate_values) == [0, 1, 2]

    client = MlflowClient(tracking_uri=tracking_address(None))
    experiment = client.get_experiment_by_name("mergershift")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    children = [run for run in runs if run is not parent]
    assert parent.data.tags["mergershift.training"] == study.user_attrs[TRAINING]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert len(children) == 3
    for run in children:
        history = client.get_metric_history(run.info.run_id, "validation/source_loss")
        assert sorted(point.step for point in history) == [0, 1, 2]
    assert {run.info.status for run in runs} == {"FINISHED"}
    figures = {path.path for path in client.list_artifacts(parent.info.run_id, "figures")}
    assert {f"figures/{name}.png" for name in ("history", "parallel_coordinates", "importances")} <= figures

    folder = ready / "outputs/tuning/tuned_mmd"
    facts, table = json.loads((folder / "study.json").read_text()), pd.read_csv(folder / "trials.csv")
    assert (facts["completed"], facts["retried"]) == (3, 1)
    assert table["balanced_transport"].max() == pytest.approx(facts["best"]["values"]["balanced_transport"])
    assert table["takes_up"].dropna().tolist() == [victim.number]
    assert (folder / "history.png").stat().st_size > 1000

    written = (ready / "conf/experiment/tuned_mmd.yaml").read_text()
    config = compose(["experiment=tuned_mmd", "filters=two"])
    assert (
        config.adaptation.weighting["trade_off"] == study.best_trial.params["adaptation.weighting.trade_off"]
    )
    assert config.training.optimizer["lr"] == study.best_trial.params["training.optimizer.lr"]
    if storage == "postgresql":
        return
    done = CliRunner().invoke(cli, command[3:])
    assert "3 trials completed" in done.stdout
    assert len(study.get_trials()) == len(trials)
    assert (ready / "conf/experiment/tuned_mmd.yaml").read_text() == written


@pytest.mark.system
def test_a_search_of_impossible_values_ends_with_the_reason(ready, capfd):
    """The values of the first trials are beyond what a network accepts; the configured one is not searched."""
    impossible = ["tuning.space.network.dropout.low=1.2", "tuning.space.network.dropout.high=1.5"]
    with pytest.raises(SystemExit) as ended:
        main(["tune", "--workers", "2", *QUICK, *impossible])
    assert ended.value.code == 1
    err = capfd.readouterr().err
    what, remedy = err[err.index("Error: ") :].strip().splitlines()
    assert re.search(
        r"5 trials in a row failed, the last with dropout is 1\.[2-5]\d*, expected 0 <= dropout < 1", what
    )
    assert "Narrow the ranges" in remedy
    assert not (ready / "conf/experiment/tuned_mmd.yaml").exists()
    assert not (ready / "outputs/tuning").exists()
    client = MlflowClient(tracking_uri=tracking_address(None))
    runs = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert {run.info.status for run in runs} == {"FAILED"}
    assert 1 + 5 <= len(runs) <= 1 + 6, (
        "the study's run and one for each trial, and the other worker's last one"
    )


def test_two_objectives_give_a_pareto_front(ready):
    objectives = "tuning.objectives=[source_balanced_accuracy,domain_distance]"
    search, prepared = read_search([*QUICK, objectives, "tuning.trials=2", "training.epochs=1"])
    study = open_study(search)
    work(search, prepared)
    assert len(list(filter(is_finished, study.trials))) == 2
    best = outcome.winner(study, search)
    front = {trial.number for trial in study.best_trials}
    assert best.number in front
    assert best.user_attrs[search.best_by] == max(study.trials[n].user_attrs[search.best_by] for n in front)
    accuracy, distance = best.values
    assert 0 <= accuracy <= 1
    assert -0.1 < distance <= 2
    assert "pareto_front" in outcome.figures(search, study)
    table = outcome.table(search, study)
    assert table.loc[table["state"] == "complete", "domain_distance"].notna().all()


def fake_objective(monkeypatch, first):
    """Replace the objective by one that calls `first` in its first trial and returns at once in all others."""
    started = []

    def objective(self, trial):
        trial.set_user_attr("worker", "here:1")
        trial.suggest_float("x", 0, 1)
        started.append(trial.number)
        if len(started) == 1:
            first(trial)
        return (0.5,)

    monkeypatch.setattr(Objective, "__call__", objective)


def test_an_interrupted_trial_is_queued_once_more(ready, monkeypatch):
    search, prepared = read_search([*QUICK, "tuning.trials=3"])

    def interrupt(trial):
        raise KeyboardInterrupt

    fake_objective(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        work(search, prepared)
    study = open_study(search)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    work(search, prepared)
    finished = list(filter(is_finished, study.trials))
    assert [original_number(trial) for trial in finished] == [0, 2, 3]


def test_a_trial_that_was_presumed_dead_is_left_to_the_other_worker(ready, monkeypatch):
    search, prepared = read_search([*QUICK, "tuning.trials=2"])

    def sleep_too_long(trial):
        other = open_study(search)
        other.tell(trial.number, state=TrialState.FAIL)
        RetryHeartbeatStaleTrialCallback()(other, other.trials[trial.number])
        trial.report(0.5, 0)

    fake_objective(monkeypatch, sleep_too_long)
    work(search, prepared)
    study = open_study(search)
    assert [trial.state for trial in study.trials] == [
        TrialState.FAIL,
        TrialState.COMPLETE,
        TrialState.COMPLETE,
    ]
    assert original_number(study.trials[1]) == 0


def test_a_trial_whose_worker_died_before_its_first_heartbeat_blocks_no_other(ready, monkeypatch):
    search, prepared = read_search([*QUICK, "tuning.trials=1"])
    study = open_study(search)
    study.ask()  # and then its worker died
    fake_objective(monkeypatch, lambda trial: None)
    work(search, prepared)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]


def test_an_error_in_the_code_stops_the_worker(ready, monkeypatch):
    search, prepared = read_search([*QUICK, "tuning.trials=1"])

    def fail(trial):
        raise ValueError("a mistake in the code")

    fake_objective(monkeypatch, fail)
    with pytest.raises(ValueError, match="a mistake in the code"):
        work(search, prepared)


def test_a_database_that_fails_during_the_search_is_reported_in_two_lines(ready):
    search, _ = read_search(QUICK)
    study = open_study(search)
    with sqlite3.connect(ready / "optuna.db") as connection:
        connection.execute("DROP TABLE trials")
    with (
        pytest.raises(UserError, match=r"database stopped answering: .*no such table") as caught,
        answering(search),
    ):
        study.ask()
    assert len(str(caught.value).splitlines()) == 2


def test_a_study_of_the_same_name_in_another_database_has_its_own_checkpoints(ready):
    here = study_of([*QUICK, "tuning.name=ours"])
    there = study_of([*QUICK, "tuning.name=ours", f"tuning.storage=sqlite:///{ready}/other.db"])
    assert study_folder(here) != study_folder(there)


def test_the_best_trials_experiment_keeps_the_overrides_of_the_search(ready):
    overrides = ["network.dropout=0.4", "tuning.space.network.dropout=null", "training.class_weights=none"]
    search, _ = read_search([*QUICK, *overrides])
    ranges = search.tuning.ranges
    defaults = current(search.config, ranges)
    assert defaults is not None
    values = defaults | {"training.softening": 3.0}
    distributions = {key: distribution(searched) for key, searched in ranges.items()}
    study = optuna.create_study(direction="maximize")
    study.add_trial(optuna.create_trial(params=values, distributions=distributions, value=0.5))
    outcome.write_experiment(search, study, study.best_trial)
    trained = compose(["experiment=tuned_mmd", "filters=two"])
    assert trained.network == search.config.network
    assert trained.adaptation == search.config.adaptation
    assert trained.training == search.config.training.model_copy(update={"softening": 3.0})


def test_a_diverged_training_is_a_pruned_trial(ready):
    overrides = [
        *QUICK,
        "tuning.trials=1",
        "training.optimizer.lr=1e30",
        "tuning.space.training.optimizer.lr={low: 1e29, high: 1e31, log: true}",
    ]
    search, prepared = read_search(overrides)
    work(search, prepared)
    (trial,) = open_study(search).trials
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["why"] == "diverged"
    with pytest.raises(UserError, match="none of 1 trial was completed"):
        outcome.winner(open_study(search), search)


def test_a_search_that_uses_target_labels_is_named_an_oracle(ready):
    search, _ = read_search([*QUICK, "tuning.objectives=[oracle_target_balanced_accuracy]"])
    assert search.experiment == "oracle_tuned_mmd"
    assert search.name.startswith("oracle_tuned_mmd-")
    trained_on_target = ["filters=two", "transfer=oracle_target_only", "adaptation=source_only"]
    search, _ = read_search(trained_on_target)
    assert search.experiment == "oracle_tuned_source_only"


def test_a_search_does_not_depend_on_target_labels(ready):
    """Flipping all labels of the target changes no trial."""
    search, prepared = read_search([*QUICK, "tuning.trials=1", "training.epochs=1"])
    work(search, prepared)
    (first,) = open_study(search).trials
    path = prepared.folder / "noisy-labels.npy"
    labels = np.load(path)
    np.save(path, 1 - labels)
    other, prepared = read_search([*QUICK, "tuning.trials=1", "training.epochs=1", "tuning.name=flipped"])
    work(other, prepared)
    (second,) = open_study(other).trials
    assert second.values == first.values
    assert second.params == first.params


def test_the_same_name_for_another_search_is_refused(ready):
    study_of([*QUICK, "tuning.name=ours"])
    study_of([*QUICK, "tuning.name=ours", "tuning.trials=99", "trainer=cpu"])
    with pytest.raises(UserError, match="'ours' belongs to another search"):
        study_of([*QUICK, "tuning.name=ours", "training.batch_size=64"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["tuning.storage=postgresql+psycopg://a:secret@127.0.0.1:1/b", "tuning.patience=0"],
            r"a@127.0.0.1.*does not answer",
        ),
        (["tuning.storage=nonsense"], "not the address of a database"),
        (["experiment=deepmerge_2020"], "a search starts from experiment=default"),
        (["tuning=mdm"], "conf/tuning/ has no 'mdm'"),
    ],
)
def test_mistakes_are_reported_in_two_lines(ready, overrides, message):
    with pytest.raises(UserError, match=message) as caught:
        study_of([*QUICK, *overrides])
    assert "secret" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2


def test_a_method_without_ranges_is_named(ready):
    (ready / "conf/tuning/mmd.yaml").unlink()
    with pytest.raises(UserError, match=r"conf/tuning/mmd\.yaml does not exist"):
        read_search(QUICK)


def test_the_users_own_experiment_is_not_overwritten(ready):
    search, _ = read_search([*QUICK, "tuning.trials=1"])
    study = optuna.create_study()
    ranges = search.tuning.ranges
    distributions = {
        key: distribution(searched) for key, searched in ranges.items() if searched.choices is None
    }
    params: dict[str, Any] = {}
    for key, interval in distributions.items():
        assert isinstance(interval, FloatDistribution)
        params[key] = 0.5 * (interval.low + interval.high)
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
