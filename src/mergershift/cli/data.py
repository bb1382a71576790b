"""`mergershift data`: what the archive is, getting it, making a mock of it, checking it."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import click

from mergershift.archive.facts import FILTER_SETS
from mergershift.cli import data_folder
from mergershift.cli.groups import OrderedGroup

WHICH_FILTERS = {**{name: (name,) for name in FILTER_SETS}, "both": tuple(FILTER_SETS)}
WHICH_DOMAINS = {"pristine": ("pristine",), "noisy": ("noisy",), "both": ("pristine", "noisy")}
WHICH_FORMATS = {"npy": ("npy",), "fits": ("fits",), "both": ("npy", "fits")}

FOLDER: Callable[[Any], Any] = click.option(
    "--data",
    "chosen",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Data folder.  [default: data/ of the checkout, else ./data]",
)
FILTERS: Callable[[Any], Any] = click.option(
    "--filters",
    type=click.Choice(list(WHICH_FILTERS)),
    default="both",
    show_default=True,
    help="Filter sets.",
)
REPLACE: Callable[[Any], Any] = click.option(
    "--replace", is_flag=True, help="Put the files in the place of another archive that lies there."
)


@click.group(cls=OrderedGroup)
def data() -> None:
    """The archive: what it is, getting it, checking it."""


@data.command()
@FOLDER
def info(chosen: Path | None) -> None:
    """What the archive holds, and what of it lies here."""
    from mergershift import archive
    from mergershift.archive.provenance import read_provenance
    from mergershift.archive.readers import formats
    from mergershift.archive.replacement import recover

    folder = data_folder.folder(chosen)
    recover(folder)
    rows = archive.PUBLISHED_ROWS
    click.echo(
        f"DeepMerge, Illustris-1 at z = {archive.REDSHIFT:g}, doi:{archive.DOI}\n{archive.BASE_ADDRESS}"
    )
    click.echo(
        f"{rows.rows} images of {rows.mergers} merging and {rows.non_mergers} other galaxies, "
        f"{archive.IMAGE_SIZE} x {archive.IMAGE_SIZE} pixels of {archive.PIXEL_ARCSEC} arcsec, "
        f"{archive.FIELD_KPC:g} kpc a side, float64 in {archive.UNIT}\n"
    )
    click.echo(f"{'filters':8}{'domain':10}{'channels':22}{'published':>10}   in {folder}")
    for (name, domain), each in archive.DATA_SETS.items():
        size = f"{prod(each.shape()) * 8 / 1e9:.2f} GB"
        here = ", ".join(
            f"{format} {data_folder.shape(folder, each, format)}" for format in formats(folder, each)
        )
        channels = ", ".join(each.filter_set.filter_names)
        click.echo(f"{name:8}{domain:10}{channels:22}{size:>10}   {here or '-'}")
    if not archive.available(folder):
        click.echo(
            "\nNothing of it is here: `mergershift data mock` makes a mock, `mergershift data fetch` fetches it"
        )
        return
    known = read_provenance(folder)
    click.echo(f"\nHere: {known or 'of unknown provenance (no PROVENANCE.json)'}")
    structure = archive.read_structure(folder, archive.available(folder)[0])
    click.echo(
        f"      {structure.rows} rows, {structure.mergers} mergers, {structure.non_mergers} non-mergers"
    )


@data.command()
@FOLDER
def verify(chosen: Path | None) -> None:
    """Check names, hashes, shapes, values, labels and row order; exit code 1 if anything is wrong."""
    from mergershift.archive.replacement import recover

    folder = data_folder.folder(chosen)
    recover(folder)
    if not data_folder.verified(folder):
        click.get_current_context().exit(1)


@data.command()
@FOLDER
@FILTERS
@click.option(
    "--domain", type=click.Choice(list(WHICH_DOMAINS)), default="both", show_default=True, help="Domains."
)
@click.option(
    "--format",
    "which",
    type=click.Choice(list(WHICH_FORMATS)),
    default="npy",
    show_default=True,
    help="Formats.",
)
@click.option(
    "--address", help="Where the files lie.  [default: `address` in conf/archive, else that at STScI]"
)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=4, show_default=True, help="Files fetched at a time."
)
@REPLACE
def fetch(
    chosen: Path | None, filters: str, domain: str, which: str, address: str | None, jobs: int, replace: bool
) -> None:
    """Fetch the published archive, or what is missing of it; a broken download goes on where it stopped."""
    from mergershift.archive import BASE_ADDRESS, DATA_SETS, Domain
    from mergershift.archive.fetching.fetch import fetch as fetch_files
    from mergershift.archive.fetching.fetch import wanted_files

    folder = data_folder.folder(chosen)
    config = data_folder.archive_config()
    sets = [
        DATA_SETS[name, Domain(each)] for name in WHICH_FILTERS[filters] for each in WHICH_DOMAINS[domain]
    ]
    source = address or (config.address if config else BASE_ADDRESS)
    wanted = wanted_files(sets, [format for format in ("npy", "fits") if format in WHICH_FORMATS[which]])
    done = fetch_files(folder, wanted, source, replace=replace, jobs=jobs)
    click.echo(f"{folder}: {len(done.downloaded)} files fetched, {len(done.kept)} kept as in the manifest")
    if done.downloaded and not data_folder.verified(folder):
        click.echo("Not pinned, because something is wrong; `dvc add` pins it all the same")
        click.get_current_context().exit(1)
    data_folder.hand_over(folder)


@data.command()
@FOLDER
@click.option(
    "--mergers", type=click.IntRange(min=1), default=150, show_default=True, help="Merging galaxies."
)
@click.option(
    "--non-mergers", type=click.IntRange(min=1), default=300, show_default=True, help="Other galaxies."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=100, show_default=True, help="Seed of the universe."
)
@FILTERS
@click.option("--fits", is_flag=True, help="Write FITS files besides npy.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes.  [default: one a processor]")
@REPLACE
def mock(
    chosen: Path | None,
    mergers: int,
    non_mergers: int,
    seed: int,
    filters: str,
    fits: bool,
    workers: int | None,
    replace: bool,
) -> None:
    """Make a mock archive: simulated encounters and discs, in the archive's files, names and row order."""
    from mergershift.archive.mock import MOCK_VERSION
    from mergershift.archive.mock.make import make_mock
    from mergershift.archive.provenance import MockProvenance

    folder = data_folder.folder(chosen)
    wanted = MockProvenance(
        seed=seed,
        mergers=mergers,
        non_mergers=non_mergers,
        mock_version=MOCK_VERSION,
        filter_sets=WHICH_FILTERS[filters],
        fits=fits,
    )
    made = make_mock(folder, wanted, replace=replace, workers=workers)
    click.echo(
        f"{folder}: {wanted}" if made else f"{folder}: this very mock is there, complete; nothing to do"
    )
    data_folder.hand_over(folder)


