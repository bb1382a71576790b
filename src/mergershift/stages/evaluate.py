"""The step that chooses a training's epoch without target labels and then opens the test rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mergershift import evaluation, tracking
from mergershift.cells import ledger, records
from mergershift.cells.state import clear_state
from mergershift.classifier import inference
from mergershift.classifier.classifier import Classifier, load_classifier, model_epochs, model_file
from mergershift.classifier.validation import Validation, compute_options
from mergershift.config import Config, SelectionConfig, compose
from mergershift.core.errors import UserError
from mergershift.core.files import CONFIG, SELECTION, VALIDATORS, writing
from mergershift.evaluation import ORACLE, THRESHOLD, figures
from mergershift.images import Prepared
from mergershift.stages.train import cell_name, prepared_images, read_run

KEPT = "kept"


def evaluate_step(cell: Path, selection: SelectionConfig, *, all_rows: bool = False) -> str:
    """Choose an epoch of the training in `cell`/train, test it and write `cell`/evaluation; returns a line to print.

    The epoch and the threshold are chosen on validation images, by what `selection` names. The choice that an
    oracle with the target's validation labels would have made is tested beside it, for reference. No other step
    takes figures from test rows; the report shows some of the images whose predictions were counted here.
    """
    cell = cell.resolve()
    record = read_run(cell)
    trained = cell / "train"
    config = Config.read(trained / CONFIG)
    prepared = prepared_images(config)
    if record["data_hash"] != prepared.facts["data_hash"]:
        raise UserError(
            f"{trained}: trained on other images than those in {prepared.folder}.\n"
            "Train again, or run the pipeline with `mergershift repro`."
        )
    validation = Validation(config, prepared)
    scores = pd.DataFrame(
        {"epoch": epoch, **validation.scores(load_classifier(model_file(trained, epoch), config))}
        for epoch in model_epochs(trained)
    )
    chosen = record["best_epoch"] if selection.validator == KEPT else _best(scores, selection.validator)
    epochs = {"": chosen, "oracle_": _best(scores, ORACLE)}
    ledger.record(cell_name(cell), record["data_hash"], record["split"])
    tables, thresholds = {}, {}
    half, source_is_labelled = selection.threshold == "half", config.transfer.labelled == "source"
    for prefix, epoch in epochs.items():
        classifier = load_classifier(model_file(trained, epoch), config)
        thresholds[prefix] = THRESHOLD if half else validation.threshold(classifier)
        of_source = validation.for_source(classifier) if source_is_labelled else classifier
        classifiers = {"source": of_source, "target": classifier}
        tables[prefix] = _test(classifiers, config, prepared, thresholds[prefix])
    results = evaluation.evaluate(tables[""], all_rows=all_rows)
    with writing(cell / "evaluation") as folder:
        scores.to_csv(folder / VALIDATORS, index=False, lineterminator="\n")
        choice: dict[str, Any] = {
            "validator": selection.validator,
            "best_by": selection.best_by,
            "threshold_rule": selection.threshold,
            "training": record["training"],
        }
        for prefix, epoch in epochs.items():
            choice |= {f"{prefix}epoch": epoch, f"{prefix}threshold": thresholds[prefix]}
            evaluation.write_predictions(tables[prefix], folder / f"{prefix}predictions.csv")
        (folder / SELECTION).write_text(json.dumps(choice, indent=2) + "\n")
        evaluation.write_results(results, folder)
        shown = evaluation.unique_renderings(tables[""])
        drawn = {
            "roc": figures.roc(shown),
            "reliability": figures.reliability(shown),
            "confusion": figures.confusion(shown),
        }
        for name, figure in drawn.items():
            figure.savefig(folder / f"{name}.png", dpi=150)
    address = tracking.recorded_address(config.tracking.uri, compose().tracking.uri)
    tracking.tell(address, records.read(trained))
    clear_state(cell_name(cell))
    source, target = (results[role]["unique"]["balanced_accuracy"]["value"] for role in ("source", "target"))
    return (
        f"{cell_name(cell)}: epoch {chosen} by {selection.validator}, balanced accuracy {source:.3f} on the source, "
        f"{target:.3f} on the target"
    )


def _best(scores: pd.DataFrame, validator: str) -> int:
    """The epoch with the highest score, the latest of equal ones; where none is a number, the last."""
    usable = scores[np.isfinite(scores[validator])]
    if usable.empty:
        return int(scores["epoch"].iloc[-1])
    return int(usable.loc[usable[validator] == usable[validator].max(), "epoch"].iloc[-1])


def _test(
    classifiers: dict[str, Classifier], config: Config, prepared: Prepared, threshold: float
) -> pd.DataFrame:
    """Predictions on the test rows of both domains, each by its role's classifier."""
    rows = prepared.rows("test")
    parts = []
    for role, domain in (("source", config.transfer.source), ("target", config.transfer.target)):
        data = prepared.labelled(domain, rows)
        table = prepared.table.iloc[rows][["row", "galaxy", "camera", "block"]].reset_index(drop=True)
        table["role"], table["domain"] = role, str(domain)
        table["label"] = data.labels.numpy()
        table["probability"] = inference.predict(classifiers[role], data.images, **compute_options(config))
        table["threshold"] = threshold
        parts.append(table)
    return evaluation.join(parts)
