"""The shift between source and target in the features of a network, measured on validation images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.archive import Domain
from mergershift.classifier import inference
from mergershift.classifier.classifier import Classifier
from mergershift.config import Config
from mergershift.evaluation.embeddings import Plane, project, proxy_a_distance, squared_mmd
from mergershift.images import Prepared

MOST_IMAGES = 300
"""Largest number of validation images of each domain that are compared; more would not make a plane clearer."""


class FeatureShift(NamedTuple):
    """The shift between the domains in the features of a network."""

    mmd: float
    """Squared maximum mean discrepancy."""
    proxy_a: float
    """Proxy A-distance."""
    plane: Plane
    """The images of both domains in the plane of the features' principal components."""


def compared_images(prepared: Prepared, target: Domain) -> pd.DataFrame:
    """Row, galaxy and label of the images that are compared.

    Of more than `MOST_IMAGES` images, evenly spaced galaxies of each class are kept, with all their images. They are
    validation images, because measuring a shift does not warrant a test evaluation.
    """
    rows = prepared.rows("validation", domain=target, unique=True)
    images = prepared.table.iloc[rows][["row", "galaxy"]].reset_index(drop=True)
    images["label"] = prepared.labelled(target, rows).labels.numpy()
    galaxies = images.drop_duplicates("galaxy")
    step = -(-len(images) // MOST_IMAGES)
    kept = pd.concat([part.iloc[::step] for _, part in galaxies.groupby("label")])
    return images[images["galaxy"].isin(kept["galaxy"])].reset_index(drop=True)


def feature_shift(
    classifier: Classifier, config: Config, prepared: Prepared, of_source: Classifier | None = None
) -> FeatureShift:
    """Measure the shift in the features of a classifier on `compared_images`.

    `of_source` is the classifier of source images where these are normalised in another way.
    """
    transfer = config.transfer
    table = compared_images(prepared, transfer.target)
    rows: NDArray[np.int64] = table["row"].to_numpy()
    galaxies = table["galaxy"].to_numpy()
    source, target = (
        inference.activations(used, prepared.images(domain, rows), threads=config.trainer.threads)[0]
        for used, domain in ((of_source or classifier, transfer.source), (classifier, transfer.target))
    )
    return FeatureShift(
        squared_mmd(source, target, galaxies, galaxies),
        proxy_a_distance(source, target, galaxies, galaxies),
        project(source, target),
    )
