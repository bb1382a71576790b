"""How far source and target lie apart in the features of each network, on validation images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.archive import Domain
from mergershift.cells.finished import FinishedTraining
from mergershift.classifier import inference
from mergershift.classifier.classifier import Classifier, load_classifier
from mergershift.evaluation.embeddings import Plane, project, proxy_a_distance, squared_mmd
from mergershift.images import Prepared
from mergershift.images.locate import prepared_folder
from mergershift.report.study_results import Contender, Setting

MOST_IMAGES = 600
"""Validation images of each domain that are compared; a plane with more is no clearer."""


@dataclass(frozen=True)
class Shift:
    """The domains in one method's features."""

    contender: Contender
    mmd: tuple[float, ...]
    """Squared maximum mean discrepancy, one a seed."""
    proxy_a: tuple[float, ...]
    """Proxy A-distance, one a seed."""
    plane: Plane
    """Source and target of the first seed's network."""
    labels: NDArray[np.int64]
    """`(N,)` of the images of either domain."""


def chosen_classifier(training: FinishedTraining) -> Classifier:
    """The network of the epoch that was chosen without target labels."""
    return load_classifier(training.model_file(training.selection.epoch), training.config)


def prepared_images(training: FinishedTraining) -> Prepared:
    """The images that a training stands on."""
    return Prepared(prepared_folder(training.config))


def compared_images(setting: Setting) -> pd.DataFrame:
    """Row, galaxy and label of the images that are compared: all, else whole galaxies evenly by class.

    They are validation images: measuring a shift is no reason to open the test.
    """
    prepared = prepared_images(setting.contenders[0].first)
    rows = prepared.rows("validation", unique=True)
    shown = prepared.table.iloc[rows][["row", "galaxy"]].reset_index(drop=True)
    shown["label"] = prepared.labelled(Domain(setting.target), rows).labels.numpy()
    galaxies = shown.drop_duplicates("galaxy")
    step = -(-len(shown) // MOST_IMAGES)
    kept = pd.concat([part.iloc[::step] for _, part in galaxies.groupby("label")])
    return shown[shown["galaxy"].isin(kept["galaxy"])].reset_index(drop=True)


def measure(setting: Setting) -> list[Shift]:
    """Measure every method of a setting, on the same images of both domains."""
    table = compared_images(setting)
    rows, galaxies = table["row"].to_numpy(), table["galaxy"].to_numpy()
    prepared = prepared_images(setting.contenders[0].first)
    images = [prepared.images(Domain(name), rows) for name in (setting.source, setting.target)]
    measured = []
    for contender in setting.contenders:
        mmd, proxy_a, planes = [], [], []
        for training in contender.trainings:
            classifier, threads = chosen_classifier(training), training.config.trainer.threads
            source, target = (inference.activations(classifier, each, threads=threads)[0] for each in images)
            mmd.append(squared_mmd(source, target, galaxies, galaxies))
            proxy_a.append(proxy_a_distance(source, target, galaxies, galaxies))
            if training is contender.first:
                planes.append(project(source, target))
        measured.append(Shift(contender, tuple(mmd), tuple(proxy_a), planes[0], table["label"].to_numpy()))
    return measured
