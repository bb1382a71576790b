"""The shift between source and target in the features of the networks of each method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.archive import Domain
from mergershift.cells.finished import FinishedTraining
from mergershift.classifier import feature_shift
from mergershift.classifier.classifier import Classifier, load_classifier
from mergershift.evaluation.embeddings import Plane
from mergershift.images import Prepared
from mergershift.images.locate import prepared_folder
from mergershift.report.study_results import Contender, Setting


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
    """Row, galaxy and label of the images of a setting that are compared."""
    return feature_shift.compared_images(prepared_images(setting.contenders[0].first), Domain(setting.target))


def shifts(setting: Setting, labels: NDArray[np.int64], advance: Callable[[int], None]) -> list[Shift]:
    """The shift in the features of every method of a setting, as the evaluations measured it on the same images.

    What an evaluation of an earlier version has not measured is measured now. Calls `advance` with 1 for every network.
    """
    found = []
    for contender in setting.contenders:
        measured = []
        for training in contender.trainings:
            measured.append(_measured(training))
            advance(1)
        mmd, proxy_a = (tuple(getattr(one, name) for one in measured) for name in ("mmd", "proxy_a"))
        found.append(Shift(contender, mmd, proxy_a, measured[0].plane, labels))
    return found


def _measured(training: FinishedTraining) -> feature_shift.FeatureShift:
    stored = training.shift
    if stored is None:
        return feature_shift.feature_shift(
            chosen_classifier(training), training.config, prepared_images(training)
        )
    plane = Plane(*(np.array(getattr(stored, name), dtype=np.float64) for name in Plane._fields))
    return feature_shift.FeatureShift(stored.mmd, stored.proxy_a, plane)
