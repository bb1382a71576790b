"""The images of files or of an array as batches of equal size, with a row for every refused one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mergershift.core.errors import first_line
from mergershift.core.progress import progress_bar
from mergershift.predicting.conversion import ConversionPlan, make_plan
from mergershift.predicting.flags import Flag
from mergershift.predicting.opening import open_files
from mergershift.predicting.planes import Description, Given, Identity
from mergershift.predicting.reading import read_images
from mergershift.predicting.rows import BATCH, Batch, Row
from mergershift.predicting.sources import Source, Unusable, open_array
from mergershift.predicting.units import Refused
from mergershift.predicting.unused import unused_options

if TYPE_CHECKING:
    from mergershift.registry import ModelFacts


@dataclass(slots=True)
class _Part:
    """Consecutive rows of one source."""

    images: NDArray[np.float32]
    coverage: NDArray[np.float32]
    rows: list[Row]

    def __len__(self) -> int:
        return len(self.rows)

    def split(self, place: int) -> tuple[_Part, _Part]:
        return (
            _Part(self.images[:place], self.coverage[:place], self.rows[:place]),
            _Part(self.images[place:], self.coverage[place:], self.rows[place:]),
        )


class FileInputs:
    """Images of several files or of one array; headers are read at once, pixels only when batches are read.

    Args:
        sources: Sources of images, and refused ones, in the order of the rows.
        given: Properties that the user gives.
        facts: The model's format.
    """

    def __init__(self, sources: Iterable[Source | Unusable], given: Given, facts: ModelFacts) -> None:
        self.facts = facts
        self.entries: list[tuple[Source, ConversionPlan] | Unusable] = []
        plans = _Plans(given, facts)
        for source in sources:
            if isinstance(source, Source):
                try:
                    self.entries.append((source, plans.of(source.description)))
                except Refused as reason:
                    self.entries += _unusable(source, str(reason))
            else:
                self.entries.append(source)
        used = (entry[0] for entry in self.entries if not isinstance(entry, Unusable))
        self.warnings = unused_options(((source.description, source.count) for source in used), given)
        """What has to be known of all images, in sentences."""

    @classmethod
    def of_files(
        cls, names: Sequence[str], given: Given, facts: ModelFacts, *, progress: bool = False
    ) -> FileInputs:
        """Open files and read their headers."""
        with progress_bar("headers", len(names), shown=progress and len(names) > BATCH) as advance:

            def opened() -> Iterator[str]:
                for name in names:
                    yield name
                    advance(1)

            return cls(open_files(opened()), given, facts)

    @classmethod
    def of_array(cls, images: Any, given: Given, facts: ModelFacts) -> FileInputs:
        """Use an array or tensor `(N, C, H, W)` or `(C, H, W)`; raises Refused if it cannot be converted."""
        source = open_array(images)
        make_plan(source.description, given, facts)
        return cls([source], given, facts)

    @property
    def count(self) -> int:
        """Number of rows, refused ones included, as far as known before the pixels are read."""
        return sum(1 if isinstance(entry, Unusable) else entry[0].count for entry in self.entries)

    @property
    def usable(self) -> bool:
        """Whether there is an image that is not refused by its header."""
        return any(not isinstance(entry, Unusable) for entry in self.entries)

    @property
    def refused(self) -> int:
        """Number of rows that are refused before the pixels are read."""
        return sum(isinstance(entry, Unusable) for entry in self.entries)

    def batches(self) -> Iterator[Batch]:
        """Yield all rows in order, `BATCH` at a time; small files share batches."""
        held: list[_Part] = []
        room = BATCH
        for part in self._parts():
            while len(part):
                taken, part = part.split(room)
                held.append(taken)
                room -= len(taken)
                if not room:
                    yield _joined(held)
                    held, room = [], BATCH
        if held:
            yield _joined(held)

    def _parts(self) -> Iterator[_Part]:
        for entry in self.entries:
            if isinstance(entry, Unusable):
                yield self._refused(entry.identity, entry.index, entry.reason)
            else:
                yield from self._read(*entry)

    def _read(self, source: Source, plan: ConversionPlan) -> Iterator[_Part]:
        done = 0
        blocks = read_images(source.planes, plan)
        try:
            for images, coverage in blocks:
                rows = [_row(source, plan, done + number) for number in range(len(images))]
                done += len(rows)
                yield _Part(images, coverage, rows)
        except MemoryError:
            raise
        # A damaged file can raise any exception, at any of its images.
        except Exception as error:
            reason = str(error) if isinstance(error, Refused) else f"cannot be read ({first_line(error)})"
            for number in range(done, source.count):
                yield self._refused(source.identity(number), source.first + number, reason)

    def _refused(self, identity: Identity, index: int, reason: str) -> _Part:
        channels, size = len(self.facts.filters), self.facts.image_size
        row = Row(identity, index, flags=[Flag("refused")], refused=reason)
        nothing = np.full((1, channels, size, size), np.nan, np.float32)
        return _Part(nothing, np.zeros((1, channels), np.float32), [row])


@dataclass(slots=True)
class _Plans:
    """Plans of conversion, which a million files with the same properties share."""

    given: Given
    facts: ModelFacts
    known: dict[Description, ConversionPlan | Refused] = field(default_factory=dict)

    def of(self, found: Description) -> ConversionPlan:
        if found not in self.known:
            try:
                self.known[found] = make_plan(found, self.given, self.facts)
            except Refused as reason:
                self.known[found] = reason
        plan = self.known[found]
        if isinstance(plan, Refused):
            raise plan
        return plan


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Read every batch while its predecessor is being processed, which keeps one more batch in memory."""
    with ThreadPoolExecutor(1) as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def _unusable(source: Source, reason: str) -> list[Unusable]:
    """Refuse all images of a source: one by one if they have names of their own, else together."""
    return [
        Unusable(identity, reason, source.first + number) for number, identity in enumerate(source.identities)
    ]


def _row(source: Source, plan: ConversionPlan, image: int) -> Row:
    return Row(
        source.identity(image),
        source.first + image,
        redshift=plan.redshift,
        filters=plan.filters,
        conversion=plan.note,
        flags=list(plan.flags),
        psf=plan.psf,
    )


def _joined(parts: list[_Part]) -> Batch:
    return Batch(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.coverage for part in parts]),
        [row for part in parts for row in part.rows],
    )
