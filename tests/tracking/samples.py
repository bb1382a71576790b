"""Trainings, trials and searches as their records describe them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from cells.samples import penalty_of

from mergershift.cells.records import RunSpec

CONFIG: dict[str, Any] = {
    "seed": 0,
    "filters": {"name": "three"},
    "transfer": {"source": "pristine", "target": "noisy", "labelled": "source"},
    "adaptation": {"penalty": penalty_of("mmd"), "weighting": {"trade_off": 1.0}},
    "training": {"epochs": 18, "batch_size": 128, "optimizer": {"lr": 0.001}},
    "choices": {
        "transfer": "pristine_to_noisy",
        "adaptation": "mmd",
        "experiment": "default",
        "network": "deepmerge",
        "split": "by_galaxy",
        "training": "demo",
    },
}
HASH = "0123456789abcdef" * 4
TRAINING = RunSpec(
    training="t1",
    experiment="e",
    name="cells/three/pristine_to_noisy/mmd/default/seed0",
    config=CONFIG,
    tags={
        "data_hash": HASH,
        "data_kind": "mock",
        "data_seed": "100",
        "cell": "cells/three/pristine_to_noisy/mmd/default/seed0",
        "choice.adaptation": "mmd",
        "git_commit": None,
        "mlflow.user": "ann",
    },
)
SCORES = {
    "source.unique.balanced_accuracy": 0.8,
    "target.unique.balanced_accuracy": 0.66,
    "target.unique.balanced_accuracy.low": 0.58,
    "target.unique.balanced_accuracy.high": 0.725,
    "target.unique.auc": 0.7,
    "target.unique.f1": 0.6,
    "target.unique.galaxies": 90.0,
    "target.unique.images": 360.0,
    "target.unique.seeds": 1.0,
    "gain": 0.16,
    "gain.low": -0.05,
    "gain.high": 0.22,
    "selected_epoch": 13.0,
    "threshold": 0.25,
    "target_entropy": -0.5,
}
"""Metrics of an evaluation, as its files name them."""


def choosing(spec: RunSpec = TRAINING, labelled: str = "source", **choices: str) -> RunSpec:
    """The training with other files chosen in conf/."""
    config = {**spec.config, "choices": {**spec.config["choices"], **choices}}
    if adaptation := choices.get("adaptation"):
        config["adaptation"] = {**config["adaptation"], "penalty": penalty_of(adaptation)}
    config["transfer"] = {**spec.config["transfer"], "labelled": labelled}
    return replace(spec, config=config)


def varying(spec: RunSpec = TRAINING, **settings: Any) -> RunSpec:
    """The training with settings other than its files in conf/ give, by their last names."""
    varied = {f"training.{name}": value for name, value in settings.items()}
    return replace(spec, tags={**spec.tags, "varied": json.dumps(varied)})
