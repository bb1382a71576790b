"""`mergershift data`: describe the archive, fetch it, make a mock of it, and check it."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import click

from mergershift.archive.facts import FILTER_SETS
from mergershift.cli import data_folder
from mergershift.cli.groups import OrderedGroup
from mergershift.core.words import counted

WHICH_FILTERS = {**{name: (name,) for name in FILTER_SETS}, "both": tuple(FILTER_SETS)}
WHICH_DOMAINS = {"pristine": ("pristine",), "noisy": ("noisy",), "both": ("pristine", "noisy")}
WHICH_FORMATS = ("any", "npy", "fits", "both")

FOLDER: Callable[[Any], Any] = click.option(
    "--data",
    "chosen",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Data folder.  [default: data/ of the checkout; outside a checkout ./data]",
)
FILTERS: Callable[[Any], Any] = click.option(
    "--filters",
    type=click.Choice(list(WHICH_FILTERS)),
    default="both",
    show_default=True,
    help="Filter sets to use.",
)
REPLACE: Callable[[Any], Any] = click.option(
    "--replace", is_flag=True, help="Replace a different archive that the folder contains."
)


@click.group(cls=OrderedGroup)
def data() -> None:
    """Describe, fetch and check the archive, or make a mock of it."""


@data.command()
@FOLDER
def info(chosen: Path | None) -> None:
    """Describe the archive and the parts in the data folder."""
    from mergershift import archive
    from mergershift.archive.provenance import read_provenance
    from mergershift.archive.readers import formats
    from mergershift.archive.replacement import recover
    from mergershift.core.errors import UserError

    folder = data_folder.folder(chosen)
    recover(folder)
    rows = archive.PUBLISHED_ROWS
    click.echo(
        f"DeepMerge, Illustris-1 at z = {archive.REDSHIFT:g}, doi:{archive.DOI}\n{archive.BASE_ADDRESS}\n"
        f"{archive.terms_of('archive')}"
    )
    click.echo(
        f"{rows.rows} images of {rows.mergers} merging and {rows.non_mergers} other galaxies, "
        f"{archive.IMAGE_SIZE} x {archive.IMAGE_SIZE} pixels of {archive.PIXEL_ARCSEC} arcsec, "
        f"{archive.FIELD_KPC:g} kpc on a side, float64 in {archive.UNIT}\n"
    )
    click.echo(f"{'filters':8}{'domain':10}{'channels':22}{'published':>10}   in {folder}")
    for (name, domain), data_set in archive.DATA_SETS.items():
        size = f"{prod(data_set.shape()) * 8 / 1e9:.2f} GB"
        here = ", ".join(
            f"{format} {data_folder.shape(folder, data_set, format)}" for format in formats(folder, data_set)
        )
        channels = ", ".join(data_set.filter_set.filter_names)
        click.echo(f"{name:8}{domain:10}{channels:22}{size:>10}   {here or '-'}")
    if not archive.available(folder):
        click.echo(
            "\nNone of it is here yet: `mergershift data fetch` downloads it, `mergershift data mock` makes a mock."
        )
        return
    known = read_provenance(folder)
    click.echo(f"\nHere: {known or 'files of unknown provenance (no PROVENANCE.json)'}")
    if known is None or known.kind != "archive":
        click.echo(f"      {archive.terms_of(known.kind if known else 'unknown')}")
    try:
        rows_here = archive.read_rows(folder)
    except UserError as error:
        click.echo(f"      {error}")
        return
    mergers, others = counted(rows_here.mergers, "merger"), counted(rows_here.non_mergers, "non-merger")
    click.echo(f"      {counted(rows_here.rows, 'row')}, {mergers}, {others} (by {rows_here.found_by})")
    if uncertain := archive.limits(rows_here):
        click.echo(f"      {uncertain}")


@data.command()
@FOLDER
@click.option(
    "--write-manifest",
    is_flag=True,
    help="Record the hashes of files that came by another way, so that later damage is found.",
)
@click.option(
    "--address", metavar="URL", help="With --write-manifest: where the files come from, as you state."
)
def verify(chosen: Path | None, write_manifest: bool, address: str | None) -> None:
    """Check the archive in the data folder.

    Checks file names, hashes, shapes, values, labels, and the order of channels and rows. The exit code is 1 if there
    is an error.
    """
    from mergershift.archive.replacement import recover

    if address and not write_manifest:
        raise click.UsageError("--address is recorded in the manifest: give --write-manifest, too.")
    folder = data_folder.folder(chosen)
    recover(folder)
    if write_manifest:
        data_folder.record(folder, address)
    elif not data_folder.verified(folder):
        click.get_current_context().exit(1)


@data.command()
@FOLDER
@FILTERS
@click.option(
    "--domain",
    type=click.Choice(list(WHICH_DOMAINS)),
    default="both",
    show_default=True,
    help="Domains to fetch.",
)
@click.option(
    "--format",
    "which",
    type=click.Choice(WHICH_FORMATS),
    default="any",
    show_default=True,
    help="File formats to fetch; any: npy, or FITS where the server has no npy.",
)
@click.option(
    "--address", help="URL of the files.  [default: `address` in conf/archive; outside a checkout, STScI's]"
)
@click.option(
    "--jobs", type=click.IntRange(min=1), default=4, show_default=True, help="Number of parallel downloads."
)
@REPLACE
def fetch(
    chosen: Path | None, filters: str, domain: str, which: str, address: str | None, jobs: int, replace: bool
) -> None:
    """Fetch the missing files of the published archive.

    An interrupted download resumes where it stopped.
    """
    from mergershift.archive import BASE_ADDRESS, DATA_SETS, Domain
    from mergershift.archive.fetching.fetch import fetch as fetch_files
    from mergershift.archive.fetching.files import wanted

    folder = data_folder.folder(chosen)
    config = data_folder.archive_config()
    sets = [
        DATA_SETS[name, Domain(value)] for name in WHICH_FILTERS[filters] for value in WHICH_DOMAINS[domain]
    ]
    source = address or (config.address if config else BASE_ADDRESS)
    done = fetch_files(folder, wanted(sets, which), source, replace=replace, jobs=jobs)
    click.echo(
        f"{folder}: {counted(len(done.downloaded), 'file')} fetched, {len(done.kept)} kept (they match the manifest)"
    )
    if done.downloaded and not data_folder.verified(folder):
        click.echo("The archive has errors, so it was not pinned; `dvc add` pins it anyway.")
        click.get_current_context().exit(1)
    data_folder.hand_over(folder)


@data.command()
@FOLDER
@click.option(
    "--mergers",
    type=click.IntRange(min=1),
    default=150,
    show_default=True,
    help="Number of merging galaxies.",
)
@click.option(
    "--non-mergers",
    type=click.IntRange(min=1),
    default=300,
    show_default=True,
    help="Number of other galaxies.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Seed of the simulated galaxies.",
)
@FILTERS
@click.option("--fits", is_flag=True, help="Write FITS files in addition to npy.")
@click.option("--workers", type=click.IntRange(min=1), help="Number of processes.  [default: one per core]")
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
    """Make a mock archive of simulated galaxies.

    It contains encounters and discs, with the real archive's files, file names and row order.
    """
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
        f"{folder}: {wanted}" if made else f"{folder}: already contains exactly this mock; nothing to do"
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
    help="Folder with the authors' subsamples_ID.npy, subsamples_y.npy and logMstar.npy.",
)
def metadata(chosen: Path | None, arrays: Path) -> None:
    """Add the authors' metadata of the images.

    They give the subhalo id, past or future merger, and stellar mass of each image.
    """
    from mergershift.archive.authors_arrays import add_published_metadata
    from mergershift.archive.provenance import read_provenance
    from mergershift.archive.replacement import locked
    from mergershift.core.errors import UserError

    folder = data_folder.folder(chosen)
    with locked(folder):
        known = read_provenance(folder)
        if known and known.kind == "mock":
            raise UserError(
                f"{folder}: contains a {known}.\n"
                "It has its own metadata; the published metadata belong to the published archive."
            )
        click.echo(f"{add_published_metadata(folder, arrays)}: written")
    data_folder.hand_over(folder)


@data.command()
@FOLDER
def leakage(chosen: Path | None) -> None:
    """Count the test images whose galaxy is also in training, or shares its sky with one.

    The count is printed for our split by galaxy and for the published split, and the pairs of galaxies whose pristine
    images overlap are listed, such as both members of a merging pair.
    """
    from mergershift import archive
    from mergershift.archive.rows import clearest
    from mergershift.config import compose
    from mergershift.images import leakage as audit
    from mergershift.images.leakage import shared_sky

    folder = data_folder.folder(chosen)
    here = archive.available(folder)
    rows: archive.Rows = archive.read_rows(folder) if here else archive.PUBLISHED_ROWS
    click.echo(
        f"{counted(rows.rows, 'row')}, as in {folder if here else 'the published archive (there are no files here)'}"
    )
    if uncertain := archive.limits(rows):
        click.echo(f"warning: {uncertain}.\n  {archive.GALAXIES_REMEDY}")
    seen = "rendering" if rows.found_by == "renderings" else "galaxy"
    for split in ("by_galaxy", "published_leaky"):
        for name, leak in audit(rows, compose([f"split={split}"]).split).items():
            click.echo(
                f"{split:16}{name:12}{leak.seen_in_training:6} of {leak.test_images:5} test images "
                f"show a {seen} seen in training ({leak.fraction:.1%})"
            )
    if here:
        rule = compose(["split=by_galaxy"]).split
        for line in shared_sky(archive.open_images(folder, clearest(folder)), rows, rule):
            click.echo(line)
