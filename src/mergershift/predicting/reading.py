"""Reading of stored images in the model's format: their window, without masked pixels, converted and re-binned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mergershift.predicting.blanks import Blanks, without_blanks, without_codes
from mergershift.predicting.conversion import ConversionPlan, PlanePlan
from mergershift.predicting.planes import Mask, Pixels, Rows, StoredPlane
from mergershift.predicting.regrid import Means, rebin
from mergershift.predicting.strips import Strip, Strips
from mergershift.predicting.units import Refused

LARGE = 2**22
"""Number of pixels of a window above which an image is read strip by strip, rather than together with others."""
_DIFFERENT = "its planes have different numbers of images"

Block = NDArray[np.generic]
Floats = NDArray[np.float64]


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
    large = any(map(_is_large, plan.planes))
    for converted in (_by_image if large else _by_block)(stored, plan):
        images = np.empty((len(converted[0][0]), len(converted), plan.size, plan.size), np.float32)
        coverage = np.empty(images.shape[:2], np.float32)
        for channel, (values, share) in enumerate(converted):
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # Values beyond single precision become infinite.
                images[:, channel] = values
            coverage[:, channel] = share
        yield images, coverage


def _by_block(stored: Sequence[StoredPlane], plan: ConversionPlan) -> Iterator[list[tuple[Floats, Floats]]]:
    """Yield the planes of some images at a time, on the model's grid, and their coverage."""
    reader = _Reader()
    places = [[reader.place(want, made) for want in _wanted(stored[made.plane])] for made in plan.planes]
    for blocks in reader.blocks():
        converted = []
        for made, where in zip(plan.planes, places, strict=True):
            values, *masks = (blocks[window][:, number] for window, number in where)
            part = _valued(values, masks, stored[made.plane].masks)
            converted.append(_converted(part, made, plan.size))
        yield converted


def _by_image(stored: Sequence[StoredPlane], plan: ConversionPlan) -> Iterator[list[tuple[Floats, Floats]]]:
    """Yield the planes of one image at a time, as `_by_block` does, of which only strips are in memory."""
    counts = {pixels.shape[0] for made in plan.planes for pixels, _ in _wanted(stored[made.plane])}
    for image in range(min(counts)):
        yield [_of_image(stored[made.plane], made, image, plan.size) for made in plan.planes]
    if len(counts) > 1:
        raise Refused(_DIFFERENT)


def _of_image(stored: StoredPlane, made: PlanePlan, image: int, size: int) -> tuple[Floats, Floats]:
    """Convert a plane of one image; returns it on the model's grid, `(1, size, size)`, and its coverage, `(1,)`."""
    with ExitStack() as files:
        readers = [
            files.enter_context(pixels.opened(image, plane, *made.inside(pixels.shape[2:])))
            for pixels, plane in _wanted(stored)
        ]
        rows, columns = (places.stop - places.start for places in made.inside(made.shape))
        if made.window is None or not _is_large(made):
            values, *masks = (read(0, rows)[None] for read in readers)
            return _converted(_valued(values, masks, stored.masks), made, size)
        strips, means = Strips(readers[0], (rows, columns)), Means(*made.window, size)
        masked = [_Masked(read, mask, strips) for read, mask in zip(readers[1:], stored.masks, strict=True)]
        blanks = Blanks(strips)
        for strip in strips:
            part = blanks.without(strip)
            for mask in masked:
                part[~mask.usable(strip)] = np.nan
            means.add(made.light(part), made.before[0] + strip.start, made.before[1])
        averages, share = means.result()
        return averages[None], share.mean(keepdims=True)[0]


class _Masked:
    """A mask of an image of which only strips fit into memory."""

    def __init__(self, read: Rows, mask: Mask, strips: Strips) -> None:
        self._read, self._mask = read, mask
        self._computed: bool | None = None
        if mask.kind == "error":
            self._computed = any(_is_error(self._rows(strip)).any() for strip in strips)

    def usable(self, strip: Strip) -> NDArray[np.bool_]:
        """Decide which pixels of a strip, without the rows beside it, have a value."""
        return usable(self._rows(strip), self._mask.kind, self._mask.bits, computed=self._computed)

    def _rows(self, strip: Strip) -> Block:
        return self._read(strip.start, strip.start + strip.own.stop - strip.own.start)


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
                raise Refused(_DIFFERENT)
            count = min(len(block) for block in blocks)
            yield {window: block[:count] for window, block in zip(self._planes, blocks, strict=True)}
            left = [block[count:] for block in blocks]


def _wanted(stored: StoredPlane) -> Iterator[tuple[Pixels, int]]:
    yield stored.pixels, stored.plane
    for mask in stored.masks:
        yield mask.pixels, stored.plane if mask.plane is None else mask.plane


def _valued(values: Block, masks: Sequence[Block], kinds: Sequence[Mask]) -> Floats:
    """Convert stored values to float64 with NaN where there is no value: in areas of one constant, and by the masks."""
    part = without_codes(without_blanks(values.astype(np.float64)))
    for mask, kind in zip(masks, kinds, strict=True):
        part[~usable(mask, kind.kind, kind.bits)] = np.nan
    return part


def usable(mask: Block, kind: str, bits: int, *, computed: bool | None = None) -> NDArray[np.bool_]:
    """Decide by the stored values of masks `(..., H, W)` which pixels have a value.

    Args:
        mask: The masks.
        kind: As in `Mask`.
        bits: As in `Mask`.
        computed: Whether any error of the image is above 0; this is found from the mask if it is a whole one.
    """
    if kind == "weight":
        with np.errstate(invalid="ignore"):
            usable: NDArray[np.bool_] = np.greater(mask, 0)
        return usable
    if kind == "error":
        above = _is_error(mask)
        # Errors that are 0 everywhere have not been computed.
        known = above.any(axis=(-2, -1), keepdims=True) if computed is None else computed
        return np.where(known, above, np.isfinite(mask))
    return (np.nan_to_num(np.asarray(mask)).astype(np.int64) & bits) == 0


def _is_error(mask: Block) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        above: NDArray[np.bool_] = np.isfinite(mask) & np.greater(mask, 0)
    return above


def _is_large(made: PlanePlan) -> bool:
    rows, columns = made.inside(made.shape)
    return made.window is not None and (rows.stop - rows.start) * (columns.stop - columns.start) > LARGE


def _converted(part: Floats, made: PlanePlan, size: int) -> tuple[Floats, Floats]:
    """Convert one plane of images `(n, h, w)`; returns it on the model's grid, and the share of it with a value."""
    part = made.light(part)
    if made.window is None:
        finite = np.isfinite(part)
        return np.where(finite, part, np.nan), finite.mean(axis=(1, 2))
    values, share = rebin(part, *made.window, size, made.before)
    return values, share.mean(axis=(1, 2))
