"""Provide Lightning with its rows: training rows of both domains, validation rows of the labelled domain."""

from __future__ import annotations

from collections.abc import Iterator

import pytorch_lightning as pl
import torch
from torch import Tensor

from mergershift.adaptation import Adaptation
from mergershift.classifier.classifier import Classifier
from mergershift.config import Config
from mergershift.images import Batches, LabelledImages, PairedBatches, Prepared


class TransferData(pl.LightningDataModule):
    """Images of the labelled domain with their labels, and of the target without; test rows are never read.

    The target's images are held in memory only if `uses_target` is set.
    """

    def __init__(self, prepared: Prepared, config: Config, uses_target: bool) -> None:
        super().__init__()
        domain, rule = config.transfer.labelled_domain, config.training
        self.seed, self.settings = config.seed, rule
        self.source = prepared.labelled(domain, prepared.rows("train", trains="source"))
        unique = rule.validation_rows == "unique"
        self.validation = prepared.labelled(domain, prepared.rows("validation", unique=unique))
        self._prepared, self._target_domain = prepared, config.transfer.target
        self.target = self._target_images() if uses_target else None
        self.stretched = False
        """Whether the labelled images are stretched; if not, they are in µJy/arcsec²."""

    def stretch(self, classifier: Classifier, penalty: Adaptation, precision: torch.dtype) -> None:
        """Stretch all images once, and not in every step; the symmetries of the square commute with it.

        Labelled images stay in µJy/arcsec² where the method changes them.

        Args:
            classifier: its stretch is fitted to the labelled training images.
            penalty: the adaptation method.
            precision: type in which the stretched images are held.
        """
        classifier.stretch.fit(self.source.images)
        self.stretched = not penalty.changes_images

        def held(data: LabelledImages) -> LabelledImages:
            if self.stretched:
                return LabelledImages(classifier.all_stretched(data.images, precision), data.labels)
            return LabelledImages(data.images.contiguous(memory_format=torch.channels_last), data.labels)

        self.source, self.validation = held(self.source), held(self.validation)
        self.target = None if self.target is None else classifier.all_stretched(self.target, precision)

    def _target_images(self) -> Tensor:
        return self._prepared.images(self._target_domain, self._prepared.rows("train", trains="target"))

    def target_batches(self) -> Iterator[Tensor]:
        """Yield all training images of the target in µJy/arcsec² once and in order, in batches `(B, C, H, W)`."""
        yield from self._target_images().split(self.settings.batch_size)

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
