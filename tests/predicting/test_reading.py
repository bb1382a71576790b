"""Windows, masks and planes of different scale are read into the model's format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from registry.samples import facts_of, stamps

from mergershift.predicting.conversion import make_plan
from mergershift.predicting.pixels import ArrayPixels
from mergershift.predicting.planes import Description, Given, Mask, Plane, Rows, StoredPlane
from mergershift.predicting.reading import read_images, usable
from mergershift.predicting.regrid import kpc_per_arcsec
from mergershift.predicting.units import Refused

FACTS = facts_of()
ARCSEC = FACTS.field_kpc / kpc_per_arcsec(2.0)
Array = NDArray[np.floating]


def plane(side: int, across: int, filter_name: str) -> Plane:
    """Describe an image `side` pixels wide, `across` of which span the field."""
    scale = ARCSEC / across
    return Plane((side, side), filter_name, "uJy/arcsec2", pixel_arcsec=(scale, scale))


def read(
    planes: Sequence[Plane], stored: Sequence[StoredPlane]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    plan = make_plan(Description(tuple(planes), 2.0), Given(), FACTS)
    blocks = list(read_images(stored, plan))
    return np.concatenate([block for block, _ in blocks]), np.concatenate([share for _, share in blocks])


@dataclass
class Counted:
    """Pixels that record which windows are read, and that yield a given number of images at a time."""

    images: Array
    step: int = 1
    windows: list[tuple[tuple[int, ...], slice, slice]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.images.shape[0], self.images.shape[1], self.images.shape[2], self.images.shape[3]

    def blocks(self, planes: Sequence[int], rows: slice, columns: slice) -> Iterator[Array]:
        self.windows.append((tuple(planes), rows, columns))
        for start in range(0, len(self.images), self.step):
            yield self.images[start : start + self.step, list(planes), rows, columns]

    def opened(self, image: int, plane: int, rows: slice, columns: slice) -> AbstractContextManager[Rows]:
        raise NotImplementedError


def enlarged(images: Array, factor: int, margin: int = 0) -> Array:
    """Enlarge pixels, and add a margin of ones."""
    wide = np.kron(images, np.ones((factor, factor)))
    return np.pad(wide, ((0, 0), (0, 0), (margin, margin), (margin, margin)), constant_values=1.0)


def test_planes_of_different_scale_are_brought_to_the_models_grid_from_their_own_windows() -> None:
    images = stamps(5)
    blue = Counted(enlarged(images[:, :1], 4, 30), step=2)
    red = Counted(enlarged(images[:, 1:], 2, 25), step=3)
    planes = [plane(200, 150, "f160w"), plane(360, 300, "f814w")]
    made, coverage = read(planes, [StoredPlane(red, 0), StoredPlane(blue, 0)])
    np.testing.assert_allclose(made, images, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(coverage, 1)
    assert blue.windows == [((0,), slice(30, 330), slice(30, 330))]
    assert red.windows == [((0,), slice(25, 175), slice(25, 175))]


def test_planes_that_are_stored_together_are_read_together() -> None:
    pixels = Counted(enlarged(stamps(3, channels=3), 2))
    planes = [plane(150, 150, name) for name in ("f160w", "f606w", "f814w")]
    read(planes, [StoredPlane(pixels, number) for number in range(3)])
    assert pixels.windows == [((2, 0), slice(0, 150), slice(0, 150))]


@pytest.mark.parametrize("kind", ["weight", "bad", "error"])
def test_masked_pixels_have_no_value(kind: Literal["weight", "bad", "error"]) -> None:
    images = stamps(2)
    mask = np.ones((2, 2, 75, 75)) if kind != "bad" else np.full((2, 2, 75, 75), 4, np.int16)
    mask[1, 0, :25] = {"weight": 0.0, "bad": 6, "error": np.inf}[kind]
    masks = (Mask(ArrayPixels(mask), None, kind, bits=2),)
    planes = [plane(75, 75, name) for name in FACTS.filters]
    made, coverage = read(planes, [StoredPlane(ArrayPixels(images), number, masks) for number in (0, 1)])
    missing = np.zeros(images.shape, bool)
    missing[1, 0, :25] = True
    np.testing.assert_array_equal(np.isnan(made), missing)
    np.testing.assert_array_equal(made[~missing], images[~missing])
    np.testing.assert_allclose(coverage, [[1.0, 1.0], [2 / 3, 1.0]])


def test_a_mask_of_all_planes_and_weights_that_are_no_number() -> None:
    mask = np.ones((1, 1, 75, 75))
    mask[..., 10, 10] = np.nan
    masks = (Mask(ArrayPixels(mask), 0, "weight"),)
    planes = [plane(75, 75, name) for name in FACTS.filters]
    made, _ = read(planes, [StoredPlane(ArrayPixels(stamps(1)), number, masks) for number in (0, 1)])
    assert np.argwhere(np.isnan(made)).tolist() == [[0, 0, 10, 10], [0, 1, 10, 10]]


def test_the_part_of_the_field_beyond_a_trimmed_image_has_no_value() -> None:
    whole = enlarged(stamps(1), 2)
    pixels = ArrayPixels(whole[..., 40:, :])
    planes = [
        Plane((110, 150), name, "uJy/arcsec2", pixel_arcsec=(ARCSEC / 150,) * 2, centre=(34.5, 74.5))
        for name in FACTS.filters
    ]
    made, coverage = read(planes, [StoredPlane(pixels, number) for number in (0, 1)])
    assert np.isnan(made[:, :, :20]).all()
    np.testing.assert_allclose(made[:, :, 20:], stamps(1)[:, :, 20:], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(coverage, 55 / 75)


def test_areas_that_a_constant_fills_have_no_value() -> None:
    images = stamps(1)
    images[0, 1, 50:] = 0
    planes = [plane(75, 75, name) for name in FACTS.filters]
    _, coverage = read(planes, [StoredPlane(ArrayPixels(images), number) for number in (0, 1)])
    np.testing.assert_allclose(coverage, [[1.0, 2 / 3]])


def test_masks_and_planes_have_to_fit() -> None:
    planes = [plane(75, 75, name) for name in FACTS.filters]
    pixels = [ArrayPixels(stamps(count)[:, :1]) for count in (2, 3)]
    with pytest.raises(Refused, match="different numbers of images"):
        read(planes, [StoredPlane(part, 0) for part in pixels])
    small = (Mask(ArrayPixels(np.ones((2, 1, 74, 75))), 0, "weight"),)
    with pytest.raises(Refused, match="a mask of 74 x 75 pixels for an image of 75 x 75"):
        read(planes, [StoredPlane(ArrayPixels(stamps(2)), number, small) for number in (0, 1)])


def test_an_error_of_zero_means_no_value_unless_none_was_computed() -> None:
    errors = np.array([[0.0, 1.0, np.nan, -1.0, np.inf]])
    assert usable(errors, "error", -1).tolist() == [[False, True, False, False, False]]
    assert usable(np.zeros((1, 3)), "error", -1).all()
