"""What a trial trains and what it is worth, with networks that are given instead of trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from cells.samples import config_of, prepare_tiny, write_checkout
from images.samples import undivided
from mlflow import MlflowClient
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, Trial, TrialState
from tuning.samples import LIMIT, search_of

from mergershift.classifier.classifier import Classifier, build_classifier
from mergershift.config import Config
from mergershift.core.database_files import sqlite_address
from mergershift.core.errors import UserError
from mergershift.images import Prepared
from mergershift.training.fit import Result
from mergershift.tuning import objective
from mergershift.tuning.endings import REASON, WHY, TrialFailed
from mergershift.tuning.objective import Objective, Surplus, study_folder
from mergershift.tuning.storage import open_study

ACCURACIES = {13.0: 1.0, 23.5: (1 + 1 / 3) / 2, 3.0: 0.5}
"""Limit of a network -> its accuracy on the labelled validation images: the mergers 4 and 5 and the others 22 to 24."""
OnEpoch = Callable[[list[dict[str, float]], Classifier], None]


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    monkeypatch.chdir(write_checkout(tmp_path / "checkout"))
    return undivided(prepare_tiny(config_of()))


def network(config: Config, limit: float) -> Classifier:
    return build_classifier(config.model_copy(update={"network": config.network | {"limit": limit}}))


def play(monkeypatch: pytest.MonkeyPatch, limits: Sequence[float] = (), kept: int = -1) -> list[Config]:
    """Let a training give a network of one of `limits` in each epoch, else the configured one in its only epoch.

    The network of the epoch `kept` is the one that it keeps. Returns the configurations of all trainings.
    """
    trained: list[Config] = []

    def train(config: Config, prepared: Prepared, state: Path, on_epoch: OnEpoch) -> Result:
        trained.append(config)
        networks = [network(config, limit) for limit in limits] or [build_classifier(config)]
        epochs: list[dict[str, float]] = []
        for epoch, classifier in enumerate(networks):
            epochs.append({"epoch": float(epoch), "source_val_balanced_accuracy": 0.1 + 0.1 * epoch})
            on_epoch(epochs, classifier)
        return Result(networks[kept], {}, epochs, kept % len(networks), 0.0)

    monkeypatch.setattr(objective, "train", train)
    return trained


def finished() -> FrozenTrial:
    return optuna.create_trial(value=0.5)


def begin(study: optuna.Study, limit: float = 13.0) -> Trial:
    study.enqueue_trial({LIMIT: limit})
    return study.ask()


def test_a_trial_trains_with_the_values_that_were_drawn_for_it(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, search = play(monkeypatch), search_of(trials=9)
    study = open_study(search)
    for limit, accuracy in ACCURACIES.items():
        assert Objective(search, prepared)(begin(study, limit)) == (pytest.approx(accuracy),)
        assert trained[-1].network["limit"] == limit
        assert trained[-1].training == search.config.training


def test_a_trial_is_compared_by_its_objective_and_worth_what_the_kept_network_is(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Epochs are reported with what the objective makes of them; neither the best of them counts nor the last."""
    play(monkeypatch, tuple(ACCURACIES), kept=1)
    search = search_of()
    study = open_study(search)
    trial = begin(study)
    assert Objective(search, prepared)(trial) == (pytest.approx(ACCURACIES[23.5]),)
    reported = study.trials[trial.number].intermediate_values
    assert reported == {epoch: pytest.approx(value) for epoch, value in enumerate(ACCURACIES.values())}


