"""Offsets that were put between two mosaics of the same objects."""

from pathlib import Path

import numpy as np
import pytest
from predicting.mosaics.samples import DEC, RA, drizzled, galaxies, tangent_plane

from mergershift.predicting.mosaics.layer import Layer
from mergershift.predicting.mosaics.offsets import measure_offset


@pytest.fixture
def positions() -> np.ndarray:
    random = np.random.default_rng(4)
    return np.array([RA, DEC]) + random.uniform(-14, 14, (24, 2)) / 3600


def two_layers(
    folder: Path, positions: np.ndarray, east: float, north: float, noise: float
) -> tuple[Layer, Layer]:
    random = np.random.default_rng(5)
    layers = []
    for name, pixel, turned, shift in (
        ("f814w", 0.12, 0.0, (0.0, 0.0)),
        ("f160w", 0.15, 40.0, (east, north)),
    ):
        shape = (int(60 / pixel),) * 2
        wcs = tangent_plane(shape, pixel, turned=turned)
        image = galaxies(wcs, shape, positions + np.array(shift) / 3600)
        image += random.normal(0, noise, shape).astype(np.float32)
        layers.append(Layer.open(name, [str(drizzled(folder / f"{name}.fits", image, wcs))]))
    return layers[0], layers[1]


@pytest.mark.parametrize(("east", "north"), [(0.0, 0.0), (0.3, -0.5), (-1.1, 0.2)])
def test_the_offset_is_found_whatever_the_angle(
    tmp_path: Path, positions: np.ndarray, east: float, north: float
) -> None:
    found = measure_offset(*two_layers(tmp_path, positions, east, north, 0.05), positions.tolist(), 8.0)
    assert found is not None
    assert found.east_arcsec == pytest.approx(east, abs=0.03)
    assert found.north_arcsec == pytest.approx(north, abs=0.03)
    assert found.error_arcsec < 0.03
    assert found.exceeds(0.1875) == (np.hypot(east, north) > 0.1875)


def test_nothing_is_measured_in_mosaics_of_noise(tmp_path: Path, positions: np.ndarray) -> None:
    layers = two_layers(tmp_path, positions[:0], 0, 0, 0.05)
    assert measure_offset(*layers, positions.tolist(), 8.0) is None
