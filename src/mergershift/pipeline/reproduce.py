"""Reproduce a published experiment and compare its scores with the published ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.console import Console

from mergershift import evaluation
from mergershift.archive import images_of
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import EVALUATED, TRAINED, default_output
from mergershift.config import compose
from mergershift.core.errors import UserError, nearest
from mergershift.evaluation.published import PublishedLog
from mergershift.images import Prepared
from mergershift.images.locate import prepared_folder
from mergershift.stages.evaluate import evaluate_step
from mergershift.stages.prepare import prepare_step
from mergershift.stages.train import train_step

EXPERIMENTS = ("deepmerge_2020",)
"""Experiments in conf/experiment/ whose published scores are in `evaluation.PUBLISHED`."""
# The published networks were trained and tested within one domain, those for noisy images on noisy labels.
TRANSFERS = {"pristine": "pristine_to_noisy", "noisy": "oracle_target_only"}


def reproduce(experiment: str, overrides: Sequence[str] = ()) -> None:
    """Prepare, train and test `experiment` on pristine and on noisy images, and print a table of both scores.

    Trainings that are already finished are not repeated. Raises UserError for an experiment without published scores.
    """
    if experiment not in EXPERIMENTS:
        raise UserError(
            f"'{experiment}' has no published scores to compare with.\nNearest: {nearest(experiment, EXPERIMENTS)}."
        )
    ours: dict[str, evaluation.Scores] = {}
    logs: dict[str, PublishedLog] = {}
    for domain, transfer in TRANSFERS.items():
        config = compose([f"experiment={experiment}", f"transfer={transfer}", *overrides])
        selection = config.selection
        assert selection is not None, "conf/config.yaml selects one"
        # Cheap compared with a training, and the only way to be sure that the images come from the present archive.
        print(prepare_step(config), flush=True)
        prepared = Prepared(prepared_folder(config))
        cell = default_output(config)
        data_hash = prepared.facts["data_hash"]
        if not (cell / TRAINED).is_dir() or FinishedTraining.read(cell).trained.data_hash != data_hash:
            print(train_step(config, cell), flush=True)
        print(evaluate_step(cell, selection.model_copy(update={"all_rows": True})), flush=True)
        role = "source" if config.transfer.source == domain else "target"
        logs[domain] = _log(FinishedTraining.read(cell))
        ours[domain] = evaluation.read_results(cell / EVALUATED)[role]["all_rows"]
    Console().print(evaluation.comparison_table(ours))
    print(f"Published log of the training on pristine images: {evaluation.LOG_2020}.")
    for domain, log in logs.items():
        print(f"Our log of the training on {domain} images: {log}.")
    kind = prepared.facts["provenance"]["kind"]
    print(f"Ours: {images_of(kind)}.")


def _log(training: FinishedTraining) -> PublishedLog:
    """Return the epochs, counted from 1, that the published log names."""
    epochs = training.epochs
    monitored = next(name for name in ("source_val_penalised_loss", "source_val_loss") if name in epochs)
    best = epochs.iloc[int(np.argmax(epochs["source_val_accuracy"]))]
    lowest = epochs.iloc[int(np.argmin(epochs[monitored]))]
    return PublishedLog(
        float(best["source_val_accuracy"]),
        int(best["epoch"]) + 1,
        float(lowest[monitored]),
        int(lowest["epoch"]) + 1,
        len(epochs),
    )
