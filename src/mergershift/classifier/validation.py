"""Scores of a classifier on validation images, by which epochs, trials and models are compared."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from mergershift import evaluation
from mergershift.adaptation import Adaptation
from mergershift.archive import Domain
from mergershift.classifier import inference
from mergershift.classifier.class_shares import class_shares
from mergershift.classifier.classifier import Classifier
from mergershift.config import Config, instantiate
from mergershift.evaluation import (
    DOMAIN_DISTANCE,
    HALVES,
    JUDGED,
    NEEDS_TRAINING_FEATURES,
    ORACLE,
    SOURCE_ACCURACY,
    Evidence,
    Half,
    half_of,
)
from mergershift.evaluation.embeddings import squared_mmd
from mergershift.evaluation.metrics import Floats
from mergershift.images import LabelledImages, Prepared, Stretch

MOST_TRAINING_IMAGES = 500
"""Largest number of training images of each domain from which density ratios are estimated."""
_BATCH = 128


class Validation:
    """The validation images on which classifiers are compared: labelled ones, and the target's without labels.

    The target's validation labels are used for nothing but the oracle's score. The galaxies have two halves
    (`evaluation.HALVES`): what is tuned and which epoch is taken is decided by scores on one, and scores on the other
    compare the results. Thresholds, which no score depends on, are chosen on both.
    """

    def __init__(self, config: Config, prepared: Prepared) -> None:
        domain, target = config.transfer.labelled_domain, config.transfer.target
        self._options = compute_options(config)
        self._penalty = instantiate(config.adaptation.penalty, Adaptation)
        self._stretches: dict[Domain, Stretch] = {}
        self._penalty.expect(class_shares(config, prepared))
        self._stretch: Stretch | None = None
        self._stretched: dict[str, Tensor] = {}
        self._generator = torch.Generator()
        self._config, self._prepared = config, prepared
        rows = prepared.rows("validation", domain=domain, unique=True)
        labelled = prepared.labelled(domain, rows)
        self._source = LabelledImages(self._as_trained(labelled.images), labelled.labels)
        target_rows = prepared.rows("validation", domain=target, unique=True)
        self._target = prepared.images(target, target_rows)
        self._source_train = self._as_trained(
            prepared.images(
                domain, _thinned(prepared.rows("train", domain=domain, trains="source", unique=True))
            )
        )
        self._target_train = prepared.images(
            target,
            _thinned(
                prepared.rows("train", domain=target, trains=config.training.target_trains, unique=True)
            ),
        )
        galaxies = prepared.table["galaxy"].to_numpy()
        self._galaxies, self._target_galaxies = galaxies[rows], galaxies[target_rows]
        self._class_shares = _shares(self._source.labels.numpy())
        balanced = config.training.class_weights == "balanced"
        self._training_shares = None if balanced else _shares(trained_labels(config, prepared))
        self._oracle_labels = prepared.labelled(target, target_rows).labels.numpy()

    def _as_trained(self, images: Tensor) -> Tensor:
        """The images as the adaptation method trains on them, for instance with noise added."""
        adapted: Tensor = self._penalty.labelled_images(images, self._generator.manual_seed(0))
        return adapted

    def for_source(self, classifier: Classifier) -> Classifier:
        """Copy the classifier as it is used on the labelled domain.

        A method that fits the trained network to the target (AdaBN) fits it to each domain separately.
        """
        fitted = self.normalised(classifier, self._config.transfer.labelled_domain)
        device = next(fitted.parameters()).device  # during training this may be a GPU
        batches = (fitted.stretched(images.to(device)) for images in self._source_train.split(_BATCH))
        self._penalty.fit_to_source(fitted.network, batches)
        return fitted

    def normalised(self, classifier: Classifier, domain: Domain) -> Classifier:
        """Copy the classifier with the stretch of a domain, if each domain has its own; it has the target's."""
        copied = copy.deepcopy(classifier)
        if self._config.training.normalisation == "each_domain" and domain != self._config.transfer.target:
            if domain not in self._stretches:
                self._stretches[domain] = copy.deepcopy(classifier.stretch)
                self._stretches[domain].fit_blocks(self._prepared.all_images(domain))
            copied.stretch.load_state_dict(self._stretches[domain].state_dict())
        return copied

    def evidence(self, classifier: Classifier, with_training_images: bool = True) -> Evidence:
        """Compute features and logits of all validation images, from which validators compute their scores.

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
            class_shares=self._class_shares,
            training_shares=self._training_shares,
        )

    def _within(self, half: Half) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Masks of the labelled images, and of the target's, whose galaxies are in a half."""
        seed = self._config.split.seed
        of_target = known = half_of(half, self._galaxies, self._source.labels.numpy(), seed)
        if self._config.split.independent_domains:
            of_target = half_of(half, self._target_galaxies, np.zeros(len(self._target_galaxies)), seed)
        return np.isin(self._galaxies, known), np.isin(self._target_galaxies, of_target)

    def _keep_stretched(self, classifier: Classifier) -> None:
        """Keep stretched images for the classifier, unless its stretch is that of the one before.

        All epochs of a training share one, which is fitted before the first.
        """
        if self._stretch is None or not self._stretch.equals(classifier.stretch):
            # A copy: loading other weights into a module changes its tensors in place.
            self._stretch, self._stretched = copy.deepcopy(classifier.stretch), {}

    def _activations(self, classifier: Classifier, name: str, images: Tensor) -> tuple[Floats, Floats]:
        """Compute features and logits of images, which are stretched once for all classifiers with that stretch."""
        if name not in self._stretched:
            self._stretched[name] = classifier.all_stretched(images)
        return inference.activations(classifier.network, self._stretched[name], **self._options)

    def scores(self, classifier: Classifier) -> dict[str, float]:
        """Score a classifier by every label-free validator and by the oracle.

        The score on the judging half has the name of the one on the choosing half with the suffix `JUDGED`.
        """
        whole, names = self.evidence(classifier), (*evaluation.VALIDATORS, ORACLE)
        scores = {half: self._metrics(whole, names, half) for half in HALVES}
        return scores["choosing"] | {f"{name}{JUDGED}": value for name, value in scores["judging"].items()}

    def metrics(self, classifier: Classifier, names: Sequence[str]) -> dict[str, float]:
        """Compute named metrics of a classifier on the choosing half.

        A name is that of a validator, `SOURCE_ACCURACY`, `DOMAIN_DISTANCE` or `ORACLE`.
        """
        evidence = self.evidence(classifier, with_training_images=NEEDS_TRAINING_FEATURES in names)
        return self._metrics(evidence, names, "choosing")

    def _metrics(self, whole: Evidence, names: Sequence[str], half: Half) -> dict[str, float]:
        labelled, target = self._within(half)
        evidence = whole.subset(labelled, target)
        return {name: self._metric(evidence, name, labelled, target) for name in names}

    def _metric(
        self, evidence: Evidence, name: str, labelled: NDArray[np.bool_], target: NDArray[np.bool_]
    ) -> float:
        if name == ORACLE:
            return evaluation.oracle_target_balanced_accuracy(
                self._oracle_labels[target], evidence.target_logits
            )
        if name == SOURCE_ACCURACY:
            if not np.isfinite(evidence.source_logits).all():
                return float("nan")
            probabilities = softmax(evidence.source_logits, axis=1)[:, 1]
            return evaluation.score(evidence.source_labels, probabilities)["balanced_accuracy"]
        if name == DOMAIN_DISTANCE:
            features = evidence.source_features, evidence.target_features
            if not all(np.isfinite(values).all() for values in features):
                return float("nan")
            return squared_mmd(*features, self._galaxies[labelled], self._target_galaxies[target])
        return evaluation.VALIDATORS[name](evidence)

    def threshold(self, classifier: Classifier) -> float:
        """Choose the threshold with the best balanced accuracy on the labelled validation images."""
        source_classifier = self.for_source(classifier)
        probabilities = inference.predict(source_classifier, self._source.images, **self._options)
        return evaluation.best_threshold(self._source.labels.numpy(), probabilities)


