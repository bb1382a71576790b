"""The features of images of the domains that a training used."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mergershift.adaptation import Adaptation
from mergershift.cells.domains import domains_seen
from mergershift.classifier import inference
from mergershift.classifier.classifier import Classifier
from mergershift.classifier.validation import compute_options
from mergershift.config import Config, instantiate
from mergershift.images import Prepared

_MOST_IMAGES = 2000
"""Largest number of images of each domain whose features are computed."""


def domain_features(
    config: Config, prepared: Prepared, classifier: Classifier, split: str
) -> NDArray[np.float64]:
    """Compute the features `(N, F)` of images of the domains that the training used.

    The images are those of `split` ("train" or "validation"), each rendering once and at most `_MOST_IMAGES` of each
    domain, evenly spaced. They reach the network as they did in the training. No label is read.
    """
    penalty = instantiate(config.adaptation.penalty, Adaptation)
    parts = []
    for domain in domains_seen(config.dump()):
        labelled = domain == config.transfer.labelled_domain
        trains = ("source" if labelled else "target") if split == "train" else None
        rows = prepared.rows(split, trains=trains, unique=True)
        images = prepared.images(domain, rows[:: -(-len(rows) // _MOST_IMAGES)])
        if labelled:
            images = penalty.labelled_images(images, torch.Generator().manual_seed(0))
        parts.append(inference.activations(classifier, images, **compute_options(config))[0])
    return np.concatenate(parts)
