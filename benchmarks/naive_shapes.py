"""Naive shape statistics of galaxy images, to test whether they alone identify mergers.

They are deliberately measured without a mask or a model of the galaxy.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mergershift.archive import FILTER_SETS, IMAGE_SIZE

Floats = NDArray[np.float64]

FILTER_NAMES = FILTER_SETS["three"].filter_names
TRIVIAL = ("flux", "peak", "asymmetry", "inner_asymmetry")
"""Statistics that are tested individually as trivial ones; the random forest uses all of them."""
INNER = 12
"""Radius within which the inner asymmetry is measured, in pixels."""
APERTURE = 20
"""Radius within which the Gini coefficient is measured, in pixels."""
CENTRE = 1
"""Largest offset of a galaxy's centre from the middle of the image, in pixels."""
FAINT = 1e-3
"""Lower limit of fluxes before the logarithm is taken, in µJy/arcsec²."""
BLOCK = 512


def feature_names() -> tuple[str, ...]:
    """Names of the columns of `measure`, such as "asymmetry f356w"."""
    statistics = (*TRIVIAL, "concentration", "gini", "half_light")
    colours = [f"{blue}-{red}" for blue, red in pairwise(FILTER_NAMES)]
    return (
        *(f"{statistic} {name}" for name in FILTER_NAMES for statistic in statistics),
        *(f"colour {name}" for name in colours),
    )


def measure(images: NDArray[np.float32]) -> Floats:
    """Measure images `(N, 3, 75, 75)` in µJy/arcsec²; returns `(N, F)`, with the columns of `feature_names`."""
    return np.concatenate(list(_blocks(images)))


def _blocks(images: NDArray[np.float32]) -> Iterator[Floats]:
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].astype(np.float64)
        flux = block.sum(axis=(2, 3))
        columns = [column for channel in range(block.shape[1]) for column in _one_filter(block[:, channel])]
        colours = np.log10(np.maximum(flux[:, :-1], FAINT) / np.maximum(flux[:, 1:], FAINT))
        yield np.column_stack([*columns, colours])


def _one_filter(images: Floats) -> list[Floats]:
    count, size = len(images), IMAGE_SIZE
    offsets = np.arange(size) - size // 2
    radius = np.hypot(offsets[:, None], offsets[None, :])
    flux, peak = images.sum(axis=(1, 2)), images.max(axis=(1, 2))
    asymmetries = [_asymmetry(images, inside) for inside in (radius < np.inf, radius <= INNER)]
    order = np.argsort(radius.ravel(), kind="stable")
    radii = radius.ravel()[order]
    growth = np.cumsum(np.maximum(images.reshape(count, -1)[:, order], 0), axis=1)
    growth /= growth[:, -1:]
    r20, r50, r80 = (radii[(growth > part).argmax(axis=1)] for part in (0.2, 0.5, 0.8))
    return [
        np.log10(np.maximum(flux, FAINT)),
        np.log10(np.maximum(peak, FAINT)),
        *asymmetries,
        5 * np.log10((r80 + 0.5) / (r20 + 0.5)),
        _gini(images[:, radius <= APERTURE]),
        r50,
    ]


def _asymmetry(images: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Rotational asymmetry under a rotation by 180 degrees about the best centre (Conselice et al. 2000).

    Centres are tried at half-pixel steps up to `CENTRE` pixels from the middle: a rotation about one of them equals a
    rotation about the middle followed by a shift by whole pixels.
    """
    rotated = images[:, ::-1, ::-1]
    steps = range(-2 * CENTRE, 2 * CENTRE + 1)
    light = 2 * np.abs(images * inside).sum(axis=(1, 2))
    differences = [
        (np.abs(images - np.roll(rotated, (down, right), axis=(1, 2))) * inside).sum(axis=(1, 2))
        for down in steps
        for right in steps
    ]
    return np.asarray(np.min(differences, axis=0) / light)


def _gini(pixels: Floats) -> Floats:
    """Gini coefficient of the absolute pixel values `(N, P)` (Lotz, Primack & Madau 2004, eq. 6)."""
    ordered = np.sort(np.abs(pixels), axis=1)
    count = ordered.shape[1]
    ranks = 2 * np.arange(1, count + 1) - count - 1
    return (ranks * ordered).sum(axis=1) / (ordered.mean(axis=1) * count * (count - 1))


def best_threshold(values: Floats, labels: NDArray[np.int64]) -> tuple[float, int]:
    """Threshold and sign of the best balanced accuracy, where a merger has ``sign * value > sign * threshold``."""
    candidates = np.unique(np.quantile(values, np.linspace(0.01, 0.99, 99)))
    merger = labels == 1
    above = values[:, None] > candidates
    balanced = (above[merger].mean(axis=0) + (~above[~merger]).mean(axis=0)) / 2
    best = int(np.argmax(np.abs(balanced - 0.5)))
    return float(candidates[best]), 1 if balanced[best] >= 0.5 else -1