def trained_labels(config: Config, prepared: Prepared) -> NDArray[np.int64]:
    """Return the labels `(N,)` of the rows that a training sees with their labels."""
    domain, unique = config.transfer.labelled_domain, config.training.training_rows == "unique"
    return prepared.labels(domain, prepared.rows("train", domain=domain, trains="source", unique=unique))


def _shares(labels: NDArray[np.int64]) -> Floats | None:
    """Shares `(K,)` of the two classes; None if one is missing."""
    counts = np.bincount(labels, minlength=2)
    return counts / counts.sum() if counts.all() else None


def _thinned(rows: Any) -> Any:
    """Select at most `MOST_TRAINING_IMAGES` of the rows, evenly spaced, in an order that is the same for all trainings.

    The archive's order is by class, and batches of a single class would have other statistics than mixed ones.
    """
    chosen = rows[:: -(-len(rows) // MOST_TRAINING_IMAGES)]
    return np.random.default_rng(0).permutation(chosen)


def compute_options(config: Config) -> dict[str, Any]:
    """Options of `inference` for a training's configuration: its number of threads, and its GPU if there is one."""
    gpu = config.trainer.accelerator == "gpu" and torch.cuda.is_available()
    return {"threads": config.trainer.threads, "device": "cuda" if gpu else None}
