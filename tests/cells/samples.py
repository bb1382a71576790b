"""Trainings as their folders hold them, of networks whose every answer can be worked out by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from images.samples import NOISY, write_prepared
from numpy.typing import NDArray

from mergershift.archive import Origin
from mergershift.cells.layout import model_file
from mergershift.cells.records import RunRecord, Selection, Trained
from mergershift.classifier.classifier import build_classifier, save_classifier
from mergershift.config import Config, compose
from mergershift.evaluation import ORACLE, VALIDATORS
from mergershift.images import Prepared
from mergershift.images.locate import prepared_folder

CONF = Path(__file__).parents[2] / "conf"
NOBODY = "http://127.0.0.1:9"
"""Where no server is, which shows at once."""
DATA_HASH, TRAINING = "d" * 64, "this"
SLOPE, CENTRE = 0.1, 0.0315
"""Of `Brightness`, and what the mean of an image of row r has beyond r."""


def write_checkout(folder: Path) -> Path:
    """The least that is a checkout, outside git."""
    shutil.copytree(CONF, folder / "conf")
    (folder / "dvc.yaml").touch()
    return folder


def penalty_of(adaptation: str) -> dict[str, Any]:
    """The penalty in a file of conf/adaptation/."""
    penalty: dict[str, Any] = yaml.safe_load((CONF / "adaptation" / f"{adaptation}.yaml").read_text())[
        "penalty"
    ]
    return penalty


@cache
def _plain() -> Config:
    overrides = ["filters=two", "trainer.threads=1", "training.stretch=linear", f"tracking.uri='{NOBODY}'"]
    return compose(overrides, CONF)


def config_of(limit: float = 16.0, penalty: Mapping[str, Any] | None = None, **changed: Any) -> Config:
    """A configuration with the network `Brightness`."""
    plain = _plain()
    network = {"_target_": "networks.samples.Brightness", "limit": limit, "slope": SLOPE}
    adaptation = plain.adaptation
    if penalty is not None:
        adaptation = adaptation.model_copy(update={"penalty": dict(penalty)})
    return plain.model_copy(update={"network": network, "adaptation": adaptation, **changed})


def log_odds(rows: NDArray[np.int64], limit: float, noisy: bool = False) -> NDArray[np.float64]:
    """What `Brightness` gives for a merger in images of these rows."""
    odds: NDArray[np.float64] = SLOPE * (limit - rows.astype(np.float64) - CENTRE - NOISY * noisy)
    return odds


def probabilities(rows: NDArray[np.int64], limit: float, noisy: bool = False) -> NDArray[np.float64]:
    """The same as probabilities."""
    chances: NDArray[np.float64] = 1 / (1 + np.exp(-log_odds(rows, limit, noisy)))
    return chances


def prepare_tiny(config: Config, *, disjoint: bool = False, data_hash: str = DATA_HASH) -> Prepared:
    """The images of `images.samples` where the stages of the checkout look for them."""
    folder = prepared_folder(config)
    shutil.rmtree(folder, ignore_errors=True)
    write_prepared(folder, disjoint=disjoint)
    split = config.split.model_dump(mode="json")
    facts = {"data_hash": data_hash, "provenance": {"kind": "unknown"}, "split": split}
    (folder / "prepared.json").write_text(json.dumps(facts))
    (folder / "statistics.json").write_text("{}")
    return Prepared(folder)


def record_of(config: Config, name: str = "cells/x", training: str = TRAINING, **trained: Any) -> RunRecord:
    """The record of a training that no server knows."""
    facts: dict[str, Any] = {
        "cell": name,
        "data_hash": DATA_HASH,
        "provenance": Origin(kind="unknown"),
        "split": config.split,
        "config_hash": config.digest(),
        "git_commit": None,
        "git_dirty": False,
        "epochs": 3,
        "best_epoch": 0,
        "best_score": 0.6,
    }
    return RunRecord(
        run_id=None,
        experiment="mergershift",
        name=name,
        training=training,
        parent=None,
        tags={},
        status="FINISHED",
        metrics={"best_epoch": 0.0},
        started=None,
        ended=1000,
        epoch_times={},
        trained=Trained.model_validate(facts | trained),
    )


def write_training(
    cell: Path, config: Config, limits: Mapping[int, float] | None = None, **recorded: Any
) -> RunRecord:
    """Leave a training that kept, for each epoch, a network with this limit."""
    (cell / "train").mkdir(parents=True)
    config.write(cell / "train/config.yaml")
    record = record_of(config, **recorded)
    record.write(cell / "train/run.json")
    assert record.trained is not None
    epochs = range(record.trained.epochs)
    losses = {"train_classification_loss": 0.4, "source_val_loss": 0.5}
    pd.DataFrame({"epoch": epochs, **losses}).to_csv(cell / "train/epochs.csv", index=False)
    for epoch, limit in (limits or {}).items():
        path = model_file(cell / "train", epoch)
        path.parent.mkdir(exist_ok=True)
        network = config.network | {"limit": limit}
        save_classifier(build_classifier(config.model_copy(update={"network": network})), path)
    return record


def write_selection(cell: Path, scores: Mapping[str, list[float]] | None = None, **chosen: Any) -> Selection:
    """Leave the choices of an evaluation, and the scores of epochs 0, 1, ... by validator."""
    (cell / "evaluation").mkdir(parents=True, exist_ok=True)
    facts: dict[str, Any] = {
        "training": TRAINING,
        "validator": "source_validation_risk",
        "best_by": "information_maximisation",
        "threshold_rule": "source_validation",
        "epoch": 1,
        "threshold": 0.4,
        "oracle_epoch": 2,
        "oracle_threshold": 0.7,
    }
    selection = Selection.model_validate(facts | chosen)
    selection.write(cell / "evaluation/selection.json")
    if scores is not None:
        others = [name for name in (*VALIDATORS, ORACLE) if name not in scores]
        table = pd.DataFrame(scores).assign(**dict.fromkeys(others, 0.0)).rename_axis("epoch").reset_index()
        table.to_csv(cell / "evaluation/validators.csv", index=False)
    return selection
