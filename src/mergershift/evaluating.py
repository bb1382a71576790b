"""The step that chooses a training's epoch without target labels and then opens the test rows."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mergershift import evaluation, openings, tracking
from mergershift.config import Config, SelectionConfig, instantiate
from mergershift.errors import UserError
from mergershift.evaluation import THRESHOLD, Evidence
from mergershift.folders import writing
from mergershift.images import LabelledImages, Prepared
from mergershift.report import figures
from mergershift.state import clear_state
from mergershift.steps import CONFIG, cell_name, prepared_images, read_run
from mergershift.training.classifier import Classifier, load_classifier, model_epochs, model_file

if TYPE_CHECKING:
    from torch import Tensor

SELECTION, VALIDATORS = "selection.json", "validators.csv"
ORACLE = "oracle_target_balanced_accuracy"
KEPT = "kept"
MOST_TRAINING_IMAGES = 500
"""Of each domain, for the density ratio of the importance-weighted risk."""
_BATCH = 128


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
    validation = _Validation(config, prepared)
    scores = pd.DataFrame(
        {"epoch": epoch, **validation.scores(load_classifier(model_file(trained, epoch), config))}
        for epoch in model_epochs(trained)
    )
    chosen = record["best_epoch"] if selection.validator == KEPT else _best(scores, selection.validator)
    epochs = {"": chosen, "oracle_": _best(scores, ORACLE)}
    openings.record(cell_name(cell), record["data_hash"], record["split"])
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
        run = tracking.existing_run(tracking.tracking_address(config.tracking.uri), record["run_id"])
        if run is not None:
            run.log_figures(drawn)
            names = (SELECTION, VALIDATORS, evaluation.JSON_NAME, "predictions.csv")
            run.log_results(
                {**evaluation.flat(results), "selected_epoch": chosen}, [folder / name for name in names]
            )
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


class _Validation:
    """What epochs are compared on: labelled validation images, and the target's without labels."""

    def __init__(self, config: Config, prepared: Prepared) -> None:
        import torch

        domain, target = config.transfer.labelled_domain, config.transfer.target
        self._options = _compute(config)
        self._penalty = instantiate(config.adaptation.penalty)
        self._generator = torch.Generator()
        rows = prepared.rows("validation", unique=True)
        labelled = prepared.labelled(domain, rows)
        self._source = LabelledImages(self._as_trained(labelled.images), labelled.labels)
        self._target = prepared.images(target, rows)
        self._source_train = self._as_trained(
            prepared.images(domain, _thinned(prepared.rows("train", trains="source", unique=True)))
        )
        self._target_train = prepared.images(
            target, _thinned(prepared.rows("train", trains="target", unique=True))
        )
        self._oracle_labels = prepared.labelled(target, rows).labels.numpy()

    def _as_trained(self, images: Tensor) -> Tensor:
        changed: Tensor = self._penalty.labelled_images(images, self._generator.manual_seed(0))
        return changed

    def for_source(self, classifier: Classifier) -> Classifier:
        """The classifier as it is used on the labelled domain.

        A method that fits the trained network to the target (AdaBN) does so for each domain apart.
        """
        own = copy.deepcopy(classifier)
        batches = (own.stretched(images) for images in self._source_train.split(_BATCH))
        self._penalty.after_training(own.network, batches)
        return own

    def scores(self, classifier: Classifier) -> dict[str, float]:
        """What each validator makes of a classifier, and the oracle."""
        of_source = self.for_source(classifier)
        source, source_logits = evaluation.activations(of_source, self._source.images, **self._options)
        target, target_logits = evaluation.activations(classifier, self._target, **self._options)
        evidence = Evidence(
            source_train_features=self._features(of_source, self._source_train),
            target_train_features=self._features(classifier, self._target_train),
            source_features=source,
            source_logits=source_logits,
            source_labels=self._source.labels.numpy(),
            target_features=target,
            target_logits=target_logits,
        )
        scores = {name: validator(evidence) for name, validator in evaluation.VALIDATORS.items()}
        return scores | {
            ORACLE: evaluation.oracle_target_balanced_accuracy(self._oracle_labels, target_logits)
        }

    def _features(self, classifier: Classifier, images: Tensor) -> Any:
        return evaluation.activations(classifier, images, **self._options)[0]

    def threshold(self, classifier: Classifier) -> float:
        """The threshold with the best balanced accuracy on the labelled validation images."""
        of_source = self.for_source(classifier)
        probabilities = evaluation.predict(of_source, self._source.images, **self._options)
        return evaluation.best_threshold(self._source.labels.numpy(), probabilities)


def _thinned(rows: Any) -> Any:
    """At most `MOST_TRAINING_IMAGES` of the rows, evenly spread."""
    return rows[:: -(-len(rows) // MOST_TRAINING_IMAGES)]


def _compute(config: Config) -> dict[str, Any]:
    """Where to compute: as the training did, on a GPU if there is one."""
    import torch

    gpu = config.trainer.accelerator == "gpu" and torch.cuda.is_available()
    return {"threads": config.trainer.threads, "device": "cuda" if gpu else None}


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
        table["probability"] = evaluation.predict(classifiers[role], data.images, **_compute(config))
        table["threshold"] = threshold
        parts.append(table)
    return evaluation.join(parts)
