"""Which epoch and threshold an evaluation takes, and what it tests with them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from cells.samples import DATA_HASH, config_of, prepare_tiny, probabilities, write_checkout, write_training

from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import SELECTION
from mergershift.cells.records import RunContent, Selection
from mergershift.cells.state import cell_state
from mergershift.classifier.classifier import load_classifier
from mergershift.classifier.feature_shift import feature_shift
from mergershift.config import SelectionConfig
from mergershift.core.errors import UserError
from mergershift.evaluation import figures
from mergershift.images import Prepared
from mergershift.stages.evaluate import evaluate_step, tracking

LIMITS = {0: 30.0, 1: 30.0, 2: 113.0, 3: 113.0, 4: 300.0}
"""Epoch -> limit. Source images are rows 0 to 27 and those of the target 100 to 127, the mergers first: with a limit
of 30 one half calls every source image a merger, and a threshold above it tells them apart; with 113 one half tells
the target's apart. Each of the two is there twice, and the last epoch calls everything a merger."""
KEPT = 0


def choose(cell: Path, validator: str, threshold: str) -> Selection:
    choice = {"validator": validator, "best_by": "information_maximisation", "threshold": threshold}
    evaluate_step(cell, SelectionConfig.model_validate(choice))
    return Selection.read(cell / "evaluation" / SELECTION)


def accuracies(cell: Path) -> dict[str, float]:
    results = json.loads((cell / "evaluation/metrics.json").read_text())
    return {role: scores["unique"]["balanced_accuracy"]["value"] for role, scores in results.items()}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(write_checkout(tmp_path / "checkout"))
    return tmp_path / "checkout"


@pytest.fixture
def prepared(checkout: Path) -> Prepared:
    return prepare_tiny(config_of())


@pytest.fixture
def cell(checkout: Path, prepared: Prepared) -> Path:
    folder = checkout / "outputs/cells/x"
    write_training(folder, config_of(), LIMITS, best_epoch=KEPT)
    return folder


def test_what_is_reported_is_of_the_epoch_and_threshold_chosen_without_target_labels(
    cell: Path, prepared: Prepared
) -> None:
    """The oracle's choice, with which all figures would be others, stands beside it."""
    choice = choose(cell, "source_validation_risk", "source_validation")
    assert (choice.epoch, choice.oracle_epoch) == (1, 3), "of equal epochs the later one"
    merger, other = probabilities(np.array([5, 22]), LIMITS[choice.epoch])
    assert 0.5 < other < choice.threshold < merger
    assert accuracies(cell) == {"source": 1.0, "target": 0.5}

    test = prepared.rows("test")
    labels = prepared.labelled(config_of().transfer.source, test).labels.numpy()
    for name, epoch, threshold in (
        ("predictions.csv", choice.epoch, choice.threshold),
        ("oracle_predictions.csv", choice.oracle_epoch, choice.oracle_threshold),
    ):
        table = pd.read_csv(cell / "evaluation" / name)
        assert set(table["threshold"]) == {threshold}
        for role, noisy in (("source", False), ("target", True)):
            part = table[table["role"] == role]
            np.testing.assert_array_equal(part["row"], test)
            np.testing.assert_array_equal(part["label"], labels)
            np.testing.assert_allclose(
                part["probability"], probabilities(test, LIMITS[epoch], noisy), atol=1e-5
            )
            np.testing.assert_array_equal(part["prediction"], part["probability"] >= threshold)


def test_the_shift_of_the_chosen_classifier_is_kept_for_the_page(cell: Path, prepared: Prepared) -> None:
    choice = choose(cell, "source_validation_risk", "source_validation")
    training = FinishedTraining.read(cell)
    assert training.shift is not None
    classifier = load_classifier(training.model_file(choice.epoch), training.config)
    expected = feature_shift(classifier, training.config, prepared)
    assert training.shift.mmd == pytest.approx(expected.mmd, nan_ok=True)
    assert training.shift.proxy_a == pytest.approx(expected.proxy_a, nan_ok=True)
    for name, values in expected.plane._asdict().items():
        np.testing.assert_allclose(np.array(getattr(training.shift, name)), values, atol=1e-9)
    path = cell / "evaluation/shift.json"
    path.write_text(path.read_text().replace(training.record.training, "another"))
    with pytest.raises(UserError, match=r"shift\.json.*belongs to a training other than"):
        _ = FinishedTraining.read(cell).shift


def test_the_published_experiment_keeps_its_own_epoch_and_calls_mergers_from_one_half_on(cell: Path) -> None:
    choice = choose(cell, "kept", "half")
    assert choice.epoch == KEPT
    assert (choice.threshold, choice.oracle_threshold) == (0.5, 0.5)
    assert accuracies(cell) == {"source": 0.5, "target": 0.5}, "the oracle reaches 1.0 in the target"


def test_an_evaluation_that_breaks_off_leaves_what_the_training_needs_to_go_on(
    cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the figures are on disk nothing else holds the training's result safely."""

    def begun_anew(identity: object) -> None:
        pytest.fail("another identity")

    with cell_state("cells/x", "config", DATA_HASH, "code", begun_anew) as state:
        of_cell = replace(state.identity, training=FinishedTraining.read(cell).record.training)
        (state.folder / "identity.json").write_text(json.dumps(asdict(of_cell)))

    def broken_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(figures, "roc", broken_off)
        with pytest.raises(KeyboardInterrupt):
            choose(cell, "kept", "half")
    assert not (cell / "evaluation").exists()
    with cell_state("cells/x", "config", DATA_HASH, "code", begun_anew) as after:
        assert after.identity == of_cell
    choose(cell, "kept", "half")
    assert not state.folder.exists()


def test_a_training_is_not_tested_on_images_of_other_data(cell: Path) -> None:
    prepare_tiny(config_of(), data_hash="e" * 64)
    with pytest.raises(UserError):
        choose(cell, "kept", "half")
    assert not (cell / "evaluation").exists()


def test_the_run_stays_linked_to_the_study_and_loses_the_gain_of_the_former_evaluation(
    cell: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    published: list[RunContent] = []
    monkeypatch.setattr(tracking, "publish", lambda _, contents, __: published.extend(contents()))
    summary = Path("outputs/summary/trainings.csv")
    summary.parent.mkdir(parents=True)
    method = {"filters": "two", "transfer": "pristine_to_noisy", "adaptation": "mmd", "experiment": "default"}
    gain = {"training": "this", "predictions": "former", "baseline": "this", "gain": 0.1}
    pd.DataFrame([method | {"seed": 0} | gain | {"gain_low": 0.0, "gain_high": 0.2}]).to_csv(
        summary, index=False
    )
    choose(cell, "kept", "half")
    (content,) = published
    assert str(content.spec.study).startswith("study-")
    assert "gain" not in content.metrics
    assert "gain" in content.withdrawn
    summary.write_text("damaged")
    choose(cell, "kept", "half")
    assert published[1].spec.study is None
    assert "mergershift summary" in caplog.text
