"""The network of a finished training as a part of a registered model, and its answers for views of images."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergershift.adaptation import Adaptation
from mergershift.archive import Domain
from mergershift.cells.finished import FinishedTraining
from mergershift.classifier import inference
from mergershift.classifier.classifier import Classifier, load_classifier
from mergershift.classifier.validation import Validation, compute_options
from mergershift.config import Config, instantiate
from mergershift.images import LabelledImages, Prepared
from mergershift.registry.domains import domain_features
from mergershift.registry.feature_distance import FeatureDistance, fit_distance
from mergershift.registry.model_facts import MemberFacts
from mergershift.tracking.named_columns import SYMMETRIES, turned

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Member:
    """A finished and evaluated training and the images that it was trained on.

    What is computed takes a while and is kept.
    """

    training: FinishedTraining
    prepared: Prepared

    @property
    def config(self) -> Config:
        """Configuration of the training."""
        return self.training.config

    @property
    def weights(self) -> Path:
        """Path of the classifier of the chosen epoch."""
        return self.training.model_file(self.training.selection.epoch)

    @property
    def facts(self) -> MemberFacts:
        """The facts that distinguish it from other members."""
        return MemberFacts(
            name=self.training.name,
            seed=self.config.seed,
            epoch=self.training.selection.epoch,
            training=self.training.record.training,
            config_hash=self.training.trained.config_hash,
        )

    @cached_property
    def classifier(self) -> Classifier:
        """The classifier of the chosen epoch, as it is used on the target."""
        return load_classifier(self.weights, self.config)

    @cached_property
    def labelled_classifier(self) -> Classifier:
        """The same classifier, as it is used on the labelled domain."""
        return Validation(self.config, self.prepared).for_source(self.classifier)

    @cached_property
    def distance(self) -> FeatureDistance:
        """Distance of an image's features from those of the training images."""
        return fit_distance(self._features("train"), self._features("validation"))

    def distances(self) -> Floats:
        """Compute the distances of held-out images in all views, `(8, N)`."""
        views = [torch.from_numpy(self._features("validation", view)) for view in range(SYMMETRIES)]
        return np.stack([self.distance(features).numpy() for features in views])

    def _features(self, split: str, view: int = 0) -> Floats:
        return domain_features(self.config, self.prepared, self.classifier, split, view)

    def labelled_images(self, rows: NDArray[np.int64]) -> LabelledImages:
        """Read images of the labelled domain as the training used them, with their labels."""
        images, labels = self.prepared.labelled(self.config.transfer.labelled_domain, rows)
        penalty = instantiate(self.config.adaptation.penalty, Adaptation)
        return LabelledImages(penalty.labelled_images(images, torch.Generator().manual_seed(0)), labels)

    def log_odds(self, images: Tensor, *, labelled: bool) -> Floats:
        """Compute the log odds of a merger in all views of images, `(8, N)`, by the classifier for their domain."""
        classifier = self.labelled_classifier if labelled else self.classifier
        options = compute_options(self.config)
        views = (turned(images.numpy(), view) for view in range(SYMMETRIES))
        logits = np.stack([inference.activations(classifier, seen, **options)[1] for seen in views])
        odds: Floats = logits[..., 1] - logits[..., 0]
        return odds

    def on_domain(self, domain: Domain, rows: NDArray[np.int64]) -> Floats:
        """Compute the log odds of a merger in all views of stored images of a domain, `(8, N)`."""
        transfer = self.config.transfer
        labelled = domain == transfer.labelled_domain and transfer.labelled == "source"
        return self.log_odds(self.prepared.images(domain, rows), labelled=labelled)
