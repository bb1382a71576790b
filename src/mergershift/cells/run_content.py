"""What the MLflow run of a training, trial or search consists of, read from its folder."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from mergershift import evaluation
from mergershift.cells.finished import TRAIN_AGAIN, read_epochs, read_test_predictions, read_validators
from mergershift.cells.layout import (
    ARTIFACTS,
    CONFIG,
    EPOCHS,
    EVALUATED,
    FIGURES,
    PREDICTIONS,
    RUN,
    SELECTION,
    TRAINED,
    VALIDATORS,
    model_file,
)
from mergershift.cells.records import RunContent, RunModel, RunRecord, RunSpec, Selection, Trained, data_tags
from mergershift.cells.summary_files import GAIN, StudyTrainings, predictions_digest
from mergershift.core.reading import damaged
from mergershift.core.yaml_files import read_yaml
from mergershift.evaluation import JSON_NAME

PUBLISHED = (SELECTION, VALIDATORS, JSON_NAME, PREDICTIONS["label_free"])
"""Files of an evaluation that are uploaded to the MLflow run of its training."""


def run_files(trained: Path) -> dict[str, bytes]:
    """Read the files that belong into the MLflow run of the training in the folder `trained`.

    Returns their contents by their paths within the run.
    """
    files = {name: trained / name for name in (CONFIG, RUN) if (trained / name).is_file()}
    artifacts = trained / ARTIFACTS
    paths = (path for path in sorted(artifacts.rglob("*")) if path.is_file())
    files |= {path.relative_to(artifacts).as_posix(): path for path in paths}
    return {name: _bytes(path) for name, path in files.items()}


def run_content(trained: Path, study: StudyTrainings | None = None) -> RunContent:
    """Collect the content of the MLflow run of the training, trial or search in the folder `trained`.

    It includes the evaluation if there is one, and what `study` says about the training if it is part of it. Raises
    DamagedFile where a file is missing, damaged or does not belong to the training.
    """
    record = RunRecord.read(trained / RUN)
    metrics = {name: (value, record.ended) for name, value in record.metrics.items()}
    files = run_files(trained)
    spec = run_spec(trained, record, study)
    model, withdrawn = None, frozenset[str]()
    evaluated = trained.parent / EVALUATED
    if trained.name == TRAINED and (evaluated / SELECTION).is_file():
        selection = Selection.read(evaluated / SELECTION)
        # Otherwise the evaluation belongs to an earlier training that this one has replaced.
        if selection.training == record.training:
            scores, of_evaluation = _evaluation(evaluated, selection, record.trained)
            if study is not None:
                digest = predictions_digest(of_evaluation[PREDICTIONS["label_free"]])
                gain = study.gain(record.training, digest)
                scores |= gain
                if record.training in study.trainings:
                    withdrawn = frozenset(GAIN) - gain.keys()
            evaluated_at = int((evaluated / JSON_NAME).stat().st_mtime * 1000)
            metrics |= {name: (value, evaluated_at) for name, value in scores.items()}
            files |= of_evaluation
            model = _model(trained, selection, of_evaluation)
    table = read_epochs(trained / EPOCHS, record.trained)
    epochs = [row | record.system.get(int(row["epoch"]), {}) for row in _rows(table)]
    return RunContent(
        spec, record.status, record.ended, epochs, record.epoch_times, metrics, files, model, withdrawn
    )


def _evaluation(
    folder: Path, selection: Selection, training: Trained | None
) -> tuple[dict[str, float], dict[str, bytes]]:
    """Read the metrics of an evaluation by name, and its files by their paths within the run."""
    again = f"Evaluate the training again with `mergershift evaluate {folder.parent}`."
    validators = read_validators(folder / VALIDATORS, again)
    same_rows = training is None or not training.split.independent_domains
    read_test_predictions(folder / PREDICTIONS["label_free"], again, same_rows=same_rows)
    scores = (
        evaluation.flat(evaluation.read_results(folder))
        | {"selected_epoch": selection.epoch, "threshold": selection.threshold}
        | _chosen_scores(validators, selection.epoch)
    )
    figures = {f"{FIGURES}/{path.name}": path for path in sorted(folder.glob("*.png"))}
    paths = {name: folder / name for name in PUBLISHED} | figures
    return scores, {name: _bytes(path) for name, path in paths.items()}


def _model(trained: Path, selection: Selection, of_evaluation: Mapping[str, bytes]) -> RunModel | None:
    weights = model_file(trained, selection.epoch)
    if not weights.is_file():
        return None
    digest = hashlib.sha256(of_evaluation[SELECTION] + of_evaluation[JSON_NAME]).hexdigest()[:16]
    files = {
        weights.name: weights,
        CONFIG: trained / CONFIG,
        SELECTION: trained.parent / EVALUATED / SELECTION,
    }
    return RunModel(selection.epoch, digest, files)


def run_spec(trained: Path, record: RunRecord, study: StudyTrainings | None = None) -> RunSpec:
    """Return what the MLflow run of the training, trial or search in the folder `trained` is created from.

    Args:
        trained: folder of the record and the configuration.
        record: its record.
        study: the trainings of the study, which may be among them.
    """
    # A record of an earlier version lacks some of the tags about the images.
    known = record.trained
    of_data = {} if known is None else data_tags(known.data_hash, known.provenance)
    return RunSpec(
        training=record.training,
        experiment=record.experiment,
        name=record.name,
        config=_config(trained / CONFIG, known),
        tags=record.tags | of_data,
        parent=record.parent,
        started=record.started,
        study=study.study if study is not None and record.training in study.trainings else None,
    )


def _chosen_scores(scores: pd.DataFrame, epoch: int) -> dict[str, float]:
    """Return the finite scores of the chosen epoch by each validator."""
    chosen = _rows(scores[scores["epoch"] == epoch].drop(columns="epoch"))
    return {name: value for row in chosen for name, value in row.items() if math.isfinite(value)}


def _rows(table: pd.DataFrame) -> list[dict[str, float]]:
    """Return the rows of a table of numbers by column; pandas' own `to_dict` takes ten times as long."""
    names = list(map(str, table))
    return [dict(zip(names, row, strict=True)) for row in table.to_numpy(dtype=float).tolist()]


def _config(path: Path, trained: Trained | None) -> dict[str, Any]:
    if trained is None and not path.exists():
        return {}
    return read_yaml(path, dict[str, Any], TRAIN_AGAIN, written=True)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror or error})", TRAIN_AGAIN) from error
