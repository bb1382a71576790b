"""Batches of labelled source images paired with unlabelled target images, which are kept in memory only once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Generator, Tensor

from mergershift.images.augment import dihedral
from mergershift.images.store import LabelledImages


class PairedBatch(NamedTuple):
    """A training batch; the target has neither labels nor row numbers, since row numbers reveal the class."""

    source_images: Tensor
    source_labels: Tensor
    target_images: Tensor | None = None


class PairedBatches:
    """The batches of one epoch over the labelled source, each with an equal number of target images.

    Source and target follow independent permutations, which depend on seed and epoch alone, so that a resumed
    training sees the same batches as an uninterrupted one. If the target has fewer images, it starts over. The
    last, incomplete batch of an epoch is skipped unless it is the only one, because the batch statistics of a few
    images are noise. Augmentation is fast for images in the channels-last layout.

    The published trainings differ, see `kind`: with "all", the incomplete batch is used; with "drawn_anew", every batch
    of either domain is drawn from all of its images, whatever earlier batches contained, and there are as many batches
    as with "all".
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
        kind: Literal["full", "all", "drawn_anew"] = "full",
    ) -> None:
        self.source, self.target = source, target
        self.batch_size = min(batch_size, len(source.labels))
        self.augment, self.kind = augment, kind
        self.generators = [Generator().manual_seed(_mix(seed, epoch, stream)) for stream in range(3)]

    def __len__(self) -> int:
        images = len(self.source.labels)
        return images // self.batch_size if self.kind == "full" else -(-images // self.batch_size)

    def __iter__(self) -> Iterator[PairedBatch]:
        source_generator, target_generator, symmetry = self.generators
        source_rows = self._endless(len(self.source.labels), source_generator)
        target_rows = None if self.target is None else self._endless(len(self.target), target_generator)
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            left = len(self.source.labels) - start if self.kind == "all" else self.batch_size
            index = next(source_rows)[:left]
            domains = [(self.source.images, index)]
            if self.target is not None and target_rows is not None:
                domains.append((self.target, next(target_rows)[:left]))
            images, *others = self._taken(domains, symmetry)
            yield PairedBatch(images, self.source.labels[index], *others)

    def _taken(self, domains: Sequence[tuple[Tensor, Tensor]], symmetry: Generator) -> list[Tensor]:
        """Take rows `(B,)` of the images `(N, C, H, W)` of each domain.

        They lie one after another in memory, so that `joined` need not copy them.
        """
        sizes, first = [len(rows) for _, rows in domains], domains[0][0]
        shape, layout = (sum(sizes), *first.shape[1:]), torch.channels_last
        whole = torch.empty(shape, dtype=first.dtype, device=first.device, memory_format=layout)
        result = []
        for (images, rows), place in zip(domains, whole.split(sizes), strict=True):
            # Where labelled images are not stretched, only the target may be in bf16.
            taken = place if images.dtype == place.dtype else torch.empty_like(place, dtype=images.dtype)
            if self.augment:
                dihedral(images, rows, symmetry, taken)
            else:
                torch.index_select(images.permute(0, 2, 3, 1), 0, rows, out=taken.permute(0, 2, 3, 1))
            result.append(taken)
        return result

    def _endless(self, images: int, generator: Generator) -> Iterator[Tensor]:
        """Yield the rows of one batch after another, from one permutation after another, where the images are."""
        waiting = torch.empty(0, dtype=torch.long)
        while True:
            while len(waiting) < self.batch_size:
                waiting = torch.cat([waiting, torch.randperm(images, generator=generator)])
            yield waiting[: self.batch_size].to(self.source.images.device)
            waiting = waiting[self.batch_size : 0 if self.kind == "drawn_anew" else None]


def joined(domains: Sequence[Tensor]) -> Tensor:
    """Join images `(N, C, H, W)` of one or more domains; those of `PairedBatches` without a copy."""
    first, end = domains[0], domains[0].storage_offset()
    if len(domains) == 1:
        return first
    memory = (first.untyped_storage().data_ptr(), first.dtype, first.stride())
    for images in domains:
        here = (images.untyped_storage().data_ptr(), images.dtype, images.stride())
        if here != memory or images.storage_offset() != end or images.requires_grad:
            return torch.cat(list(domains))
        end += len(images) * images.stride(0)
    return first.as_strided((sum(map(len, domains)), *first.shape[1:]), first.stride())


class Batches:
    """Batches of labelled images in their given order, for validation."""

    def __init__(self, data: LabelledImages, batch_size: int) -> None:
        self.data, self.batch_size = data, batch_size

    def __len__(self) -> int:
        return -(-len(self.data.labels) // self.batch_size)

    def __iter__(self) -> Iterator[LabelledImages]:
        for start in range(0, len(self.data.labels), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield LabelledImages(self.data.images[part], self.data.labels[part])


def _mix(seed: int, epoch: int, stream: int) -> int:
    """Return a distinct generator seed for every seed, epoch and stream."""
    return (seed * 1_000_003 + epoch) * 4 + stream
