"""Reading of stored images in the model's format: their window, without masked pixels, converted and re-binned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mergershift.predicting.conversion import ConversionPlan, PlanePlan
from mergershift.predicting.gaps import without_blanks, without_codes
from mergershift.predicting.planes import Mask, Pixels, StoredPlane
from mergershift.predicting.regrid import rebin
from mergershift.predicting.units import Refused

Block = NDArray[np.generic]


class _Window(NamedTuple):
    """A window of one object with pixels; two planes of one window are read together."""

    pixels: int
    """Its `id`, since pixels need not be hashable."""
    rows: tuple[int, int]
    columns: tuple[int, int]


def read_images(
    stored: Sequence[StoredPlane], plan: ConversionPlan
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield images in the model's format, `(n, C, size, size)`, and their coverage, `(n, C)`, block by block.

    Args:
        stored: Where the planes of the description are, in its order.
        plan: What is made of them.

    Pixels without a value, which masks exclude or which the images do not contain, are NaN. Raises Refused if the
    planes have different numbers of images, and whatever reading a damaged file raises.
    """
    reader = _Reader()
    places = [[reader.place(want, made) for want in _wanted(stored[made.plane])] for made in plan.planes]
    for blocks in reader.blocks():
        count = len(next(iter(blocks.values())))
        images = np.empty((count, len(places), plan.size, plan.size), np.float32)
        coverage = np.empty((count, len(places)), np.float32)
        for channel, (made, where) in enumerate(zip(plan.planes, places, strict=True)):
            values, *masks = (blocks[window][:, number] for window, number in where)
            part = _valued(values, masks, stored[made.plane].masks)
            converted, share = _converted(part, made, plan.size)
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # Values beyond single precision become infinite.
                images[:, channel] = converted
            coverage[:, channel] = share
        yield images, coverage


class _Reader:
    """Collects which planes of which windows are needed, and reads those of all images together."""

    def __init__(self) -> None:
        self._planes: dict[_Window, list[int]] = {}
        self._pixels: dict[int, Pixels] = {}

    def place(self, want: tuple[Pixels, int], made: PlanePlan) -> tuple[_Window, int]:
        """Ask for a plane; returns its window and its number among the planes of that window."""
        pixels, plane = want
        rows, columns = made.inside(pixels.shape[2:])
        window = _Window(id(pixels), (rows.start, rows.stop), (columns.start, columns.stop))
        self._pixels[id(pixels)] = pixels
        planes = self._planes.setdefault(window, [])
        if plane not in planes:
            planes.append(plane)
        return window, planes.index(plane)

    def blocks(self) -> Iterator[dict[_Window, Block]]:
        """Yield all windows of the same images, however many each of the pixels yields at a time."""
        streams = [
            self._pixels[window.pixels].blocks(planes, slice(*window.rows), slice(*window.columns))
            for window, planes in self._planes.items()
        ]
        left: list[Block | None] = [None] * len(streams)
        while True:
            for number, stream in enumerate(streams):
                held = left[number]
                if held is None or not len(held):
                    left[number] = next(stream, None)
            blocks = [block for block in left if block is not None]
            if not blocks:
                return
            if len(blocks) < len(left):
                raise Refused("its planes have different numbers of images")
            count = min(len(block) for block in blocks)
            yield {window: block[:count] for window, block in zip(self._planes, blocks, strict=True)}
            left = [block[count:] for block in blocks]


def _wanted(stored: StoredPlane) -> Iterator[tuple[Pixels, int]]:
    yield stored.pixels, stored.plane
    for mask in stored.masks:
        yield mask.pixels, stored.plane if mask.plane is None else mask.plane


def _valued(values: Block, masks: Sequence[Block], kinds: Sequence[Mask]) -> NDArray[np.float64]:
    """Convert stored values to float64 with NaN where there is no value: in areas of one constant, and by the masks."""
    part = without_codes(without_blanks(values.astype(np.float64)))
    for mask, kind in zip(masks, kinds, strict=True):
        part[~usable(mask, kind.kind, kind.bits)] = np.nan
    return part


def usable(mask: Block, kind: str, bits: int) -> NDArray[np.bool_]:
    """Decide by the stored values of a mask, of a kind and with bits as in `Mask`, which pixels have a value."""
    if kind == "weight":
        with np.errstate(invalid="ignore"):
            usable: NDArray[np.bool_] = np.greater(mask, 0)
        return usable
    if kind == "error":
        with np.errstate(invalid="ignore"):
            above: NDArray[np.bool_] = np.isfinite(mask) & np.greater(mask, 0)
        # Errors that are 0 everywhere have not been computed.
        return above if above.any() else np.isfinite(mask)
    return (np.nan_to_num(np.asarray(mask)).astype(np.int64) & bits) == 0


def _converted(
    part: NDArray[np.float64], made: PlanePlan, size: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Convert one plane of images `(n, h, w)`; returns it on the model's grid, and the share of it with a value."""
    part = made.light(part)
    if made.window is None:
        finite = np.isfinite(part)
        return np.where(finite, part, np.nan), finite.mean(axis=(1, 2))
    if any(map(any, made.padding)):
        part = np.pad(part, ((0, 0), *made.padding), constant_values=np.nan)
    values, share = rebin(part, *made.window, size)
    return values, share.mean(axis=(1, 2))
