"""Tests of how the filters of a galaxy lie on the sky relative to each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from mergershift.predicting.alignment import misaligned, offset
from mergershift.predicting.opening import open_files
from mergershift.predicting.planes import Pose
from mergershift.predicting.sources import Source

SCALE = 0.1875


def stamp(
    path: Path, name: str, turn: float = 0.0, shift: float = 0.0, ra: float = 150.1, mirror: int = -1
) -> str:
    world = WCS(naxis=2)
    world.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    world.wcs.crval, world.wcs.crpix = [ra, 2.2], [38 + shift, 38]
    cosine, sine = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    world.wcs.cd = np.array([[mirror * cosine, -mirror * sine], [sine, cosine]]) * SCALE / 3600
    header = world.to_header()
    header.update(BUNIT="uJy/arcsec2", REDSHIFT=2.0, FILTER=name)
    fits.PrimaryHDU(np.zeros((75, 75), "f4"), header).writeto(path / f"g_{name}.fits")
    return str(path / f"g_{name}.fits")


@pytest.mark.parametrize(
    ("other", "wrong"),
    [
        ({}, False),
        ({"shift": 0.7}, False),
        ({"turn": 1.0}, False),
        ({"shift": 4.0}, True),
        ({"turn": 90.0}, True),
        ({"turn": 3.0}, True),
        ({"mirror": 1}, True),
    ],
)
def test_filters_that_are_shifted_or_turned_against_each_other_are_found(
    tmp_path: Path, other: dict[str, float], wrong: bool
) -> None:
    files = [stamp(tmp_path, "F814W"), stamp(tmp_path, "F160W", **other)]  # type: ignore[arg-type]
    (source,) = open_files(files)
    assert isinstance(source, Source)
    assert misaligned([plane.pose for plane in source.description.planes], SCALE, 75) is wrong


def test_files_on_both_sides_of_the_zero_of_right_ascension_show_one_galaxy(tmp_path: Path) -> None:
    files = [stamp(tmp_path, "F814W", ra=1e-5), stamp(tmp_path, "F160W", ra=360 - 1e-5)]
    (source,) = open_files(files)
    assert isinstance(source, Source)
    assert source.description.planes[1].pose == Pose(-0.07, 0.0)


def test_offsets_are_right_at_a_pole() -> None:
    east, north = offset((10.0, 90 - 1 / 3600), (190.0, 90 - 1 / 3600))
    assert (east, north) == pytest.approx((0.0, 2.0), abs=1e-6)
