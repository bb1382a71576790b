"""Directions on the sky as unit vectors, the square field of an object, and rotations between celestial frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

Vectors = NDArray[np.float64]
"""Directions as vectors `(..., 3)`, of length 1 where not stated otherwise."""
ARCSEC = np.deg2rad(1 / 3600)
"""One arcsecond in radians."""


@dataclass(frozen=True, slots=True)
class Field:
    """A square on the sky around an object, north up and east to the left, that is divided into pixels."""

    ra: float
    """Right ascension of the centre, ICRS, in degrees."""
    dec: float
    """Declination of the centre, ICRS, in degrees."""
    side_arcsec: float
    size: int
    """Number of pixels a side."""

    @property
    def pixel_arcsec(self) -> float:
        """Side of a pixel in arcsec."""
        return self.side_arcsec / self.size

    def corners(self) -> Vectors:
        """Compute the directions of the corners `(2, 2, 3)`: south and north, each east and west."""
        centre, (east, north) = directions(self.ra, self.dec), tangents(self.ra, self.dec)
        half = self.side_arcsec / 2 * ARCSEC
        return np.array(
            [[unit(centre + up * north + left * east) for left in (half, -half)] for up in (-half, half)]
        )


def directions(ra: Any, dec: Any) -> Vectors:
    """Compute the unit vectors `(..., 3)` of coordinates in degrees."""
    longitude, latitude = np.deg2rad(ra), np.deg2rad(dec)
    across = np.cos(latitude)
    return np.stack([across * np.cos(longitude), across * np.sin(longitude), np.sin(latitude)], axis=-1)


def tangents(ra: float, dec: float) -> tuple[Vectors, Vectors]:
    """Compute the unit vectors towards east and north at a position in degrees."""
    longitude, latitude = np.deg2rad(ra), np.deg2rad(dec)
    east = np.array([-np.sin(longitude), np.cos(longitude), 0.0])
    north = np.array(
        [-np.sin(latitude) * np.cos(longitude), -np.sin(latitude) * np.sin(longitude), np.cos(latitude)]
    )
    return east, north


def coordinates(vectors: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute longitudes and latitudes in degrees; vectors may have any length."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.rad2deg(np.arctan2(y, x)) % 360, np.rad2deg(np.arctan2(z, np.hypot(x, y)))


def unit(vectors: Vectors) -> Vectors:
    """Scale vectors to length 1."""
    scaled: Vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return scaled


def rotation_to(frame: Any, longitude: float, latitude: float) -> Vectors:
    """Compute the matrix `(3, 3)` that takes ICRS vectors to a celestial frame.

    Args:
        frame: A frame of astropy.
        longitude: Longitude in degrees, in that frame, around which the matrix is needed. It is exact there for frames
            that are not mere rotations (FK4), and changes by some milliarcseconds over a degree.
        latitude: Latitude in degrees.
    """
    centre, (east, north) = directions(longitude, latitude), tangents(longitude, latitude)
    theirs = np.array([centre, unit(centre + 0.01 * east), unit(centre + 0.01 * north)])
    positions = SkyCoord(*coordinates(theirs), unit=units.deg, frame=frame).icrs
    ours = directions(positions.ra.deg, positions.dec.deg)
    matrix: Vectors = np.linalg.solve(ours, theirs).T
    return matrix
