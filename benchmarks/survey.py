"""Measure how well `mergershift predict --catalogue` gives the probabilities of the images that a survey shows.

    python benchmarks/survey.py --model FOLDER              # 100 galaxies in mosaics of 0.03" and 0.06" pixels
    python benchmarks/survey.py --model FOLDER --keep FOLDER   # keeps the survey, the tables and the page

Galaxies of the mock universe, which the model has not seen, are rendered with pixels a third as wide as the model's.
The stamps are means of nine such pixels; the mosaics of the two filters, which differ in scale and angle, are means
over their own pixels. Noise is drawn for each pixel of a mosaic, as a detector's is, and `reproject_exact` takes it to
the stamps. Noise drawn for the stamps and painted into a mosaic would not do: a mosaic's pixel across an edge averages
two of them, which lowers the noise by a tenth before anything is predicted. The weights have gaps, and some redshifts
are masked.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click
import numpy as np
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS
from mosaics import world_of
from numpy.typing import NDArray
from reproject import reproject_exact

from mergershift.archive import FIELD_KPC, FILTER_SETS, IMAGE_SIZE, PIXEL_ARCSEC, RowStructure
from mergershift.archive.facts import FilterFacts
from mergershift.archive.mock.brightness import factors
from mergershift.archive.mock.galaxies import render_galaxy
from mergershift.archive.mock.recipe import RECIPE
from mergershift.predicting.regrid import kpc_per_arcsec

FILTERS = FILTER_SETS["two"].filters
FINER = 3
"""Number of rendered pixels along a pixel of the model."""
APART = 16.0
"""Distance of galaxies in arcsec, more than a field of 120 kpc at these redshifts."""
SUB_ARCSEC = 0.01
"""Largest distance of the points over which a pixel of a mosaic is averaged."""
RA, DEC = 150.1, 2.2
GAP = 0.25
"""Side of a gap in the weights, in fields."""

Images = NDArray[np.float32]


def render(galaxies: int, seed: int) -> Images:
    """Render galaxies, every third one a merger, in µJy/arcsec² without noise, `(4 galaxies, 2, 225, 225)`."""
    size = FINER * IMAGE_SIZE
    views = []
    with click.progressbar(range(galaxies), label="rendering", file=sys.stderr) as numbers:
        for number in numbers:
            views.append(render_galaxy(seed, number % 3 == 0, number, RECIPE, size)[0])
    rendered = np.stack(views)
    coarse = binned(rendered)
    sums, squares = (moments.sum(axis=(1, 3, 4)) / RowStructure.CAMERAS for moments in (coarse, coarse**2))
    calibrated = factors(sums, squares, np.full(galaxies, 4.0))
    images = rendered * calibrated[:, None, :, None, None]
    return images[:, :, : len(FILTERS)].reshape(-1, len(FILTERS), size, size).astype(np.float32)


def binned(images: NDArray[np.floating]) -> NDArray[np.floating]:
    """Average rendered images `(..., 225, 225)` on the model's grid."""
    shape = (*images.shape[:-2], IMAGE_SIZE, FINER, IMAGE_SIZE, FINER)
    means: NDArray[np.floating] = images.reshape(shape).mean(axis=(-3, -1))
    return means


def paint(
    sky: Images, world: WCS, pixel_arcsec: float, position: tuple[float, float], field_arcsec: float
) -> tuple[tuple[slice, slice], Images, NDArray[np.float64]]:
    """Average a field of the sky over the pixels of a mosaic.

    Returns the window of the mosaic, the means (0 outside the field), and where the pixels' centres are in the field,
    to the north and to the east, `(2, height, width)`.
    """
    x, y = world.wcs_world2pix([position], 0)[0]
    reach = int(field_arcsec / pixel_arcsec * 0.72) + 1
    window = (slice(int(y) - reach, int(y) + reach), slice(int(x) - reach, int(x) + reach))
    points = int(np.ceil(pixel_arcsec / SUB_ARCSEC))
    steps = (np.arange(points) + 0.5) / points - 0.5
    rows, columns = np.mgrid[window]

    def place(rows: NDArray[np.float64], columns: NDArray[np.float64]) -> NDArray[np.float64]:
        # A field is so small that its coordinates are linear in those of the mosaic.
        ra, dec = world.wcs_pix2world(np.stack([columns.ravel(), rows.ravel()], axis=1), 0).T
        east, north = (ra - position[0]) * np.cos(np.deg2rad(dec)), dec - position[1]
        return np.stack([north, east]).reshape(2, *rows.shape) * 3600 / field_arcsec + 0.5

    centres = place(rows.astype(float), columns.astype(float))
    down, along = centres[:, 1, 0] - centres[:, 0, 0], centres[:, 0, 1] - centres[:, 0, 0]
    total = np.zeros(rows.shape)
    size = sky.shape[-1]
    for up in steps:
        for right in steps:
            north, east = centres + (up * down + right * along)[:, None, None]
            inside = (north >= 0) & (north < 1) & (east > 0) & (east <= 1)
            taken = sky[
                np.clip((north * size).astype(int), 0, size - 1),
                np.clip(((1 - east) * size).astype(int), 0, size - 1),
            ]
            total += np.where(inside, taken, 0)
    return window, (total / points**2).astype(np.float32), centres


