"""Scores of a classifier on validation images, by which epochs, trials and models are compared."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from mergershift import evaluation
from mergershift.adaptation import Adaptation
from mergershift.classifier import inference
from mergershift.classifier.classifier import Classifier
from mergershift.config import Config, instantiate
from mergershift.evaluation import DOMAIN_DISTANCE, NEEDS_TRAINING_FEATURES, ORACLE, SOURCE_ACCURACY, Evidence
from mergershift.evaluation.embeddings import squared_mmd
from mergershift.evaluation.metrics import Floats
from mergershift.images import LabelledImages, Prepared

MOST_TRAINING_IMAGES = 500
"""Largest number of training images of each domain from which density ratios are estimated."""
_BATCH = 128


class Validation:
    """The validation images on which classifiers are compared: labelled ones, and the target's without labels.

    The target's validation labels are used for nothing but the oracle's score.
    """

    def __init__(self, config: Config, prepared: Prepared) -> None:
        domain, target = config.transfer.labelled_domain, config.transfer.target
        self._options = compute_options(config)
        self._penalty = instantiate(config.adaptation.penalty, Adaptation)
        self._fitted: dict[str, Tensor] = {}
        self._stretched: dict[str, Tensor] = {}
        self._generator = torch.Generator()
        rows = prepared.rows("validation", unique=True)
        labelled = prepared.labelled(domain, rows)
        self._source = LabelledImages(self._as_trained(labelled.images), labelled.labels)
        self._target = prepared.images(target, rows)
        self._source_train = self._as_trained(
            prepared.images(domain, _thinned(prepared.rows("train", trains="source", unique=True)))
        )
        self._target_train = prepared.images(
            target, _thinned(prepared.rows("train", trains="target", unique=True))
        )
        self._galaxies = prepared.table["galaxy"].to_numpy()[rows]
        self._oracle_labels = prepared.labelled(target, rows).labels.numpy()

    def _as_trained(self, images: Tensor) -> Tensor:
        """The images as the adaptation method trains on them, for instance with noise added."""
        adapted: Tensor = self._penalty.labelled_images(images, self._generator.manual_seed(0))
        return adapted

    def for_source(self, classifier: Classifier) -> Classifier:
        """Copy the classifier as it is used on the labelled domain.

        A method that fits the trained network to the target (AdaBN) fits it to each domain separately.
        """
        fitted = copy.deepcopy(classifier)
        device = next(fitted.parameters()).device  # during training this may be a GPU
        batches = (fitted.stretched(images.to(device)) for images in self._source_train.split(_BATCH))
        self._penalty.after_training(fitted.network, batches)
        return fitted

    def evidence(self, classifier: Classifier, with_training_images: bool = True) -> Evidence:
        """Compute the features and logits of a classifier from which validators compute their scores.

        Features of training images are left out unless `with_training_images`.
        """
        self._keep_stretched(classifier)
        source_classifier = self.for_source(classifier)
        source, source_logits = self._activations(source_classifier, "source", self._source.images)
        target, target_logits = self._activations(classifier, "target", self._target)
        return Evidence(
            source_features=source,
            source_logits=source_logits,
            source_labels=self._source.labels.numpy(),
            target_features=target,
            target_logits=target_logits,
            source_train_features=self._activations(source_classifier, "source_train", self._source_train)[0]
            if with_training_images
            else None,
            target_train_features=self._activations(classifier, "target_train", self._target_train)[0]
            if with_training_images
            else None,
        )

    def _keep_stretched(self, classifier: Classifier) -> None:
        """Keep stretched images for the classifier, unless its stretch is that of the one before.

        All epochs of a training share one, which is fitted before the first.
        """
        fitted = {name: value.cpu() for name, value in classifier.stretch.state_dict().items()}
        same = fitted.keys() == self._fitted.keys() and all(
            torch.equal(value, self._fitted[name]) for name, value in fitted.items()
        )
        if not same:
            # A copy: loading other weights into a module changes its tensors in place.
            self._fitted = {name: value.clone() for name, value in fitted.items()}
            self._stretched = {}

    def _activations(self, classifier: Classifier, name: str, images: Tensor) -> tuple[Floats, Floats]:
        """Compute features and logits of images, which are stretched once for all classifiers with that stretch."""
        if name not in self._stretched:
            self._stretched[name] = classifier.all_stretched(images)
        return inference.activations(classifier.network, self._stretched[name], **self._options)

    def scores(self, classifier: Classifier) -> dict[str, float]:
        """Score a classifier by every label-free validator and by the oracle."""
        evidence = self.evidence(classifier)
        scores = {name: validator(evidence) for name, validator in evaluation.VALIDATORS.items()}
        return scores | {ORACLE: self._oracle(evidence)}

    def metrics(self, classifier: Classifier, names: Sequence[str]) -> dict[str, float]:
        """Compute named metrics of a classifier.

        A name is that of a validator, `SOURCE_ACCURACY`, `DOMAIN_DISTANCE` or `ORACLE`.
        """
        evidence = self.evidence(classifier, with_training_images=NEEDS_TRAINING_FEATURES in names)
        return {name: self._metric(evidence, name) for name in names}

    def _metric(self, evidence: Evidence, name: str) -> float:
        if name == ORACLE:
            return self._oracle(evidence)
        if name == SOURCE_ACCURACY:
            if not np.isfinite(evidence.source_logits).all():
                return float("nan")
            probabilities = softmax(evidence.source_logits, axis=1)[:, 1]
            return evaluation.score(evidence.source_labels, probabilities)["balanced_accuracy"]
        if name == DOMAIN_DISTANCE:
            source, target = evidence.source_features, evidence.target_features
            if not (np.isfinite(source).all() and np.isfinite(target).all()):
                return float("nan")
            return squared_mmd(source, target, self._galaxies, self._galaxies)
        return evaluation.VALIDATORS[name](evidence)

    def _oracle(self, evidence: Evidence) -> float:
        return evaluation.oracle_target_balanced_accuracy(self._oracle_labels, evidence.target_logits)

    def threshold(self, classifier: Classifier) -> float:
        """Choose the threshold with the best balanced accuracy on the labelled validation images."""
        source_classifier = self.for_source(classifier)
        probabilities = inference.predict(source_classifier, self._source.images, **self._options)
        return evaluation.best_threshold(self._source.labels.numpy(), probabilities)


def _thinned(rows: Any) -> Any:
    """Select at most `MOST_TRAINING_IMAGES` of the rows, evenly spaced."""
    return rows[:: -(-len(rows) // MOST_TRAINING_IMAGES)]


def compute_options(config: Config) -> dict[str, Any]:
    """Options of `inference` for a training's configuration: its number of threads, and its GPU if there is one."""
    gpu = config.trainer.accelerator == "gpu" and torch.cuda.is_available()
    return {"threads": config.trainer.threads, "device": "cuda" if gpu else None}
