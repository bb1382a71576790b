"""What readers of a table have to know of images from their pixels, such as that nothing is detected in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mergershift.images.measure import measure, star_size
from mergershift.predicting.flags import WITHHOLDING, Flag
from mergershift.predicting.gaps import fill, middle_coverage
from mergershift.predicting.rows import Batch, Row

if TYPE_CHECKING:
    from mergershift.registry import ModelFacts

LEAST_COVERAGE = 0.5
"""Least share of the field that must have a value for a prediction."""
LEAST_MIDDLE = 0.9
"""The same for the middle of the field, on which predictions depend much more."""
FEW = 0.01
"""Largest share of the field without a value that counts as a few pixels."""
DETECTED = 4.0
"""Least `peak_sn` of a detected source: the brightest of 25 squares of pure noise exceeds it once in 250 images."""
BRIGHT = 20.0
"""Least `peak_sn` at which the size of a source is compared with that of a star."""
NARROW = 1.1
"""Largest size of an unresolved source, relative to that of a star."""
SHARP = 1.0
"""Full width of the point-spread function, in pixels of the model, that is supposed where it is unknown."""
BLURRED = 2.0
"""Largest full width of the point-spread function, in pixels of the model; those of the training images are about 1."""
SKY = 0.5
"""Largest deviation of the level of the sky from the range of the training images', relative to their noise."""
NOISE = 2.0
"""Largest factor between the noise of an image and the range of the training images'."""
LEVEL_ERROR = 0.15
"""Tolerance of the level of the sky, relative to the noise of the image, for the error of the level."""
REST_FRAME = 0.25
"""Largest relative deviation of the rest-frame wavelengths from those at the model's redshift."""

Mask = NDArray[np.bool_]
Values = NDArray[np.float32]


def examine(batch: Batch, facts: ModelFacts) -> Batch:
    """Measure the images of a batch, add flags to its rows, and fill the pixels without a value.

    Measures are those of the pixels with a value. Images with a flag in `WITHHOLDING` become NaN throughout, so that
    nothing is predicted for them.
    """
    images = batch.images
    images[~np.isfinite(images)] = np.nan
    empty = _empty(images)
    images[empty] = np.nan
    batch.coverage[empty] = 0
    widths = np.array([row.psf or (np.nan,) * len(facts.filters) for row in batch.rows], np.float64)
    measures = measure(images, facts.field_kpc / facts.image_size)
    batch.measures = measures
    of_filters = {
        "no data": empty,
        **_of_gaps(images, batch.coverage, empty),
        "unresolved": _unresolved(measures, widths, facts),
        "blurred": widths > BLURRED,
        "sky differs": _unusual(measures, facts, "sky_level", _other_sky),
        "noise differs": _unusual(measures, facts, "sky_noise", _other_noise),
    }
    undetected = (measures["peak_sn"] < DETECTED) | empty
    of_images = {
        "nothing detected": undetected.all(axis=1) & ~empty.any(axis=1),
        "redshift differs": _other_redshift(batch.rows, facts.redshift),
    }
    usable = np.array([not row.refused for row in batch.rows], bool)
    for word, images_of_word in of_images.items():
        for number in np.flatnonzero(images_of_word & usable):
            batch.rows[number].flags.append(Flag(word))
    for word, flagged in of_filters.items():
        for number, channel in np.argwhere(flagged & usable[:, None]):
            batch.rows[number].flags.append(Flag(word, facts.filters[channel]))
    fill(images, measures["sky_level"], measures["sky_noise"])
    images[[any(flag.word in WITHHOLDING for flag in row.flags) for row in batch.rows]] = np.nan
    return batch


def _empty(images: Values) -> Mask:
    """Find filters in which all pixels with a value have the same one, or none has a value."""
    missing = np.isnan(images)
    largest = np.where(missing, -np.inf, images).max(axis=(2, 3))
    smallest = np.where(missing, np.inf, images).min(axis=(2, 3))
    empty: Mask = largest <= smallest
    return empty


def _of_gaps(images: Values, coverage: Values, empty: Mask) -> dict[str, Mask]:
    gaps = (np.isnan(images).any(axis=(2, 3)) | (coverage < 1 - 1e-6)) & ~empty
    little = gaps & ((coverage < LEAST_COVERAGE) | (middle_coverage(images) < LEAST_MIDDLE))
    few = coverage >= 1 - FEW
    return {
        "too little data": little,
        "incomplete": gaps & ~few & ~little,
        "pixels interpolated": gaps & few & ~little,
    }


def _unresolved(measures: dict[str, Values], widths: NDArray[np.float64], facts: ModelFacts) -> Mask:
    size = measures["size"]
    pixel_kpc = facts.field_kpc / facts.image_size
    limit = NARROW * pixel_kpc * star_size(np.where(np.isnan(widths), SHARP, widths))
    if facts.reference is not None:
        for channel, name in enumerate(facts.filters):
            for lowest, _, _ in facts.reference.ranges(name, "size"):
                unknown = np.isnan(widths[:, channel])
                limit[unknown, channel] = np.maximum(limit[unknown, channel], lowest)
    # Without noise there is no signal-to-noise ratio, but every source is bright.
    faint = measures["peak_sn"] < BRIGHT
    unresolved: Mask = (size < limit) & ~faint
    return unresolved


def _unusual(
    measures: dict[str, Values],
    facts: ModelFacts,
    name: str,
    differs: Callable[[dict[str, Values], tuple[float, float, float], tuple[float, float, float]], Mask],
) -> Mask:
    """Find images that differ from those of all domains of the training in a measure; none if these are unknown."""
    found = np.zeros(measures[name].shape, bool)
    if facts.reference is None:
        return found
    for channel, filter_name in enumerate(facts.filters):
        values = {key: value[:, channel] for key, value in measures.items()}
        ranges = facts.reference.ranges(filter_name, name)
        noises = facts.reference.ranges(filter_name, "sky_noise")
        if ranges:
            found[:, channel] = np.all(
                [
                    differs(values, of_measure, noise)
                    for of_measure, noise in zip(ranges, noises, strict=True)
                ],
                axis=0,
            )
    return found


def _other_sky(
    values: dict[str, Values], levels: tuple[float, float, float], noises: tuple[float, float, float]
) -> Mask:
    level = values["sky_level"]
    tolerance = np.maximum(SKY * noises[1], LEVEL_ERROR * values["sky_noise"])
    other: Mask = (level < levels[0] - tolerance) | (level > levels[2] + tolerance)
    return other


def _other_noise(
    values: dict[str, Values], noises: tuple[float, float, float], _: tuple[float, float, float]
) -> Mask:
    noise = values["sky_noise"]
    other: Mask = (noise < noises[0] / NOISE) | (noise > noises[2] * NOISE)
    return other


def _other_redshift(rows: Sequence[Row], redshift: float) -> Mask:
    ratio = (1 + np.array([row.redshift for row in rows], float)) / (1 + redshift)
    other: Mask = np.abs(ratio - 1) > REST_FRAME
    return other
