"""Integrals over cells compared with polygons that are cut at the edges of pixels."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mergershift.predicting.mosaics.cells import areas, integrals

SHAPE, SIZE = (30, 34), 5
IMAGE = np.random.default_rng(3).normal(size=SHAPE) + 2


def square(turned: float, half: float, centre: tuple[float, float], *, mirrored: bool = False) -> NDArray:
    """Corners of a square grid, turned by an angle in degrees."""
    angle = np.deg2rad(turned)
    up, along = half * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if mirrored:
        along = -along
    middle = np.array(centre)
    return np.array([[middle - up - along, middle - up + along], [middle + up - along, middle + up + along]])


def cut(polygon: list[NDArray], axis: int, bound: float, sign: int) -> list[NDArray]:
    """Keep the part of a convex polygon where `sign * (coordinate - bound)` is positive."""
    kept: list[NDArray] = []
    for here, there in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        inside, next_inside = (sign * (point[axis] - bound) >= 0 for point in (here, there))
        if inside:
            kept.append(here)
        if inside != next_inside:
            kept.append(here + (there - here) * (bound - here[axis]) / (there[axis] - here[axis]))
    return kept


def area(polygon: list[NDArray]) -> float:
    if len(polygon) < 3:
        return 0.0
    y, x = np.array(polygon).T
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


def clipped(image: NDArray, corners: NDArray) -> tuple[NDArray, NDArray]:
    """Sum pixels times the areas of their overlap with each cell, and these areas."""
    fractions = np.arange(SIZE + 1) / SIZE
    weights = np.stack([1 - fractions, fractions])
    nodes = np.einsum("ijk,ip,jq->pqk", corners, weights, weights)
    sums, covered = np.zeros((2, SIZE, SIZE))
    for row, column in np.ndindex(SIZE, SIZE):
        cell = [nodes[row + i, column + j] for i, j in ((0, 0), (0, 1), (1, 1), (1, 0))]
        low = np.clip(np.floor(np.min(cell, axis=0)), 0, image.shape).astype(int)
        high = np.clip(np.ceil(np.max(cell, axis=0)), 0, image.shape).astype(int)
        for y in range(low[0], high[0]):
            band = cut(cut(cell, 0, y, 1), 0, y + 1, -1)
            for x in range(low[1], high[1]):
                overlap = area(cut(cut(band, 1, x, 1), 1, x + 1, -1))
                sums[row, column] += image[y, x] * overlap
                covered[row, column] += overlap
    return sums, covered


@pytest.mark.parametrize(
    ("turned", "centre"),
    [
        (0.0, (15.2, 16.9)),
        (0.0, (15.0, 17.0)),
        (20.0, (15.2, 16.9)),
        (45.0, (15.0, 17.0)),
        (70.0, (3.3, 31.0)),
        (90.0, (26.0, 33.0)),
        (163.0, (3.3, 17.0)),
        (200.0, (15.2, 16.9)),
    ],
)
def test_integrals_are_those_of_the_overlaps_of_polygons(turned: float, centre: tuple[float, float]) -> None:
    corners = square(turned, 9.0, centre, mirrored=turned == 70.0)
    found = integrals([IMAGE, np.ones(SHAPE, bool)], corners, SIZE)
    np.testing.assert_allclose(found, clipped(IMAGE, corners), atol=1e-9)
    np.testing.assert_allclose(
        areas(corners, SIZE), area(list(corners[[0, 0, 1, 1], [0, 1, 1, 0]])) / SIZE**2
    )


@pytest.mark.parametrize("turned", [0.001, 0.5, 1.0, 89.5, 179.9])
def test_lines_that_hardly_rise_need_no_cut_at_each_column(turned: float) -> None:
    corners = square(turned, 12.0, (15.2, 16.9))
    noise = np.random.default_rng(4).normal(size=SHAPE)
    found = integrals([noise, np.ones(SHAPE)], corners, SIZE)
    expected, _ = clipped(noise, corners)
    assert np.std(found[0] - expected) < 0.01 * np.std(expected)
    np.testing.assert_allclose(found[1], areas(corners, SIZE), rtol=1e-9)


def test_an_irregular_quadrilateral_is_divided_bilinearly() -> None:
    corners = square(20.0, 9.0, (15.2, 16.9))
    corners[1, 1] += (1.5, -2.0)
    found = integrals([IMAGE], corners, SIZE)[0]
    np.testing.assert_allclose(found, clipped(IMAGE, corners)[0], atol=1e-9)
    assert areas(corners, SIZE).std() > 0


def test_windows_of_any_sizes_follow_each_other() -> None:
    """Kept arrays are not mixed up."""
    results = []
    for side in (30, 12, 20, 30):
        corners = square(33.0, side / 4, (side / 2, side / 2))
        results.append(integrals([IMAGE[:side, :side], np.ones((side, side))], corners, SIZE))
    np.testing.assert_array_equal(results[0], results[3])
    np.testing.assert_allclose(results[1][1], areas(square(33.0, 3.0, (6, 6)), SIZE))
