"""Galaxies whose images overlap, such as both members of a merging pair that are entries of the catalogue each.

The archive holds no positions, so that the pixels have to show it. If another entry lies within the field of a galaxy,
its light is a peak in that galaxy's image and the centre of its own, with the same values around it in every filter.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter, shift

from mergershift.archive import FIELD_KPC, IMAGE_SIZE, Images, Rows
from mergershift.core.forked import forked

SIMILAR = 0.9
"""Least similarity of the common part of two images that show the same sky, see `similarity`."""
_PROMISING = 0.7
"""Least similarity of the windows around two peaks for which whole images are compared."""
_FINE, _COARSE = 1.0, 4.0
"""Standard deviations in pixels of the smoothing between which structure counts.

Finer structure depends on shifts by parts of a pixel; coarser structure is alike in most galaxies.
"""
_HALF = 6
"""Half width of the window around a peak, in pixels."""
_VIEWS = 2
"""Least number of renderings of a pair of galaxies that have to agree, if both have as many."""
_PEAKS = 6
"""Number of the brightest peaks of an image that may be another galaxy."""
_CENTRAL = 3
"""Largest distance of a galaxy from the middle of its image, in pixels, along either axis."""
_LEAST_OVERLAP = 0.2
"""Least part of an image that has to show the same sky."""
_MOST_COMPARED = 2000
"""Largest number of pairs of images that are compared as a whole, the most promising ones."""
_KEPT = 2000
"""Largest number of renderings whose maps are kept in memory, 70 kB each."""
_COMPONENTS = 64
_ROWS = 128
"""Number of renderings that a process deals with at a time."""
_PAIRS = 128
"""Number of pairs of images that a process compares at a time."""
_MIDDLE = IMAGE_SIZE // 2

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class NearDuplicate:
    """Two galaxies of which some image shows the same sky."""

    galaxies: tuple[int, int]
    rows: tuple[int, int]
    """The most similar images of them."""
    similarity: float
    offset_kpc: float
    """Distance of the two galaxies on these images in kpc."""


def near_duplicates(images: Images, rows: Rows) -> list[NearDuplicate]:
    """Find the pairs of galaxies that share a part of the sky, the most similar first.

    In the published order, a rendering is compared with those of the same camera, which all look in one direction; in
    another order with all renderings, in the eight symmetries of the square.

    Args:
        images: images `(N, C, 75, 75)`; pristine ones, since noise hides what two images have in common.
        rows: the galaxy and camera that each of them shows.
    """
    chosen = _renderings(rows)
    scale = _scale(images, chosen)
    centres, peaks, owners, places = _windows(images, chosen, scale)
    galaxy = rows.galaxy[chosen]
    aligned = rows.camera[chosen] if rows.found_by == "published order" else None
    pairs = [
        (peak, second, symmetry)
        for peak, second, symmetry in _promising(centres, peaks, owners, aligned)
        if galaxy[owners[peak]] != galaxy[second]
    ]

    @lru_cache(maxsize=_KEPT)
    def maps(rendering: int) -> Floats:
        return _maps(images[chosen[[rendering]]], scale)[0]

    def compared(part: slice) -> list[tuple[float, float]]:
        return [
            _compared(maps(int(owners[peak])), _turned(maps(second), symmetry), places[peak])
            for peak, second, symmetry in pairs[part]
        ]

    parts = [slice(start, start + _PAIRS) for start in range(0, len(pairs), _PAIRS)]
    values = itertools.chain.from_iterable(forked([partial(compared, part) for part in parts], batches=False))
    found: dict[tuple[int, int], list[NearDuplicate]] = {}
    for (peak, second, _), (value, offset) in zip(pairs, values, strict=True):
        if value < SIMILAR:
            continue
        first = int(owners[peak])
        rendering = (first, second) if galaxy[first] < galaxy[second] else (second, first)
        pair, shown = (tuple(int(number) for number in of[list(rendering)]) for of in (galaxy, chosen))
        one = NearDuplicate((pair[0], pair[1]), (shown[0], shown[1]), value, offset * FIELD_KPC / IMAGE_SIZE)
        found.setdefault(one.galaxies, []).append(one)
    views = np.bincount(galaxy)
    best = [
        max(pairs, key=lambda one: one.similarity)
        for (one, other), pairs in found.items()
        if _distinct(pairs) >= min(_VIEWS, views[one], views[other])
    ]
    return sorted(best, key=lambda one: (-one.similarity, one.galaxies))


def _distinct(pairs: list[NearDuplicate]) -> int:
    """Return the number of renderings of either galaxy that agree with one of the other."""
    return min(len({pair.rows[side] for pair in pairs}) for side in (0, 1))


def similarity(one: Floats, other: Floats) -> float:
    """Return 2 a·b / (|a|² + |b|²) of maps `(C, H, W)` less their means: 1 if, and only if, both have equal contrasts.

    Unlike a correlation, it is below 1 for galaxies that look alike but differ in brightness or colour.
    """
    a, b = (maps - maps.mean(axis=(1, 2), keepdims=True) for maps in (one, other))
    squares = float(np.sum(np.square(a)) + np.sum(np.square(b)))
    return 2 * float(np.sum(a * b)) / squares if squares else 0.0


def _renderings(rows: Rows) -> NDArray[np.int64]:
    """Return the first row of each rendering."""
    _, first = np.unique(np.stack([rows.galaxy, rows.camera]), axis=1, return_index=True)
    return np.sort(first)


def _scale(images: Images, chosen: NDArray[np.int64]) -> Floats:
    """Return the mean surface brightness of each filter `(C, 1, 1)`, which divides faint from bright parts."""
    sample = images[chosen[:: max(1, len(chosen) // 64)]]
    mean = np.abs(_finite(sample)).mean(axis=(0, 2, 3)).astype(np.float32)
    return np.where(mean > 0, mean, np.float32(1))[:, None, None]


def _finite(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Replace pixels without a value by 0: what else is wrong with such images is for others to say."""
    return np.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0)


