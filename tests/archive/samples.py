"""Small archives in the published row structure, made of independent noise for every galaxy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from mergershift.archive import DATA_SETS, FILTER_SETS, IMAGE_SIZE, DataSet, Domain, RowStructure
from mergershift.archive.headers import images_header, labels_table
from mergershift.archive.mock.recipe import RECIPE

STRUCTURE = RowStructure(mergers=2, non_mergers=33)
LARGER = RowStructure(mergers=10, non_mergers=40)
COARSE = replace(
    RECIPE, particles=500, halo_particles=50, bulge_particles=70, clump_particles=5, neighbour_particles=50
)
"""Galaxies of few stars, rendered quickly, for mocks whose looks do not matter."""


def renderings(structure: RowStructure, seed: int) -> NDArray[np.float64]:
    """Draw random images in three filters of about the published deviations; cameras agree in total flux to 5 %."""
    random = np.random.default_rng(seed)
    galaxy = structure.galaxy[structure.block == 0]
    brightness = random.lognormal(1.0, 0.7, galaxy.max() + 1)
    stds = [f.published_std[Domain.PRISTINE] for f in FILTER_SETS["three"].filters]
    shape = (len(galaxy), len(stds), IMAGE_SIZE, IMAGE_SIZE)
    images = random.lognormal(-1.0, 1.0, shape) * random.normal(1.0, 0.05, (len(galaxy), 1, 1, 1))
    images *= brightness[galaxy, None, None, None] * np.array(stds)[:, None, None]
    # The sky, which fills most of a real stamp, is empty.
    images[..., :8, :] = images[..., -8:, :] = images[..., :, :8] = images[..., :, -8:] = 0.0
    return images


def images_of(data_set: DataSet, structure: RowStructure, seed: int = 0) -> NDArray[np.float64]:
    """Make the images of one data set; noisy ones are pristine ones plus noise as strong as published.

    The two-filter images are the first two channels of the three-filter ones.
    """
    images = renderings(structure, seed)
    if data_set.domain is Domain.NOISY:
        stds = np.array([facts.noise_std for facts in FILTER_SETS["three"].filters])[:, None, None]
        images = images + np.random.default_rng(seed + 1).normal(0.0, 1.0, images.shape) * stds
    images = images[:, : len(data_set.filter_set.filters)]
    mergers, others = images[: structure.block_rows], images[structure.block_rows :]
    turned = [mergers, mergers[..., ::-1, :], mergers[..., ::-1]]
    turned += [np.rot90(mergers, quarters, axes=(2, 3)) for quarters in (1, 2)]
    return np.concatenate([*turned, others])


def write_fits(path: Path, images: NDArray[np.float64], labels: NDArray[np.integer]) -> None:
    """Write a FITS file as the archive's are."""
    sets = {len(facts.filter_set.filters): facts for facts in DATA_SETS.values()}
    primary = fits.PrimaryHDU(images, images_header(sets[images.shape[1]], len(images)))
    fits.HDUList([primary, labels_table(labels)]).writeto(path, overwrite=True)


def write_sample(
    folder: Path,
    structure: RowStructure = STRUCTURE,
    filter_sets: Iterable[str] = ("two",),
    formats: Iterable[str] = ("npy",),
    seed: int = 0,
) -> Path:
    """Write both domains of some filter sets into a folder and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for (name, _), data_set in DATA_SETS.items():
        if name not in filter_sets:
            continue
        images = images_of(data_set, structure, seed)
        for name in (data_set.images_name, data_set.labels_names[0], data_set.fits_name):
            (folder / name).unlink(missing_ok=True)  # It may be linked to a file outside this folder.
        if "npy" in formats:
            np.save(folder / data_set.images_name, images)
            np.save(folder / data_set.labels_names[0], structure.labels)
        if "fits" in formats:
            write_fits(folder / data_set.fits_name, images, structure.labels)
    return folder
