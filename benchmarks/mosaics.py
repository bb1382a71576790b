"""Measure the speed and the peak memory of `mergershift predict --catalogue` on large mosaics.

    python benchmarks/mosaics.py                      # 5 000 objects in two mosaics of 20 000 x 20 000 pixels
    python benchmarks/mosaics.py --side 4000 --objects 500

Linux only. The mosaics, of noise and with weights, take 16 bytes a pixel on the disk (6.4 GB). Most of the time goes
into the averages on the model's grid and into the network, which sees each object in eight orientations.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click
import numpy as np
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS
from prediction import measured, show, show_head, write_untrained

from mergershift.archive import FILTER_SETS

STRIP = 100


def write_mosaic(path: Path, world: WCS, side: int, *, weights: bool) -> Path:
    """Write an image of noise, or weights that are 0 in a twentieth of the pixels, strip by strip."""
    random = np.random.default_rng(7)
    header = fits.Header(
        [("SIMPLE", True), ("BITPIX", -32), ("NAXIS", 2), ("NAXIS1", side), ("NAXIS2", side)]
    )
    header.update(world.to_header())
    header["BUNIT"] = "uJy/arcsec2"
    stream = fits.StreamingHDU(path, header)
    strip = random.normal(size=(STRIP, side)).astype(np.float32)
    for start in range(0, side, STRIP):
        part = np.roll(strip, start, axis=1)[: side - start]
        stream.write((abs(part) > 0.06).astype(np.float32) if weights else part)
    stream.close()
    return path


def world_of(side: int, pixel_arcsec: float, turned: float) -> WCS:
    """Create the coordinates of a mosaic that is turned by an angle in degrees."""
    angle, world = np.deg2rad(turned), WCS(naxis=2)
    world.wcs.ctype, world.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.1, 2.2]
    world.wcs.crpix = [side / 2 + 0.5] * 2
    matrix = [[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    world.wcs.cd = pixel_arcsec / 3600 * np.array(matrix)
    return world


def write_catalogue(path: Path, world: WCS, side: int, objects: int) -> Path:
    """Write positions in the inner part of a mosaic, in no order, at redshifts of 1.5 to 2.5."""
    random = np.random.default_rng(8)
    sky = world.wcs_pix2world(random.uniform(0.15 * side, 0.85 * side, (objects, 2)), 0)
    columns = [np.arange(objects), *sky.T, random.uniform(1.5, 2.5, objects)]
    Table(columns, names=["NUMBER", "ALPHA_J2000", "DELTA_J2000", "zbest"]).write(path)
    return path


@click.command()
@click.option("--side", default=20_000, show_default=True, help="Side of the mosaics in pixels.")
@click.option("--objects", default=5_000, show_default=True)
@click.option("--pixel-arcsec", default=0.03, show_default=True)
@click.option("--turned", default=20.0, show_default=True, help="Angle of the second mosaic in degrees.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True)
def main(side: int, objects: int, pixel_arcsec: float, turned: float, threads: int) -> None:
    """Print the time and the peak memory."""
    with tempfile.TemporaryDirectory(dir=".") as scratch:
        folder = Path(scratch)
        model = write_untrained(folder, "two")
        arguments = []
        for name, angle in zip(FILTER_SETS["two"].filter_names, (0.0, turned), strict=True):
            world = world_of(side, pixel_arcsec, angle)
            image = write_mosaic(folder / f"{name}_sci.fits", world, side, weights=False)
            weights = write_mosaic(folder / f"{name}_wht.fits", world, side, weights=True)
            arguments += ["--mosaic", f"{name}={image}", "--weight", f"{name}={weights}"]
        catalogue = write_catalogue(folder / "catalogue.fits", world_of(side, pixel_arcsec, 0), side, objects)
        columns = "id=NUMBER,ra=ALPHA_J2000,dec=DELTA_J2000,z=zbest"
        arguments += ["--catalogue", str(catalogue), "--columns", columns]
        cost = measured([*arguments, "--model", str(model)], folder / "mergers.parquet", threads)
        show_head()
        milliseconds = cost.seconds / objects * 1000
        show(f"{objects} objects in 2 mosaics of {side} x {side}", cost, f"{milliseconds:.1f} ms an object")


if __name__ == "__main__":
    main()
