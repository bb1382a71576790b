"""Recipes of images of which a classifier's probability is wrong, or means nothing, unless something is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from astropy.io import fits
from image_recipes import SCALE, TO_MJY_SR, Array, cubes, finer, hdus, header, kind, world


@kind("A1", "one band all zero", "no data in f814w")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images * np.array([0, 1])[:, None, None])


@kind("A1", "both bands all zero", "withheld")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images * 0)


@kind("A1", "a constant", "withheld")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images * 0 + 0.5)


@kind("A1", "one band all NaN", "no data in f160w")
def _(folder: Path, images: Array) -> list[str]:
    made = images.copy()
    made[:, 1] = np.nan
    return cubes(folder, made)


@kind("A1", "empty sky", "nothing detected")
def _(folder: Path, images: Array) -> list[str]:
    noise = np.random.default_rng(0).normal(0, 1, images.shape)
    return cubes(folder, noise * np.array([0.42, 0.54])[:, None, None])


@kind("A1", "a third of the rows zero, WHT 0 there", "incomplete")
def _(folder: Path, images: Array) -> list[str]:
    made, weight = images.copy(), np.ones_like(images)
    made[:, :, :25], weight[:, :, :25] = 0, 0
    cards = {"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W"}
    for number in range(len(images)):
        fits.HDUList(
            [
                fits.PrimaryHDU(),
                fits.ImageHDU(made[number].astype("f4"), header(cards), name="SCI"),
                fits.ImageHDU(weight[number].astype("f4"), world(), name="WHT"),
            ]
        ).writeto(folder / f"g{number}.fits")
    return [str(folder)]


@kind("A1", "a third of the rows NaN", "incomplete")
def _(folder: Path, images: Array) -> list[str]:
    made = images.copy()
    made[:, :, :25] = np.nan
    return cubes(folder, made)


@kind("A2", "a sky of 0.5 left in", "sky differs")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images + 0.5)


@kind("A2", "ten times the noise", "noise differs")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images + np.random.default_rng(1).normal(0, 5, images.shape))


@kind("A2", "a star", "unresolved")
def _(folder: Path, images: Array) -> list[str]:
    y, x = np.mgrid[:75, :75] - 37.0
    star = 60 * np.exp(-(x**2 + y**2) / (2 * 0.45**2))
    noise = np.random.default_rng(2).normal(0, 1, images.shape) * np.array([0.42, 0.54])[:, None, None]
    return cubes(folder, star + noise)


@kind("A3", "a mosaic in a cube of 2000 x 2000", "refused")
def _(folder: Path, images: Array) -> list[str]:
    field = np.random.default_rng(3).normal(0, 0.4, (2, 2000, 2000)).astype("f4")
    field[:, 962:1037, 962:1037] = images[0]
    cards = {"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W"}
    fits.PrimaryHDU(field, header(cards, 2000)).writeto(folder / "field.fits")
    return [str(folder)]


@kind("A4", "planes F160W, F814W with FILTER0 and FILTER1")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images[:, ::-1], {"FILTERS": None, "FILTER0": "F160W", "FILTER1": "F814W"})


@kind("A4", "planes F160W, F814W with FILTER1 and FILTER2")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images[:, ::-1], {"FILTERS": None, "FILTER1": "F160W", "FILTER2": "F814W"})


@kind("A4", "filters not named", "filters assumed")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images[:, ::-1], {"FILTERS": None})


@kind("A4", "ACS wheels in the primary header, a list in SCI")
def _(folder: Path, images: Array) -> list[str]:
    wheels = fits.Header({"INSTRUME": "ACS", "FILTER1": "CLEAR1L", "FILTER2": "F814W"})
    cards = {"BUNIT": "uJy/arcsec2", "FILTERS": "F160W,F814W"}
    return hdus(
        folder,
        images[:, ::-1],
        lambda image: [fits.PrimaryHDU(header=wheels), fits.ImageHDU(image, header(cards), name="SCI")],
    )


@kind("A4", "numbers in two headers: FILTER1 in the primary, FILTER2 in SCI", "filters assumed")
def _(folder: Path, images: Array) -> list[str]:
    cards = {"BUNIT": "uJy/arcsec2", "FILTER2": "F814W"}
    return hdus(
        folder,
        images[:, ::-1],
        lambda image: [
            fits.PrimaryHDU(header=fits.Header({"FILTER1": "F160W"})),
            fits.ImageHDU(image, header(cards), name="SCI"),
        ],
    )


@kind("A4", "BANDS = 'grz', two planes", "refused")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images, {"FILTERS": None, "BANDS": "grz"})


@kind("A4", "BANDS = 'gr', two planes", "refused")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images, {"FILTERS": None, "BANDS": "gr"})


@kind("A5", "trimmed at an edge, the header says where the object is", "incomplete")
def _(folder: Path, images: Array) -> list[str]:
    for number, image in enumerate(finer(images, 2)):
        made = world(150, SCALE / 2)
        made.update(BUNIT="uJy/arcsec2", FILTERS="F814W,F160W", REDSHIFT=2.0, RA_OBJ=150.1, DEC_OBJ=2.2)
        made["CRPIX1"] -= 30
        fits.PrimaryHDU(image[:, :, 30:].astype("f4"), made).writeto(folder / f"g{number}.fits")
    return [str(folder)]


@kind("A5", "larger frame, object off the centre, RA and DEC of the object in the header")
def _(folder: Path, images: Array) -> list[str]:
    for number, image in enumerate(images):
        frame = np.random.default_rng(4).normal(0, 0.4, (2, 150, 150))
        frame[:, 20:95, 50:125] = image
        made = header({"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W"})
        made.update(RA_OBJ=150.1, DEC_OBJ=2.2)
        made["CRPIX1"] += 50
        made["CRPIX2"] += 20
        fits.PrimaryHDU(frame.astype("f4"), made).writeto(folder / f"g{number}.fits")
    return [str(folder)]


@kind("A5", "larger frame, nothing known of the object", "centre assumed")
def _(folder: Path, images: Array) -> list[str]:
    frames = np.pad(images, ((0, 0), (0, 0), (10, 10), (10, 10)))
    for number, image in enumerate(frames):
        made = header({"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W"}, 95)
        for name in ("CTYPE1", "CTYPE2", "CRVAL1", "CRVAL2"):
            del made[name]
        fits.PrimaryHDU(image.astype("f4"), made).writeto(folder / f"g{number}.fits")
    return [str(folder)]


@kind("A6", "SCI is 2-D, CON is (2, H, W) of bits", "refused")
def _(folder: Path, images: Array) -> list[str]:
    bits = np.random.default_rng(5).integers(0, 8, (2, 300, 300)).astype("i4")
    hdus(
        folder,
        finer(images, 4),
        lambda image: [
            fits.PrimaryHDU(header=fits.Header({"FILTER": "F356W", "INSTRUME": "NIRCAM"})),
            fits.ImageHDU(image[0].astype("f4"), header({"BUNIT": "MJy/sr"}, 300, SCALE / 4), name="SCI"),
            fits.ImageHDU(bits, name="CON"),
        ],
    )
    return [str(folder), "--unit", "MJy/sr", "--pixel-arcsec", "0.0625"]


@kind("A6", "a weight map with the image's header, by its name", "refused")
def _(folder: Path, images: Array) -> list[str]:
    cards = {"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W"}
    for number, image in enumerate(images):
        fits.PrimaryHDU(np.full_like(image, 40.0) + image, header(cards)).writeto(
            folder / f"g{number}_wht.fits"
        )
    return [str(folder)]


@kind("A7", "PIXSCALE whose comment says kpc")
def _(folder: Path, images: Array) -> list[str]:
    for number, image in enumerate(images):
        made = fits.Header({"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W", "REDSHIFT": 2.0})
        made["PIXSCALE"] = (1.6, "[kpc] physical size of a pixel")
        fits.PrimaryHDU(image.astype("f4"), made).writeto(folder / f"g{number}.fits")
    return [str(folder)]


@kind("A7", "Z = 0.3 beside X and Y, REDSHIFT missing", "refused")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(folder, images, {"REDSHIFT": None, "X": 10.0, "Y": 20.0, "Z": 0.3})


@kind("A7", "world coordinates in the primary header alone")
def _(folder: Path, images: Array) -> list[str]:
    primary = header({})
    cards = fits.Header({"BUNIT": "uJy/arcsec2", "FILTERS": "F814W,F160W"})
    return hdus(
        folder,
        images,
        lambda image: [fits.PrimaryHDU(header=primary), fits.ImageHDU(image, cards, name="SCI")],
    )


@kind("A7", "npy in MJy/sr, unit not given", "unit assumed")
def _(folder: Path, images: Array) -> list[str]:
    np.save(folder / "a.npy", images * TO_MJY_SR)
    return [str(folder)]


@kind("A7", "npy scaled from 0 to 1, unit not given", "unit assumed")
def _(folder: Path, images: Array) -> list[str]:
    low, high = images.min((1, 2, 3), keepdims=True), images.max((1, 2, 3), keepdims=True)
    np.save(folder / "a.npy", (images - low) / (high - low))
    return [str(folder)]


@kind("A8", "z = 0.7 for a model of z = 2", "redshift differs")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(
        folder, np.pad(images, ((0, 0), (0, 0), (20, 20), (20, 20)), mode="reflect"), {"REDSHIFT": 0.7}
    )


@kind("A8", "z = 9 for a model of z = 2", "redshift differs")
def _(folder: Path, images: Array) -> list[str]:
    return cubes(
        folder, np.pad(images, ((0, 0), (0, 0), (37, 37), (37, 37)), mode="reflect"), {"REDSHIFT": 9.0}
    )
