"""A made-up survey: stamps of galaxies on the model's grid, spread over the mosaics of two filters."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS
from numpy.typing import NDArray
from predicting.mosaics.samples import DEC, RA, drizzled, tangent_plane

from mergershift.predicting.regrid import kpc_per_arcsec
from mergershift.registry import ModelFacts

APART = 16.0
"""Distance of galaxies in arcsec, more than the model's field at these redshifts."""


class Survey(NamedTuple):
    catalogue: Path
    mosaics: dict[str, Path]
    weights: dict[str, Path]
    redshifts: NDArray[np.float64]

    def options(self) -> list[str]:
        """The options of the command line that name it."""
        files = [("--mosaic", self.mosaics), ("--weight", self.weights)]
        named = [(option, f"{name}={path}") for option, paths in files for name, path in paths.items()]
        return ["--catalogue", str(self.catalogue), *(text for pair in named for text in pair)]


def write_survey(
    folder: Path,
    images: NDArray[np.float32],
    facts: ModelFacts,
    *,
    scales: tuple[float, float] = (0.05, 0.08),
    turned: tuple[float, float] = (25.0, -70.0),
    gaps: tuple[int, ...] = (),
    masked: tuple[int, ...] = (),
    noise: float = 0.0,
) -> Survey:
    """Write two mosaics with weights and a catalogue in the columns of SExtractor.

    Args:
        folder: Where to write them.
        images: Stamps `(n, 2, size, size)` in µJy/arcsec², north up and east to the left.
        facts: The model's format.
        scales: Pixel scales of the mosaics in arcsec.
        turned: Angles of the mosaics in degrees.
        gaps: Numbers of galaxies of which a corner has weight 0 in the second filter.
        masked: Numbers of galaxies without a redshift.
        noise: Standard deviation between the galaxies, in µJy/arcsec².
    """
    count = len(images)
    side = int(np.ceil(np.sqrt(count)))
    redshifts = np.linspace(1.5, 2.5, count)
    places = (np.stack(np.divmod(np.arange(count), side), axis=1) - (side - 1) / 2) * APART / 3600
    dec = DEC + places[:, 0]
    ra = RA + places[:, 1] / np.cos(np.deg2rad(dec))
    extent = int(np.ceil(APART * (side + 0.5) * 1.42))
    mosaics, weights = {}, {}
    for channel, (name, scale, angle) in enumerate(zip(facts.filters, scales, turned, strict=True)):
        shape = (int(extent / scale), int(extent / scale) + 20)
        wcs = tangent_plane(shape, scale, turned=angle)
        light = np.random.default_rng(channel).normal(0, noise or 1e-9, shape)
        weight = np.ones(shape, np.float32)
        for number in range(count):
            window, up, left = _field(wcs, shape, ra[number], dec[number], redshifts[number], facts)
            inside = (up >= 0) & (up < 1) & (left >= 0) & (left < 1)
            rows, columns = (
                np.minimum((part * facts.image_size).astype(int), facts.image_size - 1)
                for part in (np.clip(up, 0, 1), np.clip(1 - left, 0, 1))
            )
            light[window] = np.where(inside, images[number, channel][rows, columns], light[window])
            if channel and number in gaps:
                weight[window] = np.where(inside & (up < 0.2) & (left < 0.2), 0, weight[window])
        # DJA's mosaics are in units of 10 nJy a pixel.
        stored = (light * scale**2 * 100).astype(np.float32)
        stored[weight == 0] = 0
        mosaics[name] = drizzled(folder / f"{name}_drz_sci.fits", stored, wcs)
        weights[name] = folder / f"{name}_drz_wht.fits"
        fits.writeto(weights[name], weight, wcs.to_header(), overwrite=True)
    table = Table({"NUMBER": np.arange(1, count + 1), "ALPHA_J2000": ra, "DELTA_J2000": dec})
    table["zbest"] = MaskedColumn(redshifts, mask=np.isin(np.arange(count), masked))
    table.write(folder / "catalogue.ecsv", overwrite=True)
    return Survey(folder / "catalogue.ecsv", mosaics, weights, redshifts)


def _field(
    wcs: WCS, shape: tuple[int, int], ra: float, dec: float, redshift: float, facts: ModelFacts
) -> tuple[tuple[slice, slice], NDArray[np.float64], NDArray[np.float64]]:
    """The window of a galaxy, and how far its pixels are across the field to the north and to the east, 0 to 1."""
    field = facts.field_kpc / kpc_per_arcsec(redshift)
    x, y = wcs.wcs_world2pix([[ra, dec]], 0)[0]
    scale = float(np.sqrt(abs(np.linalg.det(wcs.wcs.cd)))) * 3600
    reach = int(field / scale * 0.75)
    window = (slice(int(y) - reach, int(y) + reach), slice(int(x) - reach, int(x) + reach))
    rows, columns = np.mgrid[window]
    sky = wcs.wcs_pix2world(np.stack([columns.ravel(), rows.ravel()], axis=1), 0)
    east = (sky[:, 0] - ra) * np.cos(np.deg2rad(dec)) * 3600 / field + 0.5
    north = (sky[:, 1] - dec) * 3600 / field + 0.5
    return window, north.reshape(rows.shape), east.reshape(rows.shape)
