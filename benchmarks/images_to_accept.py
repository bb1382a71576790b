"""Recipes of images in the layouts, units and cards of archives and pipelines, which show what the originals show."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from image_recipes import FILTERS, SCALE, TO_MJY_SR, TO_NJY, Array, cubes, finer, hdus, header, kind, world


def _hst(image: Array, name: str, cards: dict[str, Any], unit: str = "ELECTRONS/S") -> list[Any]:
    """Lay out a drizzled image of one filter as HST's pipeline does."""
    primary = fits.Header({"TELESCOP": "HST", "TARGNAME": "GAL-1", "RA_TARG": 150.1, "DEC_TARG": 2.2})
    primary["INSTRUME"] = "ACS" if name == "f814w" else "WFC3"
    if name == "f814w":
        primary["FILTER1"], primary["FILTER2"] = "CLEAR1L", "F814W"
    else:
        primary["FILTER"] = name.upper()
    primary["REDSHIFT"] = 2.0
    size = image.shape[-1]
    sci = world(size, SCALE * 75 / size)
    sci["BUNIT"] = unit
    for key, value in cards.items():
        sci[key] = value
    return [
        fits.PrimaryHDU(header=primary),
        fits.ImageHDU(image.astype("f4"), sci, name="SCI"),
        fits.ImageHDU(np.ones_like(image, dtype="f4"), world(size, SCALE * 75 / size), name="WHT"),
        fits.ImageHDU(np.ones_like(image, dtype="i4"), name="CTX"),
    ]


PHOT = {"f814w": (7.03e-20, 8045.0), "f160w": (1.93e-20, 15369.2)}


def _fnu(name: str) -> float:
    flam, plam = PHOT[name]
    return 3.33564e4 * plam**2 * flam


@kind("B1", "one file a filter, electrons/s with PHOTFLAM and PHOTPLAM (HST drz)")
def _(folder: Path, images: Array) -> list[str]:
    for number, image in enumerate(images):
        for plane, name in zip(image, FILTERS, strict=True):
            counts = plane * SCALE**2 * 1e-6 / _fnu(name)
            cards = dict(zip(("PHOTFLAM", "PHOTPLAM"), PHOT[name], strict=True))
            fits.HDUList(_hst(counts, name, cards)).writeto(folder / f"g{number}_{name}.fits")
    return [str(folder)]


@kind("B2", "one file a filter, electrons/s with PHOTFNU (WFC3 drz)")
def _(folder: Path, images: Array) -> list[str]:
    for number, image in enumerate(images):
        for plane, name in zip(image, FILTERS, strict=True):
            made = _hst(plane * SCALE**2 * 1e-6 / _fnu(name), name, {"PHOTFNU": _fnu(name)})
            fits.HDUList(made).writeto(folder / f"g{number}_{name}_drz.fits")
    return [str(folder)]


@kind("B1", "one file a filter, MJy/sr, scales that differ (JWST i2d)")
def _(folder: Path, images: Array) -> list[str]:
    for number, image in enumerate(images):
        for plane, name, factor in zip(image, FILTERS, (2, 1), strict=True):
            made = _hst(finer(plane, factor) * TO_MJY_SR, name, {}, "MJy/sr")
            fits.HDUList(made).writeto(folder / f"g{number}_{name}_i2d.fits")
    return [str(folder)]


@kind("B1", "one HDU a filter by EXTNAME")
def _(folder: Path, images: Array) -> list[str]:
    cards = {"BUNIT": "uJy/arcsec2"}
    return hdus(
        folder,
        images,
        lambda image: [
            fits.PrimaryHDU(),
            *(
                fits.ImageHDU(plane.astype("f4"), header(cards), name=name)
                for plane, name in zip(image[::-1], ("F160W", "F814W"), strict=True)
            ),
        ],
    )


