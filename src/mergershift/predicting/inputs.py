"""All images that were asked for, in batches of one size, and what of them had to be refused."""

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
    """Some images and where each is from."""

    images: NDArray[np.float32]
    """`(n, C, size, size)`"""
    files: list[str]
    index: NDArray[np.int64]
    """`(n,)`, in its file."""
    notes: list[str]
    """What was done to it."""


class Inputs:
    """Images of several files, or of one array; headers are read at once, pixels when they are walked through.

    Args:
        sources: what has images that can be taken.
        refused: why other files can't be, by their names; files that turn out to be damaged join them.
    """

    def __init__(self, sources: list[Source], refused: dict[str, str]) -> None:
        self.sources, self.refused = sources, refused
        self.count = sum(source.count for source in sources)

    @classmethod
    def of_files(
        cls, names: Sequence[str], assumed: Assumed, facts: ModelFacts, *, progress: bool = False
    ) -> Inputs:
        """Open files by their names."""
        sources: list[Source] = []
        refused: dict[str, str] = {}
        plans: dict[ConversionPlan, ConversionPlan] = {}
        with progress_bar("headers", len(names), shown=progress and len(names) > BATCH) as advance:
            for name in names:
                try:
                    source = open_file(name, assumed, facts)
                    # A million files of a kind have one plan, not a million.
                    sources.append(replace(source, plan=plans.setdefault(source.plan, source.plan)))
                except Refused as reason:
                    refused[name] = str(reason)
                advance(1)
        return cls(sources, refused)

    @classmethod
    def of_array(cls, images: NDArray[np.generic] | Tensor, assumed: Assumed, facts: ModelFacts) -> Inputs:
        """Take an array `(N, C, H, W)` or `(C, H, W)`; raises Refused where it can't be taken."""
        return cls([open_array(images, assumed, facts)], {})

    def batches(self) -> Iterator[Batch]:
        """All images in order, `BATCH` at a time, small files together."""
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
            place = f" from image {done} on, those before it are in the table" if done else ""
            self.refused[source.name] = f"{reason}{place}"
            return None


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches, each read while its forerunner is worked on; one more of them is in memory."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def _joined(parts: list[tuple[Source, int, NDArray[np.float64]]]) -> Batch:
    with np.errstate(over="ignore", invalid="ignore"):  # what single precision can't hold is not finite
        images = np.concatenate([part.astype(np.float32) for _, _, part in parts])
    index = np.concatenate([np.arange(start, start + len(part)) for _, start, part in parts])
    files = [source.name for source, _, part in parts for _ in range(len(part))]
    notes = [source.plan.note for source, _, part in parts for _ in range(len(part))]
    return Batch(images, files, index, notes)