@data.command()
@FOLDER
@click.option(
    "--from",
    "arrays",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder with subsamples_ID.npy, subsamples_y.npy and logMstar.npy, as the authors publish them.",
)
def metadata(chosen: Path | None, arrays: Path) -> None:
    """Add what the authors publish of each image: subhalo id, past or future merger, stellar mass."""
    from mergershift.archive.metadata import add_published_metadata
    from mergershift.archive.provenance import read_provenance
    from mergershift.archive.replacement import locked
    from mergershift.core.errors import UserError

    folder = data_folder.folder(chosen)
    with locked(folder):
        known = read_provenance(folder)
        if known and known.kind == "mock":
            raise UserError(
                f"{folder}: holds a {known}\nIts metadata came with it; the published ones are the archive's"
            )
        click.echo(f"{add_published_metadata(folder, arrays)}: written")
    data_folder.hand_over(folder)


@data.command()
@FOLDER
def leakage(chosen: Path | None) -> None:
    """How many test images show a galaxy that is seen in training, under our split and the published one."""
    from mergershift import archive
    from mergershift.config import compose
    from mergershift.images import leakage as audit

    folder = data_folder.folder(chosen)
    here = archive.available(folder)
    structure = archive.read_structure(folder, here[0]) if here else archive.PUBLISHED_ROWS
    click.echo(
        f"{structure.rows} rows as in {folder if here else 'the published archive (no files are here)'}"
    )
    for split in ("by_galaxy", "published_leaky"):
        for name, leak in audit(structure, compose([f"split={split}"]).split).items():
            click.echo(
                f"{split:16}{name:12}{leak.seen_in_training:6} of {leak.test_images:5} test images "
                f"show a galaxy seen in training ({leak.fraction:.1%})"
            )