@kind("B1", "one HDU a filter by FILTER")
def _(folder: Path, images: Array) -> list[str]:
    return hdus(
        folder,
        images,
        lambda image: [
            fits.PrimaryHDU(),
            *(
                fits.ImageHDU(plane.astype("f4"), header({"BUNIT": "uJy/arcsec2", "FILTER": name}))
                for plane, name in zip(image[::-1], ("F160W", "F814W"), strict=True)
            ),
        ],
    )


@kind("B1", "SCI and WHT a filter, EXTVER a text (DJA), stale BUNIT with PHOTFNU")
def _(folder: Path, images: Array) -> list[str]:
    def made(image: Array) -> list[Any]:
        found: list[Any] = [fits.PrimaryHDU()]
        for plane, name in zip(image[::-1], ("F160W", "F814W"), strict=True):
            cards = {"BUNIT": "ELECTRONS/S", "PHOTFNU": 1e-8, "FILTER": name, "EXTVER": name}
            found.append(fits.ImageHDU((plane * SCALE**2 * 1e2).astype("f4"), header(cards), name="SCI"))
            found[-1].header["EXTVER"] = name
            found.append(fits.ImageHDU(np.ones((75, 75), "f4"), header(), name="WHT"))
            found[-1].header["EXTVER"] = name
        return found

    return hdus(folder, images, made)


for _cards in (
    {"FLUXMAG0": 3631.0 / 1e-8},
    {"MAGZERO": 2.5 * np.log10(3631 / 1e-8)},
):

    @kind("B2", f"counts with {next(iter(_cards))}")
    def _(folder: Path, images: Array, cards: dict[str, float] = _cards) -> list[str]:
        return cubes(folder, images * SCALE**2 * 1e2, {"BUNIT": "counts", **cards})


@kind("B2", "BUNIT = MJy/sr beside another zero point")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images * TO_MJY_SR, {"BUNIT": "MJy/sr", "MAGZERO": 25.0})


@kind("B2", "counts without a zero point", "refused")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images, {"BUNIT": "counts"})


@kind("B3", "BUNIT = counts, --unit with --override")
def _(folder: Path, images: Array) -> list[str]:
    return [*cubes(folder, images, {"BUNIT": "counts"}), "--unit", "uJy/arcsec2", "--override"]


@kind("B3", "REDSHIFT = -99, --redshift")
def _(folder: Path, images: Array) -> list[str]:
    return [*cubes(folder, images, {"REDSHIFT": -99.0}), "--redshift", "2"]


for _unit, _factor in (
    ("MJY/SR", TO_MJY_SR),
    ("MJy/steradian", TO_MJY_SR),
    ("nanoJanskies", TO_NJY),
    ("nJy", TO_NJY),
    ("nanomaggy", TO_NJY / 3631),
    ("microjanskies/arcsec^2", 1.0),
    ("erg/s/cm2/Hz/arcsec2", 1e-29),
):

    @kind("B4", f"BUNIT = {_unit}")
    def _(folder: Path, images: Array, unit: str = _unit, factor: float = _factor) -> list[str]:
        return cubes(folder, images * factor, {"BUNIT": unit})


@kind("B4", "BUNIT = 'AB mag/arcsec2', no value where the noise is negative", "little data|incomplete")
def _(folder: Path, images: Array) -> list[str]:
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitudes = -2.5 * np.log10(images * 1e-6 / 3631)
    return cubes(folder, magnitudes, {"BUNIT": "AB mag/arcsec2"})


for _unit in ("e-/s", "cps"):

    @kind("B4", f"BUNIT = {_unit} without a zero point", "refused")
    def _(folder: Path, images: Array, unit: str = _unit) -> list[str]:
        return cubes(folder, images, {"BUNIT": unit})


def _without_world(folder: Path, images: Array, cards: dict[str, Any]) -> list[str]:
    for number, image in enumerate(images):
        made = fits.Header({"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W", "REDSHIFT": 2.0})
        for key, value in cards.items():
            made[key] = value
        fits.PrimaryHDU(image.astype("f4"), made).writeto(folder / f"g{number}.fits")
    return [str(folder)]


