"""Which images a training saw, and what its network makes of them and of others of their kind."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mergershift.adaptation import Adaptation
from mergershift.archive import Domain
from mergershift.classifier import inference
from mergershift.classifier.classifier import Classifier
from mergershift.classifier.validation import compute_options
from mergershift.config import Config, instantiate
from mergershift.images import Prepared

_MOST_IMAGES = 2000
"""Of each domain."""


def domains_seen(config: Config) -> tuple[Domain, ...]:
    """The labelled domain, and the target where the method used it, in its penalty or after the training."""
    penalty: Adaptation = instantiate(config.adaptation.penalty)
    methods = [each for each in penalty.modules() if isinstance(each, Adaptation)]
    single = [each for each in methods if not any(other in methods for other in list(each.modules())[1:])]
    used = any(
        each.uses_target or type(each).after_training is not Adaptation.after_training for each in single
    )
    labelled, target = config.transfer.labelled_domain, config.transfer.target
    return (labelled, target) if used and target != labelled else (labelled,)


def domain_features(
    config: Config, prepared: Prepared, classifier: Classifier, split: str
) -> NDArray[np.float64]:
    """Features `(N, F)` of the images in a split ("train" or "validation") of the domains that the training saw.

    Each rendering once, no more than a few thousand of a domain, evenly spread, as the training would have given
    them to the network. Labels are not read.
    """
    penalty: Adaptation = instantiate(config.adaptation.penalty)
    parts = []
    for domain in domains_seen(config):
        labelled = domain == config.transfer.labelled_domain
        trains = ("source" if labelled else "target") if split == "train" else None
        rows = prepared.rows(split, trains=trains, unique=True)
        images = prepared.images(domain, rows[:: -(-len(rows) // _MOST_IMAGES)])
        if labelled:
            images = penalty.labelled_images(images, torch.Generator().manual_seed(0))
        parts.append(inference.activations(classifier, images, **compute_options(config))[0])
    return np.concatenate(parts)