def _maps(images: NDArray[np.float64], scale: Floats) -> Floats:
    """Extract the structure of images `(B, C, S, S)`, with a compressed range, so that faint parts count as well."""
    light = np.arcsinh(_finite(images).astype(np.float32) / scale)
    fine, coarse = (
        gaussian_filter(light, (0, 0, width, width), mode="nearest") for width in (_FINE, _COARSE)
    )
    structure: Floats = fine - coarse
    return structure


def _windows(
    images: Images, chosen: NDArray[np.int64], scale: Floats
) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Cut windows around the centres of all renderings, and around their other peaks.

    Returns the centres `(R, C, W, W)`, the others `(P, C, W, W)`, the rendering of each peak `(P,)`, and the offset of
    each peak from the middle of the image in pixels `(P, 2)`.
    """

    def cut(start: int) -> list[tuple[NDArray[np.int64], list[Floats]]]:
        """The places of the peaks of some renderings, the centre first, and the windows around them."""
        result = []
        maps = _maps(images[chosen[start : start + _ROWS]], scale)
        for one, light in zip(maps, maps.sum(axis=1), strict=True):
            padded = np.pad(one, ((0, 0), (_HALF, _HALF), (_HALF, _HALF)))
            found = _peaks_of(light)
            result.append((np.array(found), [_window(padded, place) for place in found]))
        return result

    centres, peaks, owners, places = [], [], [], []
    starts = range(0, len(chosen), _ROWS)
    every = itertools.chain.from_iterable(forked([partial(cut, start) for start in starts], batches=False))
    for number, (found, windows_of) in enumerate(every):
        centres.append(windows_of[0])
        peaks += windows_of[1:]
        owners += [number] * (len(found) - 1)
        places += [place - _MIDDLE for place in found[1:]]
    windows = np.array(peaks, np.float32).reshape(-1, *centres[0].shape)
    return np.stack(centres), windows, np.array(owners, int), np.array(places, int).reshape(-1, 2)


def _peaks_of(light: Floats) -> list[NDArray[np.int64]]:
    """Return the pixels of the galaxy in the middle of a map `(S, S)` and of the brightest other peaks."""
    middle = light[_MIDDLE - _CENTRAL : _MIDDLE + _CENTRAL + 1, _MIDDLE - _CENTRAL : _MIDDLE + _CENTRAL + 1]
    centre = np.array(np.unravel_index(middle.argmax(), middle.shape)) + _MIDDLE - _CENTRAL
    top = np.argwhere((light == maximum_filter(light, size=5)) & (light > 0))
    others = top[np.abs(top - centre).max(axis=1) > _CENTRAL]
    order = np.argsort(-light[others[:, 0], others[:, 1]], kind="stable")[:_PEAKS]
    return [centre, *others[order]]


def _window(padded: Floats, place: NDArray[np.int64]) -> Floats:
    row, column = place
    window = padded[:, row : row + 2 * _HALF + 1, column : column + 2 * _HALF + 1]
    return window - window.mean(axis=(1, 2), keepdims=True)


def _promising(
    centres: Floats, peaks: Floats, owners: NDArray[np.int64], views: NDArray[np.int64] | None
) -> Iterator[tuple[int, int, int]]:
    """Yield the most similar windows: number of the peak, rendering centred on it, and symmetry of that rendering.

    Args:
        centres: windows around the centres of renderings `(R, C, W, W)`.
        peaks: windows around other peaks `(P, C, W, W)`.
        owners: rendering of each peak `(P,)`.
        views: camera of each rendering `(R,)`; None if cameras and orientations are not known.
    """
    flat = peaks.reshape(len(peaks), centres[0].size)
    axes = _axes(flat)
    found = []
    for symmetry in range(1 if views is not None else 8):
        wanted = _turned(centres, symmetry).reshape(len(centres), -1)
        for view in range(1 if views is None else int(views.max()) + 1):
            among = np.arange(len(centres)) if views is None else np.flatnonzero(views == view)
            own = np.arange(len(peaks)) if views is None else np.flatnonzero(views[owners] == view)
            for part in np.array_split(own, max(1, len(own) // 256)):
                value = _similarities(flat[part], wanted[among], axes)
                peak, rendering = np.nonzero(value >= _PROMISING)
                found.append(
                    np.stack(
                        [value[peak, rendering], part[peak], among[rendering], np.full(len(peak), symmetry)]
                    )
                )
    every = np.concatenate(found, axis=1)
    every = every[:, np.argsort(-every[0], kind="stable")[:_MOST_COMPARED]]
    yield from zip(*every[1:].astype(int).tolist(), strict=True)


def _similarities(one: Floats, other: Floats, axes: Floats) -> Floats:
    """Return 2 a·b / (|a|² + |b|²) of all windows `(P, D)` and `(R, D)`, `(P, R)`, with a·b along the axes."""
    squares = np.square(one).sum(1)[:, None] + np.square(other).sum(1) + np.float32(1e-12)
    values: Floats = 2 * ((one @ axes) @ (other @ axes).T) / squares
    return values


def _axes(windows: Floats) -> Floats:
    """Return the axes `(D, K)` along which windows `(P, D)` have nearly all of their squared values."""
    sample = windows[:: max(1, len(windows) // 2000)].astype(np.float64)
    _, vectors = np.linalg.eigh(sample.T @ sample)
    return vectors[:, -_COMPONENTS:].astype(np.float32)


def _turned(maps: Floats, symmetry: int) -> Floats:
    mirrored = maps[..., ::-1] if symmetry >= 4 else maps
    return np.rot90(mirrored, symmetry % 4, axes=(-2, -1))


def _compared(first: Floats, second: Floats, place: NDArray[np.int64]) -> tuple[float, float]:
    """Compare the common part of two maps `(C, S, S)`, the second one centred at a place in the first.

    Returns the largest similarity at shifts of up to a pixel from the place, by half pixels, and the distance of the
    shift in pixels.
    """
    best, distance = 0.0, 0.0
    for part in ((0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.5, 0.5)):
        moved = shift(second, (0, *part), order=1, mode="nearest") if any(part) else second
        for row in range(int(place[0]) - 1, int(place[0]) + 2):
            for column in range(int(place[1]) - 1, int(place[1]) + 2):
                ours, theirs = _overlap(first, row, column), _overlap(moved, -row, -column)
                if ours.shape[1] * ours.shape[2] < _LEAST_OVERLAP * IMAGE_SIZE**2:
                    continue
                value = similarity(ours, theirs)
                if value > best:
                    best, distance = value, float(np.hypot(row + part[0], column + part[1]))
        if best < _PROMISING:
            break
    return best, distance


def _overlap(maps: Floats, row: int, column: int) -> Floats:
    """Return the part of maps `(C, S, S)` that an image of the same size shows whose middle is at this offset."""
    return maps[:, max(0, row) : IMAGE_SIZE + min(0, row), max(0, column) : IMAGE_SIZE + min(0, column)]