for _name, _value in (
    ("PIXAR_A2", SCALE**2),
    ("SECPIX1", SCALE),
    ("PIXSCAL1", SCALE),
    ("PIXSIZE", (SCALE, "arcsec")),
):

    @kind("B5", f"scale in {_name}")
    def _(folder: Path, images: Array, name: str = _name, value: Any = _value) -> list[str]:
        return _without_world(folder, images, {name: value})


for _name in ("ZSPEC", "Z_SPEC", "ZBEST", "Z_PHOT"):

    @kind("B5", f"redshift in {_name}")
    def _(folder: Path, images: Array, name: str = _name) -> list[str]:
        return cubes(folder, images, {"REDSHIFT": None, name: 2.0})


@kind("B5", "look-up distortions left over")
def _(folder: Path, images: Array) -> list[str]:
    cards = {"CPDIS1": "LOOKUP", "CPDIS2": "LOOKUP", "CPERR1": 0.1, "CPERR2": 0.1}
    return cubes(folder, images, cards)


@kind("B6", "PRIMARY + MASK + UNCERT (CCDData)")
def _(folder: Path, images: Array) -> list[str]:
    cards = {"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W"}
    return hdus(
        folder,
        images,
        lambda image: [
            fits.PrimaryHDU(image.astype("f4"), header(cards)),
            fits.ImageHDU(np.zeros(image.shape, "u1"), name="MASK"),
            fits.ImageHDU(np.ones_like(image, dtype="f4"), name="UNCERT"),
        ],
    )


@kind("B6", "a galaxy an HDU")
def _(folder: Path, images: Array) -> list[str]:
    cards = {"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W"}
    fits.HDUList(
        [
            fits.PrimaryHDU(),
            *(
                fits.ImageHDU(image.astype("f4"), header(cards), name=f"GAL{n}")
                for n, image in enumerate(images)
            ),
        ]
    ).writeto(folder / "all.fits")
    return [str(folder)]


@kind("B6", "SCI,1 ... SCI,N of cubes")
def _(folder: Path, images: Array) -> list[str]:
    cards = {"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W"}
    fits.HDUList(
        [
            fits.PrimaryHDU(),
            *(
                fits.ImageHDU(image.astype("f4"), header(cards), name="SCI", ver=number)
                for number, image in enumerate(images, 1)
            ),
        ]
    ).writeto(folder / "all.fits")
    return [str(folder)]


@kind("B7", "endings .FITS, .fits.gz, .fits.bz2")
def _(folder: Path, images: Array) -> list[str]:
    cubes(folder, images)
    (folder / "g0.fits").rename(folder / "g0.FITS")
    for number, pack, ending in ((1, gzip.open, ".gz"), (2, bz2.open, ".bz2")):
        path = folder / f"g{number}.fits"
        with pack(f"{path}{ending}", "wb") as packed:
            packed.write(path.read_bytes())
        path.unlink()
    return [str(folder)]


@kind("B7", "channel-last npy", "refused")
def _(folder: Path, images: Array) -> list[str]:
    np.save(folder / "a.npy", images.transpose(0, 2, 3, 1))
    return [str(folder)]


@kind("B9", "one NaN pixel", "interpolated")
def _(folder: Path, images: Array) -> list[str]:
    made = images.copy()
    made[:, 0, 40, 12] = np.nan
    return cubes(folder, made)


@kind("B9", "one NaN pixel among 450 000")
def _(folder: Path, images: Array) -> list[str]:
    made = finer(images, 4)
    made[:, 0, 161, 50] = np.nan
    for number, image in enumerate(made):
        cards = {"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W"}
        fits.PrimaryHDU(image.astype("f4"), header(cards, 300, SCALE / 4)).writeto(folder / f"g{number}.fits")
    return [str(folder)]
