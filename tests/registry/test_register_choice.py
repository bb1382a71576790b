"""Which training of a study is registered, and that it goes with the images measured here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from cells.samples import TRAINING, config_of, prepare_tiny, write_checkout, write_selection, write_training

from mergershift.config import compose
from mergershift.config.study import read_study
from mergershift.core.errors import UserError
from mergershift.registry import register as registering
from mergershift.registry.choice import choose
from mergershift.registry.register import register_step

METHOD = {"transfer": "pristine_to_noisy", "adaptation": "source_only", "experiment": "default"}
SCORES = {0: [0.1, 0.2, 0.9], 1: [0.1, 0.5, 0.1], 2: [0.9, 0.3, 0.2]}
"""Seed -> scores of its epochs by the validator that methods are compared by; the second one is chosen."""


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = write_checkout(tmp_path / "checkout")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The trainings whose runs were looked for, in a registry that knows none."""
    trainings: list[str] = []

    class Empty:
        def __init__(self, address: str) -> None:
            pass

        def run_of(self, training: str, experiment: str) -> None:
            trainings.append(training)

    monkeypatch.setattr(registering, "Registry", Empty)
    return trainings


def register(overrides: tuple[str, ...], cell: Path | None) -> str:
    """Register a training as the command does."""
    config = compose(overrides)
    return register_step(config, choose(config, [cell] if cell else []))


def write_study(checkout: Path) -> None:
    path = checkout / "conf/study.yaml"
    lists = {"filters": ["two"], "methods": [METHOD], "seeds": list(SCORES), "tune": []}
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | lists))
    for cell in read_study().cells():
        folder, training = checkout / cell.folder, f"seed-{cell.seed}"
        write_training(folder, config_of(seed=cell.seed), training=training)
        others = {"source_validation_risk": [float(-cell.seed)] * 3}
        scores = {"information_maximisation": SCORES[cell.seed], **others}
        write_selection(folder, scores, training=training, epoch=1, oracle_epoch=2)
    best = {
        "filters": "two",
        "source": "pristine",
        "target": "noisy",
        "validator": "information_maximisation",
        "best": "source_only",
        "method": METHOD,
        "scores": {"source_only": 0.3},
    }
    (checkout / "outputs/summary").mkdir()
    (checkout / "outputs/summary/best.json").write_text(json.dumps([best]))


def test_the_seed_whose_chosen_epoch_is_best_is_registered(checkout: Path, asked: list[str]) -> None:
    """Neither an epoch that an oracle would take counts, nor the best that a training ever reached."""
    prepare_tiny(config_of())
    write_study(checkout)
    with pytest.raises(UserError):
        register(("filters=two",), None)
    assert asked == ["seed-1"]


def test_a_training_on_other_data_than_those_here_is_not_registered(checkout: Path, asked: list[str]) -> None:
    """Its features and temperature would be measured on images that it may have been trained on."""
    cell = checkout / "outputs/cells/x"
    write_training(cell, config_of())
    write_selection(cell, epoch=0)
    prepare_tiny(config_of(), data_hash="e" * 64)
    with pytest.raises(UserError):
        register((), cell)
    assert asked == []
    prepare_tiny(config_of())
    with pytest.raises(UserError):
        register((), cell)
    assert asked == [TRAINING]
