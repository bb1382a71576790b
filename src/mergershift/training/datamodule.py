"""Provide Lightning with its rows: training rows of both domains, validation rows of the labelled domain."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from mergershift.adaptation import Adaptation
from mergershift.archive import Domain
from mergershift.classifier.classifier import Classifier
from mergershift.config import Config
from mergershift.core.errors import UserError
from mergershift.images import Batches, LabelledImages, PairedBatches, Prepared


class TransferData(pl.LightningDataModule):
    """Images of the labelled domain with their labels, and of the target without; test rows are never read.

    With ``training_rows: unique``, both domains have each rendering once. The archive repeats mergers five times, so
    that all rows would reveal the classes' shares in the target, and give the domains other shares than the sky has.
    The labelled images define an epoch: each is seen once in it, and as many of the target's are drawn beside them.
    The target's images are held in memory only if `uses_target` is set.
    """

    def __init__(self, prepared: Prepared, config: Config, uses_target: bool) -> None:
        super().__init__()
        domain, rule = config.transfer.labelled_domain, config.training
        self.seed, self.settings = config.seed, rule
        self._prepared, self._target_domain, self._labelled_domain = prepared, config.transfer.target, domain
        self.source = prepared.labelled(domain, self._training_rows(domain, "source"))
        unique = rule.validation_rows == "unique"
        self.validation = prepared.labelled(domain, prepared.rows("validation", domain=domain, unique=unique))
        self.target = self._target_images() if uses_target else None
        self.stretched = False
        """Whether the labelled images are stretched; if not, they are in µJy/arcsec²."""

    def stretch(self, classifier: Classifier, penalty: Adaptation, precision: torch.dtype) -> None:
        """Stretch all images once, and not in every step; the symmetries of the square commute with it.

        Labelled images stay in µJy/arcsec² where the method changes them.

        Args:
            classifier: its stretch is fitted to the labelled training images, or as training.normalisation says.
            penalty: the adaptation method.
            precision: type in which the stretched images are held.
        """
        self.stretched = not penalty.changes_images
        of_labelled = self._fitted(classifier)

        def held(data: LabelledImages) -> LabelledImages:
            if self.stretched:
                return LabelledImages(of_labelled.all_stretched(data.images, precision), data.labels)
            return LabelledImages(data.images.contiguous(memory_format=torch.channels_last), data.labels)

        self.source, self.validation = held(self.source), held(self.validation)
        self.target = None if self.target is None else classifier.all_stretched(self.target, precision)

    def hold_on(self, device: torch.device) -> None:
        """Move all images to a GPU once, and not in every step, if they fit beside those of other trainings.

        They may take a tenth of its memory, and half of what is free. Where they lie does not change a result.
        """
        if device.type != "cuda":
            return
        images = [self.source.images, self.validation.images, *([] if self.target is None else [self.target])]
        size = sum(part.numel() * part.element_size() for part in images)
        free, total = torch.cuda.mem_get_info(device)
        if 10 * size > total or 2 * size > free:
            return
        self.source, self.validation = (
            LabelledImages(data.images.to(device), data.labels.to(device))
            for data in (self.source, self.validation)
        )
        self.target = None if self.target is None else self.target.to(device)

    def _fitted(self, classifier: Classifier) -> Classifier:
        """Fit the classifier's stretch and return the classifier of labelled images, which may have another stretch.

        Raises UserError if each domain has its own and the method has labelled images stretched in every step.
        """
        rule = self.settings.normalisation
        if rule == "labelled_training":
            classifier.stretch.fit(self.source.images)
        if rule != "each_domain":
            return classifier
        if not self.stretched:
            raise UserError(
                "training.normalisation is each_domain, which no method can have that changes labelled images.\n"
                "Use training.normalisation=labelled_training."
            )
        classifier.stretch.fit_blocks(self._prepared.all_images(self._target_domain))
        stretch = copy.deepcopy(classifier.stretch)
        if self._labelled_domain != self._target_domain:
            stretch.fit_blocks(self._prepared.all_images(self._labelled_domain))
        return Classifier(stretch, classifier.network)

    def _target_images(self) -> Tensor:
        rows = self._training_rows(self._target_domain, self.settings.target_trains)
        return self._prepared.images(self._target_domain, rows)

    def _training_rows(self, domain: Domain, side: str) -> NDArray[np.int64]:
        unique = self.settings.training_rows == "unique"
        return self._prepared.rows("train", domain=domain, trains=side, unique=unique)

    def target_batches(self) -> Iterator[Tensor]:
        """Yield all training images of the target in µJy/arcsec² once, in batches `(B, C, H, W)`.

        Their order depends on the seed alone: in the archive's order, most batches would hold a single class.
        """
        images = self._target_images()
        order = torch.randperm(len(images), generator=Generator().manual_seed(self.seed))
        for rows in order.split(self.settings.batch_size):
            yield images[rows]

    @property
    def steps_per_epoch(self) -> int:
        """Number of optimiser steps per epoch."""
        return len(self._epoch(0))

    def _epoch(self, epoch: int) -> PairedBatches:
        return PairedBatches(
            self.source,
            self.target,
            batch_size=self.settings.batch_size,
            seed=self.seed,
            epoch=epoch,
            augment=self.settings.augment,
            kind=self.settings.batches,
        )

    def train_dataloader(self) -> PairedBatches:
        """Return the batches of the current epoch; the trainer requests them again for every epoch."""
        assert self.trainer is not None
        return self._epoch(self.trainer.current_epoch)

    def val_dataloader(self) -> Batches:
        """Return the validation images of the labelled domain in batches."""
        return Batches(self.validation, self.settings.batch_size)


def class_weights(labels: Tensor) -> Tensor:
    """Return weights `(2,)` that balance both classes of `labels` `(N,)`; their mean over the images is 1."""
    counts = torch.bincount(labels, minlength=2).double()
    return (counts.sum() / (2 * counts)).float()
