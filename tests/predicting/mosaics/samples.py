"""Mosaics as archives hand them out, small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

RA, DEC = 150.1, 2.2


def tangent_plane(
    shape: tuple[int, int],
    pixel_arcsec: float,
    *,
    turned: float = 0.0,
    at: tuple[float, float] = (RA, DEC),
    reference: tuple[float, float] | None = None,
) -> WCS:
    """World coordinates of an image turned by an angle in degrees; `reference` is the pixel (x, y) at a position."""
    angle, degrees = np.deg2rad(turned), pixel_arcsec / 3600
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = at
    wcs.wcs.crpix = reference or ((shape[1] + 1) / 2, (shape[0] + 1) / 2)
    wcs.wcs.cd = degrees * np.array([[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return wcs


def drizzled(path: Path, image: NDArray[np.generic], wcs: WCS, **cards: str | float) -> Path:
    """Write a mosaic as the primary HDU, with the cards of DJA's mosaics unless others are given."""
    header = wcs.to_header()
    header.update({"BUNIT": "10.0*nanoJansky", "PHOTFNU": 1e-8} | cards)
    fits.writeto(path, image, header, overwrite=True)
    return path


def galaxies(
    wcs: WCS, shape: tuple[int, int], positions: NDArray[np.float64], sigma_arcsec: float = 0.4
) -> NDArray[np.float32]:
    """Gaussian sources with a peak of 1 at positions `(n, 2)` on the sky, nowhere exactly 0."""
    rows, columns = np.indices(shape)
    scale = float(np.sqrt(abs(np.linalg.det(wcs.pixel_scale_matrix)))) * 3600
    image = np.full(shape, 1e-6)
    for x, y in wcs.wcs_world2pix(positions, 0):
        image += np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 2 * (scale / sigma_arcsec) ** 2)
    return image.astype(np.float32)
