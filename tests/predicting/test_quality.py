"""Flags of images with faults that are made on purpose, for a model that knows what its training images were like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from registry.samples import facts_of, stamps

from mergershift.images.measure import MEASURES
from mergershift.predicting.planes import Identity
from mergershift.predicting.quality import examine
from mergershift.predicting.rows import Batch, Row
from mergershift.registry.domains import quantiles_of
from mergershift.registry.model_facts import ModelFacts
from mergershift.registry.reference import LEVELS, Reference

FILTERS = ("f814w", "f160w")
REFERENCE = Reference(
    levels=LEVELS,
    quantiles={
        "noisy": quantiles_of(stamps(300, 7), FILTERS),
        "pristine": quantiles_of(stamps(300, 8) * np.float32(0.05), FILTERS),
    },
)
FACTS = facts_of(reference=REFERENCE)
NOISE = np.random.default_rng(5).normal(0, 0.2, (75, 75)).astype(np.float32)


def batch_of(images: NDArray[np.float32], **row: Any) -> Batch:
    coverage = np.isfinite(images).mean(axis=(2, 3), dtype=np.float32)
    return Batch(
        images.copy(), coverage, [Row(Identity("", ""), number, **row) for number in range(len(images))]
    )


def flags(images: NDArray[np.float32], facts: ModelFacts = FACTS, **row: Any) -> list[list[str]]:
    return [list(map(str, made.flags)) for made in examine(batch_of(images, **row), facts).rows]


def test_images_like_the_training_images_get_no_flag_and_stay_the_same() -> None:
    images = stamps(100)
    found = examine(batch_of(images, redshift=2.0), FACTS)
    assert sum(bool(row.flags) for row in found.rows) <= 5
    np.testing.assert_array_equal(found.images, images)
    assert list(found.measures) == list(MEASURES)


def star(image: NDArray[np.float32]) -> None:
    image[:] = NOISE
    image[:, 37, 37] = 50


def offset(image: NDArray[np.float32]) -> None:
    image[0] += 0.6


def shallow(image: NDArray[np.float32]) -> None:
    image[1] += 10 * NOISE


def smooth(image: NDArray[np.float32]) -> None:
    image[0] = image[0] * 0.3


def empty(image: NDArray[np.float32]) -> None:
    image[:] = NOISE, NOISE[::-1]


def one_empty(image: NDArray[np.float32]) -> None:
    image[1] = NOISE


def constant(image: NDArray[np.float32]) -> None:
    image[1] = 0.0


def absent(image: NDArray[np.float32]) -> None:
    image[:] = np.nan


def few(image: NDArray[np.float32]) -> None:
    image[1, 40, 40] = np.inf


def trimmed(image: NDArray[np.float32]) -> None:
    image[:, :, 65:] = np.nan


def halved(image: NDArray[np.float32]) -> None:
    image[0, :, 36:] = np.nan


def holed(image: NDArray[np.float32]) -> None:
    image[0, 33:42, 33:42] = np.nan


@pytest.mark.parametrize(
    ("fault", "expected", "predicted"),
    [
        (star, ["unresolved in f814w", "unresolved in f160w"], True),
        (offset, ["sky differs in f814w"], True),
        (shallow, ["noise differs in f160w"], True),
        (smooth, ["noise differs in f814w"], True),
        (empty, ["nothing detected"], True),
        (one_empty, [], True),
        (constant, ["no data in f160w"], False),
        (absent, ["no data in f814w", "no data in f160w"], False),
        (few, ["pixels interpolated in f160w"], True),
        (trimmed, ["incomplete in f814w", "incomplete in f160w"], True),
        (halved, ["too little data in f814w"], False),
        (holed, ["too little data in f814w"], False),
    ],
)
def test_faults_are_flagged(
    fault: Callable[[NDArray[np.float32]], None], expected: list[str], predicted: bool
) -> None:
    images = stamps(3, 2)
    fault(images[1])
    found = examine(batch_of(images), FACTS)
    assert [list(map(str, row.flags)) for row in found.rows] == [[], expected, []]
    finite = np.isfinite(found.images)
    assert finite[[0, 2]].all()
    assert finite[1].all() == predicted
    assert finite[1].any() == predicted


def test_a_filter_without_data_has_no_coverage_and_no_measures() -> None:
    images = stamps(2)
    constant(images[1])
    found = examine(batch_of(images), FACTS)
    np.testing.assert_array_equal(found.coverage, [[1, 1], [1, 0]])
    assert all(np.isnan(values[1, 1]) and np.isfinite(values[1, 0]) for values in found.measures.values())


def test_images_without_noise_are_bright() -> None:
    images = np.clip(stamps(2) - 1.0, 0, None)
    assert not any("detected" in word for words in flags(images, facts_of()) for word in words)


@pytest.mark.parametrize(
    ("redshift", "flagged"),
    [(np.nan, False), (0.05, True), (0.7, True), (1.5, False), (2.5, False), (9.0, True)],
)
def test_redshifts_far_from_the_models_are_flagged(redshift: float, flagged: bool) -> None:
    assert flags(stamps(1), redshift=redshift) == [["redshift differs"] if flagged else []]


def test_a_known_point_spread_function_decides_what_is_resolved() -> None:
    y, x = np.mgrid[:75, :75] - 37.0
    image = np.stack([NOISE, NOISE]) + 50 * np.exp(-4 * np.log(2) * (x**2 + y**2) / 16).astype(np.float32)
    assert flags(image[None], facts_of()) == [[]]
    assert flags(image[None], facts_of(), psf=(4.0, float("nan"))) == [
        ["unresolved in f814w", "blurred in f814w"]
    ]
    assert flags(image[None], psf=(0.5, float("nan"))) == [["unresolved in f160w"]]


def test_older_models_have_no_reference_and_refused_rows_no_other_flag() -> None:
    images = stamps(1)
    offset(images[0])
    assert flags(images, facts_of()) == [[]]
    images[:] = np.nan
    assert flags(images, refused="torn") == [[]]
