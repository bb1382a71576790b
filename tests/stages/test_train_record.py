"""What a training that broke off is gone on with, and what the record of a finished one says of its code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cells.samples import config_of, prepare_tiny, write_checkout

from mergershift.cells.code_version import CodeVersion
from mergershift.cells.records import RunRecord
from mergershift.classifier.classifier import build_classifier, save_classifier
from mergershift.config import Config
from mergershift.stages import train as stage
from mergershift.training import fit
from mergershift.training.fit import Result


@pytest.fixture
def cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    checkout = write_checkout(tmp_path / "checkout")
    monkeypatch.chdir(checkout)
    prepare_tiny(config_of())
    return checkout / "outputs/cells/x"


@pytest.fixture
def goes_on(cell: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Begin a training that breaks off after its first epoch; says whether it went on with a checkpoint."""
    found: list[bool] = []

    def break_off(config: Config, prepared: object, state: Path, *_: object) -> Result:
        state.mkdir(exist_ok=True)
        checkpoint = state / "last.ckpt"
        found.append(checkpoint.exists())
        checkpoint.touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "train", break_off)

    def begin(config: Config) -> bool:
        with pytest.raises(KeyboardInterrupt):
            stage.train_step(config, cell)
        return found[-1]

    return begin


def test_checkpoints_are_gone_on_with_by_the_same_data_code_and_configuration_alone(
    goes_on: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not goes_on(config_of())
    assert goes_on(config_of())
    prepare_tiny(config_of(), data_hash="e" * 64)
    assert not goes_on(config_of())
    assert goes_on(config_of())
    monkeypatch.setattr(stage, "code_hash", lambda: "of edited code")
    assert not goes_on(config_of())
    assert goes_on(config_of())
    assert not goes_on(config_of(seed=1))


def finish(config: Config, prepared: object, state: Path, *_: object) -> Result:
    """What a training of one epoch gives."""
    classifier, path = build_classifier(config), state.with_name("weights")
    save_classifier(classifier, path)
    figures = {"epoch": 0.0, "train_classification_loss": 0.7, "source_val_loss": 0.8}
    return Result(classifier, {0: path}, [figures | {"source_val_balanced_accuracy": 0.5}], 0, 0.5)


@pytest.mark.parametrize("diff", [None, "diff --git a/src/x.py b/src/x.py"])
def test_the_record_says_whether_the_code_was_the_commits(
    cell: Path, diff: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "train", finish)
    monkeypatch.setattr(stage, "read_code_version", lambda folder: CodeVersion("c0ffee", diff))
    stage.train_step(config_of(), cell)
    record = RunRecord.read(cell / "train/run.json")
    assert record.trained is not None
    assert (record.trained.git_commit, record.trained.git_dirty) == ("c0ffee", diff is not None)
    assert (record.tags["git_commit"], record.tags["git_dirty"]) == ("c0ffee", str(diff is not None).lower())
    assert (cell / "train/artifacts/git.diff").is_file() == (diff is not None)
