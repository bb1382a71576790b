"""Arrangement of rows in an unknown order: which of them show the same galaxy and the same rendering.

The turned copies of a rendering are recognised by their digest. Nothing in the pixels of two renderings proves that
two cameras saw the same galaxy, so cameras are joined by the metadata table or, without it, only where rows are still
in runs of four and the flux within these runs varies less than between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mergershift.archive.facts import RowStructure
from mergershift.archive.layouts import FileError

FoundBy = Literal["published order", "metadata", "runs of four cameras", "renderings"]
SEGMENT_GALAXIES = 100
"""Galaxies per segment in the comparison of fluxes; short segments reveal a shift in the middle of a file."""
ADJACENT = 1e-3
"""Largest p-value with which the cameras of a galaxy are taken to be adjacent."""
FEWEST_GALAXIES = 20
"""Fewest galaxies with which comparisons between galaxies are conclusive."""


class Rows(Protocol):
    """What each row of a data set shows: arrays `(N,)`, and how they were found."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """1 for a merger, 0 for a non-merger."""

    @property
    def galaxy(self) -> NDArray[np.int64]:
        """Galaxy numbers: 0 to M-1 for the M mergers, M to M+K-1 for the K non-mergers."""

    @property
    def camera(self) -> NDArray[np.int64]:
        """Number of the rendering among those of its galaxy."""

    @property
    def block(self) -> NDArray[np.int64]:
        """Number of the copy among those of its rendering."""

    @property
    def rows(self) -> int:
        """Number of rows N."""

    @property
    def mergers(self) -> int:
        """Number of merging galaxies M."""

    @property
    def non_mergers(self) -> int:
        """Number of other galaxies K."""

    @property
    def found_by(self) -> FoundBy:
        """What identifies the galaxies."""


@dataclass(frozen=True, eq=False)
class FoundRows:
    """Rows in another order than the published one; the fields are those of `Rows`."""

    labels: NDArray[np.int64]
    galaxy: NDArray[np.int64]
    camera: NDArray[np.int64]
    block: NDArray[np.int64]
    found_by: FoundBy

    @classmethod
    def grouped(
        cls,
        labels: NDArray[np.int64],
        groups: NDArray[np.int64],
        renderings: NDArray[np.int64],
        found_by: FoundBy,
    ) -> FoundRows:
        """Number galaxies, cameras and copies by first appearance from any ids of galaxies and renderings."""
        table = pd.DataFrame({"label": labels, "group": groups, "rendering": renderings})
        order = table.sort_values("label", ascending=False, kind="stable")
        galaxy = pd.Series(pd.factorize(order["group"])[0], order.index).sort_index()
        first = table.groupby("rendering", sort=False).cumcount() == 0
        camera = first.groupby(table["group"]).cumsum() - 1
        # A copy has the number of the rendering's first row, which may be any row before it.
        camera = camera[first].set_axis(table["rendering"][first]).loc[table["rendering"]]
        block = table.groupby("rendering", sort=False).cumcount()
        numbers = np.stack([column.to_numpy() for column in (galaxy, camera, block)]).astype(np.int64)
        return cls(labels, numbers[0], numbers[1], numbers[2], found_by)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.labels)

    @property
    def mergers(self) -> int:
        """Number of merging galaxies, or of their renderings if cameras could not be joined."""
        return len(np.unique(self.galaxy[self.labels == 1]))

    @property
    def non_mergers(self) -> int:
        """Number of other galaxies, or of their renderings if cameras could not be joined."""
        return len(np.unique(self.galaxy[self.labels == 0]))


@dataclass(frozen=True)
class Seen:
    """What identifies the images of a file in any orientation, one value per row."""

    renderings: NDArray[np.int64]
    """Equal for the turned copies of one rendering, and different for other images."""
    flux: NDArray[np.float64]
    """Mean over all channels in µJy/arcsec²."""

    @classmethod
    def of(cls, shapeless: NDArray[np.uint64], flux: NDArray[np.float64]) -> Seen:
        """Number the renderings by digests that are the same in all orientations."""
        return cls(np.unique(shapeless, return_inverse=True)[1].reshape(-1).astype(np.int64), flux)


def arrange(folder: Path, labels: NDArray[np.int64], seen: Seen, metadata: pd.DataFrame | None) -> FoundRows:
    """Arrange rows in an unknown order by the metadata table, if it describes these rows, or else by the images.

    Raises FileError if one rendering has two labels or, in the metadata, two galaxies, or the labels are inverted.
    """
    renderings = seen.renderings
    _require_one_each(
        folder, renderings, labels, "label", "The labels do not belong to these images: get them again."
    )
    _require_copies_of_mergers(folder, labels, renderings)
    if metadata is not None and np.array_equal(metadata["merger"].to_numpy(), labels):
        galaxies = metadata["galaxy"].to_numpy(np.int64)
        remedy = (
            "The metadata do not belong to these images: make them again with `mergershift data metadata`."
        )
        _require_one_each(folder, renderings, galaxies, "galaxy in metadata.ecsv", remedy)
        return FoundRows.grouped(labels, galaxies, renderings, "metadata")
    galaxies = np.full(len(labels), -1)
    for label in (1, 0):
        chosen = np.flatnonzero(labels == label)
        blocks = len(RowStructure.BLOCKS) if label else 1
        found = _joined(chosen, renderings[chosen], seen.flux[chosen], blocks)
        if found is None:
            return FoundRows.grouped(labels, renderings, renderings, "renderings")
        galaxies[chosen] = found + len(labels) * label
    return FoundRows.grouped(labels, galaxies, renderings, "runs of four cameras")


def by_ids(folder: Path, labels: NDArray[np.int64], ids: NDArray[np.int64], seen: Seen) -> FoundRows:
    """Arrange rows by the id of the galaxy of each; raises FileError if one rendering has two labels or ids."""
    remedy = "The arrays do not belong to this archive, or are in another order."
    _require_one_each(folder, seen.renderings, labels, "label", remedy)
    _require_one_each(folder, seen.renderings, ids, "subhalo id", remedy)
    return FoundRows.grouped(labels, ids, seen.renderings, "metadata")


def _joined(
    chosen: NDArray[np.int64], renderings: NDArray[np.int64], flux: NDArray[np.float64], blocks: int
) -> NDArray[np.int64] | None:
    """Join the cameras of one class, whose galaxies are each in `blocks` runs of four rows.

    Returns a number of the galaxy for each of the rows `chosen`, `(n,)`, or None if the rows are not in such runs.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(chosen):
        return chosen
    sizes = np.full(-(-len(chosen) // RowStructure.CAMERAS), RowStructure.CAMERAS)
    if len(chosen) % RowStructure.CAMERAS:
        if len(chosen) % RowStructure.CAMERAS != RowStructure.IRREGULAR_CAMERAS:
            return None
        sizes[min(RowStructure.IRREGULAR_PLACE, len(sizes) - 1)] = RowStructure.IRREGULAR_CAMERAS
    runs = np.repeat(np.arange(len(sizes)), sizes)
    if (np.diff(chosen)[np.diff(runs) == 0] != 1).any():
        return None
    # Runs that show the same renderings, turned, are one galaxy.
    _, own = np.unique(renderings, return_inverse=True)
    own = own.reshape(-1)
    shape = (len(sizes), own.max() + 1)
    links = coo_array((np.ones(len(runs)), (runs, own)), shape=shape)
    total = sum(shape)
    graph = coo_array((links.data, (links.row, links.col + len(sizes))), shape=(total, total))
    found = connected_components(graph, directed=False)[1]
    # A merger has one run in each block. Runs without their copies, or that are linked to more, were torn apart.
    if (np.bincount(found[: len(sizes)], minlength=1)[np.unique(found)] != blocks).any():
        return None
    galaxies = np.asarray(found[runs], np.int64)
    first = np.sort(np.unique(renderings, return_index=True)[1])
    separate = all(p < ADJACENT for _, p in flux_segments(galaxies[first], flux[first]))
    return galaxies if separate else None


def flux_segments(
    galaxies: NDArray[np.int64], flux: NDArray[np.float64]
) -> list[tuple[NDArray[np.int64], float]]:
    """Test in segments of rows whether flux varies less within than between galaxies, whose cameras are adjacent.

    The flux of a galaxy hardly depends on the viewing direction. Returns the places of each segment's rows and the
    p-value of a one-sided Mann-Whitney rank test of the differences between neighbouring rows; 1 if it has none of
    one kind.
    """
    from scipy.stats import mannwhitneyu

    in_order = np.unique(galaxies, return_index=True)[1]
    ordered = galaxies[np.sort(in_order)]
    segments = []
    for members in np.array_split(ordered, max(1, len(ordered) // SEGMENT_GALAXIES)):
        places = np.flatnonzero(np.isin(galaxies, members))
        steps, within = np.abs(np.diff(flux[places])), np.diff(galaxies[places]) == 0
        decidable = within.any() and not within.all()
        p = mannwhitneyu(steps[within], steps[~within], alternative="less").pvalue if decidable else 1.0
        segments.append((places, float(p)))
    return segments


def _require_copies_of_mergers(
    folder: Path, labels: NDArray[np.int64], renderings: NDArray[np.int64]
) -> None:
    """Raise FileError if the images of label 0 have turned copies, which mergers have, and those of 1 have none."""
    copied = np.bincount(renderings)[renderings] == len(RowStructure.BLOCKS)
    others, mergers = copied[labels == 0], copied[labels == 1]
    if len(others) and len(mergers) and others.mean() > 0.5 > mergers.mean():
        found = f"{others.sum()} images with turned copies have label 0, and {(~mergers).sum()} without have label 1"
        remedy = "The labels are inverted or do not belong to these images: get them again."
        raise FileError(
            folder, found, "label 1 for the images with turned copies, which are the mergers", remedy
        )


def _require_one_each(
    folder: Path, renderings: NDArray[np.int64], values: NDArray[np.int64], what: str, remedy: str
) -> None:
    first = np.unique(renderings, return_index=True)[1]
    different = np.flatnonzero(values != values[first][renderings])
    if len(different):
        row = different[0]
        other = first[renderings[row]]
        found = (
            f"rows {other} and {row} show the same image but have {what} {values[other]} and {values[row]}"
        )
        raise FileError(folder, f"{found} ({len(different)} such rows)", f"one {what} for each image", remedy)
