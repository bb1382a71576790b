"""The features and measures of images of the domains that a training used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergershift.adaptation import Adaptation
from mergershift.archive import FIELD_KPC, IMAGE_SIZE, Domain
from mergershift.cells.domains import domains_seen
from mergershift.classifier import inference
from mergershift.classifier.classifier import Classifier
from mergershift.classifier.validation import compute_options
from mergershift.config import Config, instantiate
from mergershift.images import Prepared
from mergershift.images.measure import MEASURES, measure
from mergershift.registry.reference import LEVELS, Quantiles, Reference
from mergershift.tracking.named_columns import turned

_MOST_IMAGES = 2000
"""Largest number of images of each domain that are used."""
_BATCH = 256


def domain_features(
    config: Config, prepared: Prepared, classifier: Classifier, split: str, view: int = 0
) -> NDArray[np.float64]:
    """Compute the features `(N, F)` of one view of images of the domains that the training used.

    The images are those of `split` ("train" or "validation"), each rendering once and at most `_MOST_IMAGES` of each
    domain, evenly spaced. They reach the network as they did in the training. No label is read.
    """
    penalty = instantiate(config.adaptation.penalty, Adaptation)
    parts = []
    for domain in domains_seen(config.dump()):
        images = _images(config, prepared, domain, split)
        if domain == config.transfer.labelled_domain:
            images = penalty.labelled_images(images, torch.Generator().manual_seed(0))
        seen = turned(images.numpy(), view)
        parts.append(inference.activations(classifier, seen, **compute_options(config))[0])
    return np.concatenate(parts)


def domain_measures(config: Config, prepared: Prepared, filters: Sequence[str]) -> Reference:
    """Measure the training images of the domains that the training used, in the `filters` of their channels.

    They are the images of `domain_features`, as they are stored.
    """
    quantiles = {
        str(domain): quantiles_of(_images(config, prepared, domain, "train").numpy(), filters)
        for domain in domains_seen(config.dump())
    }
    return Reference(levels=LEVELS, quantiles=quantiles)


def quantiles_of(images: NDArray[np.float32], filters: Sequence[str]) -> Quantiles:
    """Compute the quantiles of the measures of images `(N, C, S, S)`."""
    parts = [
        measure(images[start : start + _BATCH], FIELD_KPC / IMAGE_SIZE)
        for start in range(0, len(images), _BATCH)
    ]
    measured = {name: np.concatenate([part[name] for part in parts]) for name in MEASURES}
    return {
        filter_name: {
            name: _quantiles(values[:, channel])
            for name, values in measured.items()
            if np.isfinite(values[:, channel]).any()
        }
        for channel, filter_name in enumerate(filters)
    }


def _quantiles(values: NDArray[np.float32]) -> tuple[float, ...]:
    found = np.quantile(values[np.isfinite(values)].astype(np.float64), LEVELS)
    return tuple(float(f"{value:.5g}") for value in found)


def _images(config: Config, prepared: Prepared, domain: Domain, split: str) -> Tensor:
    labelled = domain == config.transfer.labelled_domain
    trains = ("source" if labelled else config.training.target_trains) if split == "train" else None
    rows = prepared.rows(split, domain=domain, trains=trains, unique=True)
    return prepared.images(domain, rows[:: -(-len(rows) // _MOST_IMAGES)])
