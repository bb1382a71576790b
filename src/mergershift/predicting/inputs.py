"""All requested images in batches of equal size, and the files that had to be refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mergershift.core.progress import progress_bar
from mergershift.predicting.conversion import Assumed, ConversionPlan
from mergershift.predicting.sources import Source, open_array, open_file
from mergershift.predicting.units import Refused

if TYPE_CHECKING:
    from torch import Tensor

    from mergershift.registry import ModelFacts

BATCH = 256


@dataclass(frozen=True)
class Batch:
    """A batch of images with their files."""

    images: NDArray[np.float32]
    """Images `(n, C, size, size)` in the model's format."""
    files: list[str]
    index: NDArray[np.int64]
    """Index of each image in its file, `(n,)`."""
    notes: list[str]
    """Note on the conversion of each image."""


class Inputs:
    """Images of several files or of one array; headers are read at once, pixels only when batches are read.

    Args:
        sources: Sources of usable images.
        refused: Reasons for refused files, by file name; files that turn out to be damaged are added.
    """

    def __init__(self, sources: list[Source], refused: dict[str, str]) -> None:
        self.sources, self.refused = sources, refused
        self.count = sum(source.count for source in sources)

    @classmethod
    def of_files(
        cls, names: Sequence[str], assumed: Assumed, facts: ModelFacts, *, progress: bool = False
    ) -> Inputs:
        """Open files and read their headers."""
        sources: list[Source] = []
        refused: dict[str, str] = {}
        plans: dict[ConversionPlan, ConversionPlan] = {}
        with progress_bar("headers", len(names), shown=progress and len(names) > BATCH) as advance:
            for name in names:
                try:
                    source = open_file(name, assumed, facts)
                    # A million files with the same properties share one plan.
                    sources.append(replace(source, plan=plans.setdefault(source.plan, source.plan)))
                except Refused as reason:
                    refused[name] = str(reason)
                advance(1)
        return cls(sources, refused)

    @classmethod
    def of_array(cls, images: NDArray[np.generic] | Tensor, assumed: Assumed, facts: ModelFacts) -> Inputs:
        """Use an array `(N, C, H, W)` or `(C, H, W)`; raises Refused if it cannot be converted."""
        return cls([open_array(images, assumed, facts)], {})

    def batches(self) -> Iterator[Batch]:
        """Yield all images in order, `BATCH` at a time; small files share batches."""
        parts: list[tuple[Source, int, NDArray[np.float64]]] = []
        room = BATCH
        for source in self.sources:
            start = 0
            blocks = source.blocks()
            while (block := self._next(source, blocks, start)) is not None:
                while len(block):
                    part, block = block[:room], block[room:]
                    parts.append((source, start, part))
                    start += len(part)
                    room -= len(part)
                    if not room:
                        yield _joined(parts)
                        parts, room = [], BATCH
        if parts:
            yield _joined(parts)

    def _next(
        self, source: Source, blocks: Iterator[NDArray[np.float64]], done: int
    ) -> NDArray[np.float64] | None:
        try:
            return next(blocks, None)
        except Refused as reason:
            extent = f" from image {done} on; the images before it are in the table" if done else ""
            self.refused[source.name] = f"{reason}{extent}"
            return None


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Read every batch while its predecessor is being processed, which keeps one more batch in memory."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def _joined(parts: list[tuple[Source, int, NDArray[np.float64]]]) -> Batch:
    with np.errstate(over="ignore", invalid="ignore"):  # Values beyond single precision become infinite.
        images = np.concatenate([part.astype(np.float32) for _, _, part in parts])
    index = np.concatenate([np.arange(start, start + len(part)) for _, start, part in parts])
    files = [source.name for source, _, part in parts for _ in range(len(part))]
    notes = [source.plan.note for source, _, part in parts for _ in range(len(part))]
    return Batch(images, files, index, notes)