def test_the_run_of_a_trial_is_named_by_what_it_varies_and_groups_its_scores(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its objective has one name by epoch and another in the end, so that neither hides the other."""
    play(monkeypatch, tuple(ACCURACIES), kept=1)
    search = search_of(
        tags={"data_kind": "mock", "mlflow.user": "ada", "mlflow.source.name": "mergershift tune"}
    )
    address = sqlite_address(tmp_path / "runs.db")
    tracked = search.config.tracking.model_copy(update={"uri": address})
    search = replace(search, config=search.config.model_copy(update={"tracking": tracked}))
    Objective(search, prepared)(begin(open_study(search), 13.25))
    client = MlflowClient(tracking_uri=address)
    (run,) = client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])
    assert run.info.run_name == "trial 0 · limit=13.25"
    assert {"mlflow.user": "ada", "mlflow.source.name": "mergershift tune", "data": "mock"}.items() <= (
        run.data.tags.items()
    )
    assert run.data.tags["search"] == search.name
    assert run.data.metrics["validators/source_balanced_accuracy"] == pytest.approx(ACCURACIES[23.5])
    history = client.get_metric_history(run.info.run_id, "validation/source_balanced_accuracy")
    assert [point.value for point in sorted(history, key=lambda point: point.step)] == pytest.approx(
        list(ACCURACIES.values())
    )


@pytest.mark.parametrize("others", [("finished", "finished"), ("finished", "running")])
def test_no_trial_is_trained_beyond_those_that_are_wanted(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...]
) -> None:
    trained, search = play(monkeypatch), search_of(trials=2)
    study = open_study(search)
    for other in others:
        if other == "finished":
            study.add_trial(finished())
        else:
            begin(study)
    with pytest.raises(Surplus):
        Objective(search, prepared)(begin(study))
    assert not trained


def test_the_last_trial_that_is_wanted_is_trained(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that began after it, or has failed, does not count against it."""
    trained, search = play(monkeypatch), search_of(trials=2)
    study = open_study(search)
    study.add_trial(finished())
    study.add_trial(optuna.create_trial(state=TrialState.FAIL))
    last = begin(study)
    begin(study)
    Objective(search, prepared)(last)
    assert len(trained) == 1


def raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let every training raise an exception after it has begun."""

    def train(config: Config, prepared: Prepared, state: Path, on_epoch: OnEpoch) -> Result:
        raise error

    monkeypatch.setattr(objective, "train", train)


def recorded(study: optuna.Study) -> list[str]:
    """Statuses in the records from which the MLflow runs of the trials are published."""
    files = sorted(study_folder(study).glob("*-record/run.json"))
    return [json.loads(file.read_text())["status"] for file in files]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            "OutOfMemoryError: CUDA out of",
        ),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            "RuntimeError: [enforce fail]",
        ),
        (MemoryError(), "MemoryError"),
        (UserError("dropout is 1.5, expected 0 <= dropout < 1"), "dropout is 1.5"),
        (ValueError("a mistake in the code"), "ValueError: a mistake in the code"),
    ],
)
def test_a_training_that_raises_is_a_failed_trial_with_its_reason(
    error: Exception, reason: str, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, error)
    search = search_of()
    study = open_study(search)
    with pytest.raises(TrialFailed):
        Objective(search, prepared)(begin(study, 150.0))
    (trial,) = study.trials
    assert trial.user_attrs[WHY] == "failed"
    assert trial.user_attrs[REASON].startswith(reason)
    assert recorded(study) == ["FAILED"]


def test_a_value_that_makes_no_valid_configuration_is_a_failed_trial(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = play(monkeypatch)
    search = search_of(space={"training": {"batch_size": {"low": -9, "high": -1}}})
    study = open_study(search)
    with pytest.raises(TrialFailed):
        Objective(search, prepared)(study.ask())
    assert "training.batch_size" in study.trials[0].user_attrs[REASON]
    assert not trained


def test_a_configuration_that_cannot_be_trained_without_any_value_drawn_ends_the_search(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(
        monkeypatch, UserError("trainer=gpu, but PyTorch finds no GPU on this machine.\nUse trainer=cpu.")
    )
    search = search_of()
    study = open_study(search)
    with pytest.raises(UserError, match="trainer=gpu"):
        Objective(search, prepared)(begin(study, search.config.network["limit"]))
    assert REASON not in study.trials[0].user_attrs, "after `trainer=cpu` the trial is still missing"


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), SystemExit(1), StorageInternalError("database is locked")]
)
def test_what_concerns_the_whole_search_is_no_failure_of_a_trial(
    error: BaseException, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    raising(monkeypatch, error)
    search = search_of()
    study = open_study(search)
    with pytest.raises(type(error)):
        Objective(search, prepared)(begin(study))
    assert REASON not in study.trials[0].user_attrs
    assert recorded(study) == []
