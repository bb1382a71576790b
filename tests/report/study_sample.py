"""A finished study on disk with untrained networks and random predictions, written in seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import numpy as np
import pandas as pd
import torch
from ruamel.yaml import YAML
from torch import Tensor, nn

from mergershift import evaluation
from mergershift.cells.layout import (
    CONFIG,
    EVALUATED,
    MODELS,
    PREDICTIONS,
    RUN,
    SELECTION,
    TRAINED,
    VALIDATORS,
    model_file,
)
from mergershift.cells.layout import EPOCHS as EPOCHS_TABLE
from mergershift.cells.records import RunRecord, Selection, Trained
from mergershift.classifier.classifier import build_classifier, save_classifier
from mergershift.config import Config, compose
from mergershift.config.study import Cell, read_study
from mergershift.core.checkout import root
from mergershift.images import Prepared
from mergershift.images.locate import prepared_folder
from mergershift.networks import Activations, Network
from mergershift.stages.prepare import prepare_step
from mergershift.stages.summary import write_summary

EPOCHS = (1, 3)
FORWARD, ORACLE = "pristine_to_noisy", "oracle_target_only"
METHODS = ((FORWARD, "source_only"), (FORWARD, "mmd"), (FORWARD, "coral"), (ORACLE, "source_only"))
SIGNAL = {"source_only": 0.1, "mmd": 0.35, "coral": 0.6}
"""How closely the random probabilities of each method follow the labels of target images."""
SCORES = {"source_only": 0.1, "mmd": 0.5, "coral": 0.3}
"""Score of the chosen epoch by every validator; the best method by validators is not the best on the test rows."""


class Dense(Network):
    """A network without convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels, self.feature_size = channels, 3
        self.first = nn.Linear(channels, 3)
        self.second = nn.Linear(3, 2)

    def forward(self, images: Tensor) -> Activations:
        features = self.first(images.mean((2, 3)))
        return Activations(features, self.second(features))


def write_study(
    methods: Sequence[tuple[str, str]] = METHODS,
    seeds: Sequence[int] = (0,),
    network: str = "deepmerge",
    filters: Sequence[str] = ("two",),
) -> None:
    """Write conf/study.yaml of the project in the working directory, and all files that the report reads."""
    study = {
        "network": network,
        "training": "demo",
        "trainer": "cpu_one_thread",
        "split": "by_galaxy",
        "selection": "label_free",
        "tune": [],
        "filters": list(filters),
        "methods": [
            {"transfer": transfer, "adaptation": adaptation, "experiment": "default"}
            for transfer, adaptation in methods
        ],
        "seeds": list(seeds),
    }
    YAML().dump(study, root() / "conf" / "study.yaml")
    for cell in read_study().cells():
        _write_cell(cell, network)
    write_summary()


def configuration(cell: Cell, network: str) -> Config:
    method = cell.method
    choices = [f"transfer={method.transfer}", f"adaptation={method.adaptation}", f"network={network}"]
    return compose(
        [*choices, f"filters={cell.filters}", "training=demo", "trainer=cpu_one_thread", f"seed={cell.seed}"]
    )


