"""The shift between source and target in the features of each network, measured on validation images."""

from __future__ import annotations

from collections.abc import Callable
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

MOST_IMAGES = 300
"""Largest number of validation images of each domain that are compared; more would not make a plane clearer."""


@dataclass(frozen=True)
class Shift:
    """The shift between the domains in the features of one method."""

    contender: Contender
    mmd: tuple[float, ...]
    """Squared maximum mean discrepancy, one value per seed."""
    proxy_a: tuple[float, ...]
    """Proxy A-distance, one value per seed."""
    plane: Plane
    """Source and target images in the feature plane of the first seed's network."""
    labels: NDArray[np.int64]
    """Labels `(N,)`, which are the same for the images of both domains."""


def chosen_classifier(training: FinishedTraining) -> Classifier:
    """Load the classifier of the epoch that was chosen without target labels."""
    return load_classifier(training.model_file(training.selection.epoch), training.config)


def prepared_images(training: FinishedTraining) -> Prepared:
    """The prepared images that a training used."""
    return Prepared(prepared_folder(training.config))


def compared_images(setting: Setting) -> pd.DataFrame:
    """Row, galaxy and label of the images that are compared.

    Of more than `MOST_IMAGES` images, evenly spaced galaxies of each class are kept, with all their images. They are
    validation images, because measuring a shift does not warrant a test evaluation.
    """
    prepared = prepared_images(setting.contenders[0].first)
    rows = prepared.rows("validation", unique=True)
    images = prepared.table.iloc[rows][["row", "galaxy"]].reset_index(drop=True)
    images["label"] = prepared.labelled(Domain(setting.target), rows).labels.numpy()
    galaxies = images.drop_duplicates("galaxy")
    step = -(-len(images) // MOST_IMAGES)
    kept = pd.concat([part.iloc[::step] for _, part in galaxies.groupby("label")])
    return images[images["galaxy"].isin(kept["galaxy"])].reset_index(drop=True)


def measure(setting: Setting, advance: Callable[[int], None]) -> list[Shift]:
    """Measure the shift in the features of every method of a setting, on the same images of both domains.

    Calls `advance` with 1 after every network.
    """
    table = compared_images(setting)
    rows, galaxies = table["row"].to_numpy(), table["galaxy"].to_numpy()
    prepared = prepared_images(setting.contenders[0].first)
    images = [prepared.images(Domain(name), rows) for name in (setting.source, setting.target)]
    measured = []
    for contender in setting.contenders:
        mmd, proxy_a, planes = [], [], []
        for training in contender.trainings:
            classifier, threads = chosen_classifier(training), training.config.trainer.threads
            source, target = (
                inference.activations(classifier, of_domain, threads=threads)[0] for of_domain in images
            )
            mmd.append(squared_mmd(source, target, galaxies, galaxies))
            proxy_a.append(proxy_a_distance(source, target, galaxies, galaxies))
            if training is contender.first:
                planes.append(project(source, target))
            advance(1)
        measured.append(Shift(contender, tuple(mmd), tuple(proxy_a), planes[0], table["label"].to_numpy()))
    return measured
