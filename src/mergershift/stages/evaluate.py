"""The stage that chooses a training's epoch without target labels and then evaluates it on the test rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mergershift import evaluation, tracking
from mergershift.cells import ledger
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import EVALUATED, PREDICTIONS, SELECTION, SHIFT, TRAINED, VALIDATORS
from mergershift.cells.records import Selection, Shift
from mergershift.cells.run_content import run_content
from mergershift.cells.state import clear_state
from mergershift.cells.summary_files import StudyTrainings, read_trainings
from mergershift.classifier import inference
from mergershift.classifier.classifier import Classifier, load_classifier
from mergershift.classifier.feature_shift import feature_shift
from mergershift.classifier.validation import Validation, compute_options
from mergershift.config import Config, SelectionConfig, compose
from mergershift.config.schema import KEPT
from mergershift.core.checkout import shown
from mergershift.core.files import atomic_directory
from mergershift.core.reading import DamagedFile
from mergershift.evaluation import ORACLE, THRESHOLD, figures
from mergershift.images import Prepared
from mergershift.images.locate import prepared_images
from mergershift.stages.headings import heading_of

logger = logging.getLogger(__name__)


def evaluate_step(cell: Path, selection: SelectionConfig) -> str:
    """Choose an epoch of the training in `cell`/train, test it and write `cell`/evaluation; returns a line to print.

    The epoch and the threshold are chosen on validation images, by the rules that `selection` names. For
    reference, the epoch that an oracle with the target's validation labels would have chosen is tested as well.
    No other step calculates metrics on test rows; the report only displays some of the images tested here.
    Every call is recorded as a test evaluation (`ledger`).

    Args:
        cell: folder of the cell.
        selection: the rules for the epoch and the threshold, and whether all test rows are scored in addition.

    Raises UserError if the training is missing or damaged, or was made with other images.
    """
    cell = cell.resolve()
    training = FinishedTraining.read(cell)
    config, facts, name = training.config, training.trained, training.name
    prepared = prepared_images(config)
    training.require_data(prepared.facts["data_hash"], prepared.folder)
    validation = Validation(config, prepared)
    scores = pd.DataFrame(
        {"epoch": epoch, **validation.scores(load_classifier(training.model_file(epoch), config))}
        for epoch in training.model_epochs
    )
    chosen = facts.best_epoch if selection.validator == KEPT else _best(scores, selection.validator)
    epochs = {"label_free": chosen, "oracle": _best(scores, ORACLE)}
    ledger.record(name, facts.data_hash, facts.split.model_dump(mode="json"))
    classifiers = {
        epoch: load_classifier(training.model_file(epoch), config) for epoch in set(epochs.values())
    }
    thresholds: dict[int, float] = {}
    by_role: dict[str, dict[int, Classifier]] = {"source": {}, "target": classifiers}
    half, source_is_labelled = selection.threshold == "half", config.transfer.labelled == "source"
    for epoch, classifier in classifiers.items():
        thresholds[epoch] = THRESHOLD if half else validation.threshold(classifier)
        by_role["source"][epoch] = (
            validation.for_source(classifier)
            if source_is_labelled
            else validation.normalised(classifier, config.transfer.source)
        )
    by_epoch = _test(by_role, config, prepared, thresholds)
    tables = {choice: by_epoch[epoch] for choice, epoch in epochs.items()}
    results = evaluation.evaluate(tables["label_free"], all_rows=selection.all_rows)
    chosen_one = classifiers[epochs["label_free"]]
    shift = feature_shift(
        chosen_one, config, prepared, validation.normalised(chosen_one, config.transfer.source)
    )
    with atomic_directory(cell / EVALUATED) as folder:
        scores.to_csv(folder / VALIDATORS, index=False, lineterminator="\n")
        for choice, table in tables.items():
            evaluation.write_predictions(table, folder / PREDICTIONS[choice])
        Selection(
            training=training.record.training,
            validator=selection.validator,
            best_by=selection.best_by,
            threshold_rule=selection.threshold,
            epoch=epochs["label_free"],
            threshold=thresholds[epochs["label_free"]],
            oracle_epoch=epochs["oracle"],
            oracle_threshold=thresholds[epochs["oracle"]],
        ).write(folder / SELECTION)
        Shift(
            training=training.record.training,
            mmd=shift.mmd,
            proxy_a=shift.proxy_a,
            **{name: values.tolist() for name, values in shift.plane._asdict().items()},
        ).write(folder / SHIFT)
        evaluation.write_results(results, folder)
        unique = evaluation.unique_renderings(tables["label_free"])
        heading = heading_of(config, facts.provenance.kind)
        by_name = {
            "roc": figures.roc(unique, heading),
            "reliability": figures.reliability(unique, heading),
            "confusion": figures.confusion(unique, heading),
        }
        for figure_name, figure in by_name.items():
            figures.save(figure, folder / f"{figure_name}.png")
    address = tracking.recorded_address(config.tracking.uri, compose().tracking.uri)
    tracking.publish(address, lambda: [run_content(cell / TRAINED, _study())], name)
    clear_state(name, training.record.training)
    source, target = (results[role]["unique"]["balanced_accuracy"]["value"] for role in ("source", "target"))
    return (
        f"{shown(cell)}: epoch {chosen} chosen by {selection.validator}, balanced accuracy {source:.3f} on the source, "
        f"{target:.3f} on the target"
    )


def _study() -> StudyTrainings | None:
    """Return the trainings of the study, to which the training's run may be linked; None if the summary is damaged."""
    try:
        return read_trainings("Run `mergershift summary`, which makes it again.")
    except DamagedFile as error:
        logger.warning("The run is not linked to the study. %s", error)
        return None


def _best(scores: pd.DataFrame, validator: str) -> int:
    """Return the epoch with the highest score, the latest if several are equal, the last if no score is finite."""
    usable = scores[np.isfinite(scores[validator])]
    if usable.empty:
        return int(scores["epoch"].iloc[-1])
    return int(usable.loc[usable[validator] == usable[validator].max(), "epoch"].iloc[-1])


def _test(
    by_role: Mapping[str, Mapping[int, Classifier]],
    config: Config,
    prepared: Prepared,
    thresholds: Mapping[int, float],
) -> dict[int, pd.DataFrame]:
    """Predict the test rows of both domains by the classifiers of each epoch for that role; one table per epoch."""
    parts: dict[int, list[pd.DataFrame]] = {epoch: [] for epoch in thresholds}
    for role, domain in (("source", config.transfer.source), ("target", config.transfer.target)):
        rows = prepared.rows("test", domain=domain)
        data = prepared.labelled(domain, rows)
        table = prepared.table.iloc[rows][["row", "galaxy", "camera", "block"]].reset_index(drop=True)
        table["role"], table["domain"] = role, str(domain)
        table["label"] = data.labels.numpy()
        stretch = None
        for epoch, classifier in by_role[role].items():
            # The epochs of a training share one stretch, which takes as long as the network.
            if stretch is None or not stretch.equals(classifier.stretch):
                stretch, stretched = classifier.stretch, classifier.all_stretched(data.images)
            probability = inference.predict(classifier.network, stretched, **compute_options(config))
            parts[epoch].append(table.assign(probability=probability, threshold=thresholds[epoch]))
        del data, stretched  # before the other domain's images are read
    return {epoch: evaluation.join(tables) for epoch, tables in parts.items()}
