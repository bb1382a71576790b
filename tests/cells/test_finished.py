"""What belongs to a finished training: its own evaluation, the epoch that was chosen, the images it saw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cells.samples import DATA_HASH, config_of, record_of, write_selection, write_training

from mergershift import evaluation
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.run_content import run_content
from mergershift.core.errors import UserError
from mergershift.core.reading import DamagedFile

EVALUATION = {"selection.json", "validators.csv", "metrics.json", "predictions.csv"}


def evaluated(cell: Path, of: str) -> Path:
    """A cell's folder with a training and an evaluation of the training with the id `of`."""
    write_training(cell, config_of())
    scores = {"target_entropy": [0.1, 0.2, 0.3], "information_maximisation": [0.6, 0.5, 0.4]}
    write_selection(cell, scores, training=of, epoch=1, oracle_epoch=2)
    rows = np.arange(4)
    columns = {"row": rows, "galaxy": rows, "camera": 0, "block": 0, "label": rows % 2, "threshold": 0.5}
    parts = [
        pd.DataFrame(columns | {"role": role, "domain": domain, "probability": 0.9})
        for role, domain in (("source", "pristine"), ("target", "noisy"))
    ]
    table = evaluation.join(parts)
    evaluation.write_predictions(table, cell / "evaluation/predictions.csv")
    evaluation.write_results(evaluation.evaluate(table, resamples=20), cell / "evaluation")
    return cell


def test_its_run_holds_the_evaluation_of_this_training(tmp_path: Path) -> None:
    record = record_of(config_of())
    content = run_content(evaluated(tmp_path / "cell", of=record.training) / "train")
    assert content.metrics["selected_epoch"][0] == 1
    assert content.metrics["target.unique.balanced_accuracy"][0] == 0.5
    assert content.metrics["best_epoch"] == (0.0, record.ended)
    assert content.files.keys() == {"config.yaml", "run.json"} | EVALUATION


def test_its_run_holds_nothing_of_the_evaluation_of_a_training_before_it(tmp_path: Path) -> None:
    content = run_content(evaluated(tmp_path / "cell", of="one before it") / "train")
    assert content.metrics.keys() == {"best_epoch"}
    assert content.files.keys() == {"config.yaml", "run.json"}


def test_its_score_is_that_of_the_chosen_epoch(tmp_path: Path) -> None:
    training = FinishedTraining.read(evaluated(tmp_path / "cell", of="this"))
    assert training.score("target_entropy") == 0.2
    assert training.score("information_maximisation") == 0.5
    assert training.validators["chosen"].tolist() == [False, True, False]


def test_its_score_is_one_on_galaxies_that_no_epoch_was_chosen_on(tmp_path: Path) -> None:
    path = evaluated(tmp_path / "cell", of="this") / "evaluation/validators.csv"
    scores = pd.read_csv(path)
    scores.assign(target_entropy_judged=scores["target_entropy"] + 7).to_csv(path, index=False)
    training = FinishedTraining.read(tmp_path / "cell")
    assert training.score("target_entropy") == 7.2
    assert training.validators["target_entropy"].tolist()[1] == 0.2
    assert not [name for name in map(str, training.judged) if name.endswith("_judged")]


def test_an_evaluation_of_an_earlier_version_lacks_later_validators(tmp_path: Path) -> None:
    path = evaluated(tmp_path / "cell", of="this") / "evaluation/validators.csv"
    pd.read_csv(path).drop(columns="balanced_transport").to_csv(path, index=False)
    training = FinishedTraining.read(tmp_path / "cell")
    assert training.score("target_entropy") == 0.2
    with pytest.raises(DamagedFile, match="no column balanced_transport"):
        training.score("balanced_transport")


def test_an_evaluation_of_another_training_is_none_of_it(tmp_path: Path) -> None:
    training = FinishedTraining.read(evaluated(tmp_path / "cell", of="one before it"))
    with pytest.raises(UserError):
        training.selection  # noqa: B018
    with pytest.raises(UserError):
        training.score("target_entropy")


def test_it_goes_with_the_images_that_it_saw_alone(tmp_path: Path) -> None:
    training = FinishedTraining.read(evaluated(tmp_path / "cell", of="this"))
    training.require_data(DATA_HASH, tmp_path)
    with pytest.raises(UserError):
        training.require_data("e" * 64, tmp_path)