def exact(
    image: Images, world: WCS, window: tuple[slice, slice], position: tuple[float, float], field: float
) -> Images:
    """Average a window of a mosaic on the model's grid without approximations; slow."""
    part = world[window]
    grid = WCS(naxis=2)
    grid.wcs.ctype, grid.wcs.crval = ["RA---TAN", "DEC--TAN"], list(position)
    grid.wcs.crpix = [(IMAGE_SIZE + 1) / 2] * 2
    grid.wcs.cdelt = np.array([-1, 1]) * field / IMAGE_SIZE / 3600
    means, _ = reproject_exact(
        (image[window].astype(float), part), grid, shape_out=(IMAGE_SIZE, IMAGE_SIZE), parallel=False
    )
    return np.asarray(means, np.float32)


def noise_of(facts: FilterFacts, pixel_arcsec: float) -> float:
    """Noise of a mosaic's pixels of which the means on the model's grid at z = 2 are as noisy as the archive's images.

    Pixels across an edge of the grid count in part, so that a mean over `ratio` x `ratio` of them at any place has
    the variance of `(ratio / (1 - 1 / (3 ratio)))²` whole ones.
    """
    ratio = PIXEL_ARCSEC / pixel_arcsec
    return facts.noise_std * ratio / (1 - 1 / (3 * ratio))


def write_survey(
    folder: Path, sky: Images, scales: tuple[float, float], turned: tuple[float, float], seed: int
) -> list[str]:
    """Write stamps, mosaics, weights and a catalogue; returns the options that name the survey.

    Args:
        folder: Where to write them.
        sky: Fields without noise, `(n, 2, 225, 225)`.
        scales: Pixels of the mosaics in arcsec.
        turned: Angles of the mosaics in degrees.
        seed: Seed of the redshifts and of the noise.
    """
    count = len(sky)
    side = int(np.ceil(np.sqrt(count)))
    random = np.random.default_rng(seed)
    redshifts = random.uniform(1.5, 2.5, count)
    places = (np.stack(np.divmod(np.arange(count), side), axis=1) - (side - 1) / 2) * APART / 3600
    dec = DEC + places[:, 0]
    ra = RA + places[:, 1] / np.cos(np.deg2rad(dec))
    gaps = set(range(7, count, 20))
    stamps = binned(sky)
    options = []
    for channel, facts in enumerate(FILTERS):
        scale = scales[channel]
        pixels = int(APART * (side + 0.5) * 1.42 / scale)
        world = world_of(pixels, scale, turned[channel])
        image = random.standard_normal((pixels, pixels), np.float32)
        image *= np.float32(noise_of(facts, scale))
        weight = np.ones((pixels, pixels), np.uint8)
        for number in range(count):
            field = FIELD_KPC / kpc_per_arcsec(redshifts[number])
            position = float(ra[number]), float(dec[number])
            window, values, (north, east) = paint(sky[number, channel], world, scale, position, field)
            stamps[number, channel] += exact(image, world, window, position, field)
            image[window] += values
            if channel and number in gaps:
                weight[window][(abs(north - GAP / 2) < GAP / 2) & (abs(east - GAP / 2) < GAP / 2)] = 0
        image[weight == 0] = 0
        header = world.to_header()
        header.update({"BUNIT": "uJy/arcsec2", "FILTER": facts.name.upper()})
        names = [folder / f"survey_{facts.name}_drz_{kind}.fits" for kind in ("sci", "wht")]
        for name, written in zip(names, (image, weight), strict=True):
            fits.writeto(name, written, header)
        options += ["--mosaic", f"{facts.name}={names[0]}", "--weight", f"{facts.name}={names[1]}"]
    table = Table({"NUMBER": np.arange(1, count + 1), "ALPHA_J2000": ra, "DELTA_J2000": dec})
    table["zbest"] = MaskedColumn(redshifts, mask=np.arange(count) % 25 == 3)
    table.write(folder / "catalogue.fits")
    np.save(folder / "stamps.npy", stamps)
    return [*options, "--catalogue", str(folder / "catalogue.fits")]


