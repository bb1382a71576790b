"""Training batches: labelled source images paired with unlabelled target images, all held in memory once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Generator, Tensor

from mergershift.images.augment import dihedral
from mergershift.images.store import LabelledImages


class PairedBatch(NamedTuple):
    """A training batch. The target has no label field and no row numbers: row order encodes the class."""

    source_images: Tensor
    source_labels: Tensor
    target_images: Tensor | None


class PairedBatches:
    """One epoch over the labelled source, each batch with as many target images.

    Source and target follow independent permutations, drawn from (seed, epoch) alone, so that a resumed training
    sees the batches that an uninterrupted one would have seen. The target starts over where it is shorter. The
    last, incomplete batch of an epoch is left out unless it is the only one: batch statistics of a few images
    are noise.
    """

    def __init__(
        self,
        source: LabelledImages,
        target: Tensor | None,
        *,
        batch_size: int,
        seed: int,
        epoch: int,
        augment: bool,
    ) -> None:
        self.source, self.target = source, target
        self.batch_size = min(batch_size, len(source.labels))
        self.augment = augment
        self.generators = [Generator().manual_seed(_mix(seed, epoch, stream)) for stream in range(3)]

    def __len__(self) -> int:
        return len(self.source.labels) // self.batch_size

    def __iter__(self) -> Iterator[PairedBatch]:
        ours, theirs, symmetry = self.generators
        order = torch.randperm(len(self.source.labels), generator=ours)
        other = self._endless_target(theirs)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            index = order[start : start + self.batch_size]
            images, labels = self.source.images[index], self.source.labels[index]
            target = None if self.target is None else self.target[next(other)]
            if self.augment:
                images = dihedral(images, symmetry)
                target = None if target is None else dihedral(target, symmetry)
            yield PairedBatch(images, labels, target)

    def _endless_target(self, generator: Generator) -> Iterator[Tensor]:
        if self.target is None:
            return
        waiting = torch.empty(0, dtype=torch.long)
        while True:
            while len(waiting) < self.batch_size:
                waiting = torch.cat([waiting, torch.randperm(len(self.target), generator=generator)])
            yield waiting[: self.batch_size]
            waiting = waiting[self.batch_size :]


class Batches:
    """Labelled images in order, for validation."""

    def __init__(self, data: LabelledImages, batch_size: int) -> None:
        self.data, self.batch_size = data, batch_size

    def __len__(self) -> int:
        return -(-len(self.data.labels) // self.batch_size)

    def __iter__(self) -> Iterator[LabelledImages]:
        for start in range(0, len(self.data.labels), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield LabelledImages(self.data.images[part], self.data.labels[part])


def _mix(seed: int, epoch: int, stream: int) -> int:
    """Distinct generator seeds for every seed, epoch and stream."""
    return (seed * 1_000_003 + epoch) * 4 + stream