def _write_cell(cell: Cell, network: str) -> None:
    config = configuration(cell, network)
    if not prepared_folder(config).is_dir():
        prepare_step(config)
    prepared = Prepared(prepared_folder(config))
    trained, evaluated = root() / cell.folder / TRAINED, root() / cell.folder / EVALUATED
    (trained / MODELS).mkdir(parents=True)
    evaluated.mkdir()
    config.write(trained / CONFIG)
    torch.manual_seed(cell.seed)
    classifier = build_classifier(config)
    classifier.stretch.fit(prepared.images(config.transfer.source, prepared.rows("validation")))
    for epoch in EPOCHS:
        save_classifier(classifier, model_file(trained, epoch))
    record = _record(cell, config, prepared.facts)
    record.write(trained / RUN)
    falling = np.linspace(0.7, 0.4, EPOCHS[-1] + 1)
    pd.DataFrame(
        {
            "epoch": range(len(falling)),
            "train_classification_loss": falling,
            "source_val_loss": falling + 0.05,
            "source_val_balanced_accuracy": 1 - falling,
        }
    ).to_csv(trained / EPOCHS_TABLE, index=False)
    score = SCORES[cell.method.adaptation]
    scores = {name: [score - 0.1, score] for name in evaluation.VALIDATORS}
    scores["oracle_target_balanced_accuracy"] = [0.7, 0.6]
    pd.DataFrame({"epoch": EPOCHS, **scores}).to_csv(evaluated / VALIDATORS, index=False)
    thresholds = {"label_free": 0.45, "oracle": 0.5}
    Selection(
        training=record.training,
        validator="information_maximisation",
        best_by="information_maximisation",
        threshold_rule="source_validation",
        epoch=EPOCHS[1],
        threshold=thresholds["label_free"],
        oracle_epoch=EPOCHS[0],
        oracle_threshold=thresholds["oracle"],
    ).write(evaluated / SELECTION)
    for choice, more in (("label_free", 0.0), ("oracle", 0.1)):
        table = _predictions(cell, config, prepared, thresholds[choice], more)
        evaluation.write_predictions(table, evaluated / PREDICTIONS[choice])
        if choice == "label_free":
            evaluation.write_results(evaluation.evaluate(table, resamples=10), evaluated)


def _record(cell: Cell, config: Config, facts: Mapping[str, Any]) -> RunRecord:
    return RunRecord(
        # One of the methods was trained without a server.
        run_id=None if cell.method.adaptation == "coral" else uuid5(NAMESPACE_OID, repr(cell)).hex,
        experiment_id=None if cell.method.adaptation == "coral" else "7",
        training=f"{cell.method.adaptation}-{cell.method.transfer}-{cell.seed}",
        experiment="mergershift",
        name=str(cell.folder),
        parent=None,
        tags={},
        status="FINISHED",
        metrics={},
        started=None,
        ended=0,
        epoch_times={},
        trained=Trained(
            cell=str(cell.folder),
            data_hash=facts["data_hash"],
            provenance=facts["provenance"],
            split=config.split,
            config_hash=config.digest(),
            git_commit="0123456789abcdef",
            git_dirty=cell.method.adaptation == "mmd",
            epochs=EPOCHS[1] + 1,
            best_epoch=EPOCHS[1],
            best_score=0.6,
        ),
    )


def _predictions(
    cell: Cell, config: Config, prepared: Prepared, threshold: float, more: float
) -> pd.DataFrame:
    rows = prepared.rows("test")
    parts = []
    for role, domain in (("source", config.transfer.source), ("target", config.transfer.target)):
        table = prepared.table.iloc[rows][["row", "galaxy", "camera", "block"]].reset_index(drop=True)
        labels = prepared.labelled(domain, rows).labels.numpy()
        rng = np.random.default_rng([cell.seed, role == "target", len(cell.method.adaptation)])
        signal = (
            0.6
            if role == "source" or config.transfer.labelled != "source"
            else SIGNAL[cell.method.adaptation]
        )
        signal = min(1.0, signal + more)
        chance = (1 - signal) * rng.random(len(labels)) + signal * labels
        parts.append(
            table.assign(role=role, domain=str(domain), label=labels, probability=chance, threshold=threshold)
        )
    return evaluation.join(parts)


def mark_as(kind: str, project: Path) -> None:
    """Record in data/ that its images are from a mock or from the archive."""
    mock = {"kind": "mock", "seed": 3, "mergers": 12, "non_mergers": 60, "mock_version": 1}
    mock |= {"filter_sets": ["two"], "fits": False}
    archive = {"kind": "archive", "address": "https://archive.example/deepmerge"}
    (project / "data/PROVENANCE.json").write_text(json.dumps(mock if kind == "mock" else archive))
