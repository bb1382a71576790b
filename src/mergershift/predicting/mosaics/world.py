"""Positions on the sky in the pixels of a mosaic."""

from __future__ import annotations

import numpy as np
from astropy.io.fits import Header
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import NDArray

from mergershift.core.errors import first_line
from mergershift.predicting.celestial import general_coordinates
from mergershift.predicting.mosaics.sky import ARCSEC, Vectors, coordinates, directions, rotation_to, tangents
from mergershift.predicting.units import Refused

MARGIN = np.deg2rad(0.5)
"""How far outside a mosaic positions are computed, in radians; more than the largest field of a galaxy."""


class World:
    """World coordinates of a mosaic.

    Args:
        header: Header with the coordinates.
        shape: Numbers of rows and columns.

    Raises Refused if the header has no celestial coordinates, or invalid ones.
    """

    def __init__(self, header: Header, shape: tuple[int, int]) -> None:
        self._wcs, (x, y), _ = general_coordinates(header)
        if not self._wcs.has_celestial:
            raise Refused("no celestial world coordinates, so that objects cannot be found in it")
        self._longitude = int(self._wcs.wcs.lng)
        self._rotation: Vectors = np.eye(3)
        try:
            frame = wcs_to_celestial_frame(self._wcs)
            middle = self._wcs.all_pix2world([[(shape[1] - 1) / 2, (shape[0] - 1) / 2]], 0)[0]
            centre = float(middle[self._longitude]), float(middle[1 - self._longitude])
            self._rotation = rotation_to(frame, *centre)
        except Exception as error:  # wcslib raises many types of errors.
            raise Refused(f"invalid world coordinates ({first_line(error)})") from None
        self._middle = directions(*centre)
        x, y = x * 3600, y * 3600
        self.pixel_arcsec = (y, x)
        """Pixel scale between rows and between columns in arcsec."""
        self._reach = float(np.hypot(shape[0] * y, shape[1] * x)) / 2 * ARCSEC + MARGIN
        ra, dec = coordinates(self._rotation.T @ self._middle)
        self.centre = float(ra), float(dec)
        """Right ascension and declination of the middle, ICRS, in degrees."""
        self.north = self._angle(shape)
        """Angle in degrees from the direction of rising rows to north, through that of rising columns."""

    def places(self, vectors: Vectors) -> NDArray[np.float64] | None:
        """Compute rows and columns `(..., 2)`, 0 at the centre of the first pixel, of ICRS vectors `(..., 3)`.

        Returns None for directions far from the mosaic, which a projection may fold onto it.
        """
        turned = vectors @ self._rotation.T
        if np.linalg.norm(turned - self._middle, axis=-1).min() > self._reach:
            return None
        longitude, latitude = coordinates(turned)
        world = np.stack(
            [longitude, latitude] if self._longitude == 0 else [latitude, longitude], axis=-1
        ).reshape(-1, 2)
        distorted = self._wcs.has_distortion
        pixels = self._wcs.all_world2pix(world, 0) if distorted else self._wcs.wcs_world2pix(world, 0)
        placed: NDArray[np.float64] = np.asarray(pixels, np.float64)[:, ::-1].reshape(*vectors.shape[:-1], 2)
        return placed if np.isfinite(placed).all() else None

    def agrees(self, other: World) -> bool:
        """Whether the middle of this mosaic is the middle of another one, by half a pixel."""
        here, there = directions(*self.centre), directions(*other.centre)
        return bool(np.linalg.norm(here - there) < min(self.pixel_arcsec) / 2 * ARCSEC)

    def _angle(self, shape: tuple[int, int]) -> float:
        centre, (_, north) = directions(*self.centre), tangents(*self.centre)
        placed = self.places(np.stack([centre, centre + 10 * ARCSEC * north]))
        if placed is None:
            raise Refused(f"invalid world coordinates: the middle of {shape[0]} x {shape[1]} pixels has none")
        up, right = placed[1] - placed[0]
        return float(np.rad2deg(np.arctan2(right, up)))
