"""Evaluated trainings on disk whose every decision is known, and studies of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from cells.samples import config_of, write_selection, write_training

from mergershift import evaluation
from mergershift.archive import Origin
from mergershift.cells.layout import EVALUATED, PAGE_NAME, PREDICTIONS, REPORT
from mergershift.cells.summary_files import read_trainings, write_page_record
from mergershift.config.study import read_study
from mergershift.evaluation import ORACLE
from mergershift.stages.summary import write_summary

GALAXIES = 6
"""Of each class."""
FORWARD = "pristine_to_noisy"
MOCK = Origin(kind="mock", seed=100, mergers=GALAXIES, non_mergers=GALAXIES, mock_version=2)


def predictions(right: tuple[int, int], first_galaxy: int = 0) -> pd.DataFrame:
    """Predictions of which, in source and target, this number of galaxies of each class is right."""
    number = np.arange(2 * GALAXIES)
    label = (number < GALAXIES).astype(int)
    parts = []
    for role, domain, count in (("source", "pristine", right[0]), ("target", "noisy", right[1])):
        called = np.where(number % GALAXIES < count, label, 1 - label)
        columns = {"row": number, "galaxy": number + first_galaxy, "camera": 0, "block": 0}
        columns |= {"role": role, "domain": domain, "label": label}
        parts.append(pd.DataFrame({**columns, "probability": 0.1 + 0.8 * called, "threshold": 0.5}))
    return evaluation.join(parts)


def write_evaluated(
    cell: Path,
    right: tuple[int, int],
    adaptation: str = "mmd",
    *,
    seed: int = 0,
    filters: str = "two",
    split_seed: int | None = None,
    settings: dict[str, Any] | None = None,
    **trained: Any,
) -> str:
    """Leave a training that was evaluated, and return its id.

    Args:
        cell: its folder.
        right: see `predictions`.
        adaptation: name of its method.
        seed: its seed.
        filters: its filter set.
        split_seed: seed of its split.
        settings: changed entries of conf/training/.
        trained: changed entries of its record.
    """
    plain = config_of()
    split = plain.split if split_seed is None else plain.split.model_copy(update={"seed": split_seed})
    config = plain.model_copy(
        update={
            "seed": seed,
            "split": split,
            "filters": plain.filters.model_copy(update={"name": filters}),
            "choices": plain.choices | {"adaptation": adaptation, "filters": filters},
            "training": plain.training.model_copy(update=settings or {}),
        }
    )
    training = f"{adaptation}-{filters}-{seed}-{cell.name}"
    write_training(cell, config, training=training, name=cell.name, provenance=MOCK, **trained)
    scores = {name: [0.1, 0.2 + right[1], 0.3] for name in (*evaluation.VALIDATORS, ORACLE)}
    write_selection(cell, scores, training=training, epoch=1, oracle_epoch=2)
    table = predictions(right)
    for name in PREDICTIONS.values():
        evaluation.write_predictions(table, cell / EVALUATED / name)
    evaluation.write_results(evaluation.evaluate(table, resamples=50), cell / EVALUATED)
    return training


def write_small_study(project: Path) -> str:
    """Leave a study of source-only and MMD with its summary and a page, in the working directory; return its id."""
    path = project / "conf/study.yaml"
    study = yaml.safe_load(path.read_text())
    methods = [
        {"transfer": FORWARD, "adaptation": name, "experiment": "default"} for name in ("source_only", "mmd")
    ]
    path.write_text(yaml.safe_dump({**study, "filters": ["two"], "methods": methods, "seeds": [0, 1]}))
    for cell in read_study().cells():
        right = (5, 3) if cell.method.is_baseline else (4, 5)
        write_evaluated(project / cell.folder, right, cell.method.adaptation, seed=cell.seed)
    write_summary()
    return write_page()


def write_page(text: str = "<h1>The page</h1>") -> str:
    """Leave a page of the study in the working directory, made from its summary; return the study's id."""
    trainings = read_trainings("")
    assert trainings is not None
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / PAGE_NAME).write_text(text)
    write_page_record(REPORT, trainings.trainings, "mergershift")
    return trainings.study