def predict(arguments: list[str], model: Path, output: Path) -> Table:
    """Run `mergershift predict` and read its table."""
    command = [sys.executable, "-m", "mergershift", "predict", *arguments]
    done = subprocess.run([*command, "--model", str(model), "--output", str(output)], check=False)
    if done.returncode or not output.is_file():
        raise click.ClickException(f"{' '.join(command)}: exit code {done.returncode}")
    return Table.read(output)


def column(table: Table, name: str) -> NDArray[np.float64]:
    """Return a column, NaN where it is masked."""
    values: NDArray[np.float64] = np.ma.filled(np.ma.asarray(table[name], np.float64), np.nan)
    return values


def compare(survey: Table, stamps: Table) -> None:
    """Print how the probabilities of the survey differ from those of the stamps, and the survey's flags."""
    one, other = column(survey, "probability"), column(stamps, "probability")
    both = np.isfinite(one) & np.isfinite(other)
    shift = (one - other)[both]
    size = abs(shift)
    calls = [np.asarray(table["merger"])[both].astype(bool) for table in (survey, stamps)]
    print(f"{len(survey)} galaxies, {both.sum()} predicted")
    print(
        f"difference of probabilities: median {np.median(size):.4f}, 90 % {np.percentile(size, 90):.4f}, "
        f"largest {size.max():.4f}; median shift {np.median(shift):+.4f}"
    )
    print(f"changed calls: {np.mean(calls[0] != calls[1]):.1%}")
    for facts in FILTERS:
        covered = column(survey, f"coverage_{facts.name}")[both]
        noises = [np.median(column(table, f"sky_noise_{facts.name}")[both]) for table in (survey, stamps)]
        print(
            f"{facts.name}: coverage {covered.mean():.3f} (least {covered.min():.3f}), "
            f"noise {noises[0]:.3f}, that of the stamps {noises[1]:.3f} µJy/arcsec²"
        )
    for name, table in (("survey", survey), ("stamps", stamps)):
        texts = [str(flags) for flags in table["flag"] if flags is not np.ma.masked]
        words = [word for text in texts for word in text.split("; ") if word]
        counts = {word: words.count(word) for word in sorted(set(words))}
        print(f"flags of the {name}: {', '.join(f'{word} ({n})' for word, n in counts.items()) or 'none'}")


@click.command()
@click.option(
    "--model", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of a model."
)
@click.option(
    "--galaxies", default=25, show_default=True, help="Number of galaxies, each seen from four sides."
)
@click.option(
    "--scales", type=(float, float), default=(0.03, 0.06), show_default=True, help="Pixels in arcsec."
)
@click.option(
    "--turned", type=(float, float), default=(33.0, -12.0), show_default=True, help="Angles in degrees."
)
@click.option("--seed", default=4242, show_default=True)
@click.option(
    "--keep", type=click.Path(path_type=Path), help="New folder for the survey, the tables and the page."
)
def main(
    model: Path,
    galaxies: int,
    scales: tuple[float, float],
    turned: tuple[float, float],
    seed: int,
    keep: Path | None,
) -> None:
    """Make the survey, predict from it and from the stamps, and print how they differ."""
    sky = render(galaxies, seed)
    with ExitStack() as stack:
        if keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=".")))
        else:
            folder = keep
            folder.mkdir()
        options = write_survey(folder, sky, scales, turned, seed)
        survey = predict(
            [*options, "--report", "--cutouts", str(folder / "cutouts.npy")], model, folder / "survey.ecsv"
        )
        stamps = predict([str(folder / "stamps.npy")], model, folder / "stamps.ecsv")
        compare(survey, stamps)


if __name__ == "__main__":
    main()
