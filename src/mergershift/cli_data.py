"""`mergershift data`: what the archive is, getting it, making a mock of it, checking it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mergershift.archive.findings import Report

WHICH_FILTERS = {"two": ("two",), "three": ("three",), "both": ("two", "three")}
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


@click.group()
def data() -> None:
    """The archive: what it is, getting it, checking it."""


@data.command()
@FOLDER
def info(chosen: Path | None) -> None:
    """What the archive holds, and what of it lies here."""
    from mergershift import archive
    from mergershift.archive.provenance import read_provenance
    from mergershift.archive.readers import formats
    from mergershift.archive.swap import recover

    folder = _folder(chosen)
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
        size = f"{_bytes(each.shape()) / 1e9:.2f} GB"
        here = ", ".join(
            f"{format} {archive.open_images(folder, each, format).shape}" for format in formats(folder, each)
        )
        channels = ", ".join(each.filter_set.filter_names)
        click.echo(f"{name:8}{domain:10}{channels:22}{size:>10}   {here or '-'}")
    if not archive.available(folder):
        click.echo(
            "\nNothing of it is here: `mergershift data mock` makes a mock, `mergershift data fetch` fetches it"
        )
        return
    known = read_provenance(folder)
    structure = archive.read_structure(folder, archive.available(folder)[0])
    click.echo(f"\nHere: {known or 'of unknown provenance (no PROVENANCE.json)'}")
    click.echo(
        f"      {structure.rows} rows, {structure.mergers} mergers, {structure.non_mergers} non-mergers"
    )


@data.command()
@FOLDER
def verify(chosen: Path | None) -> None:
    """Check names, hashes, shapes, values, labels and row order; exit code 1 if anything is wrong."""
    from mergershift.archive.swap import recover

    folder = _folder(chosen)
    recover(folder)
    if not _verified(folder):
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
    from mergershift.archive.fetch import fetch as fetch_files
    from mergershift.archive.fetch import wanted_files

    folder = _folder(chosen)
    config = _archive_config()
    sets = [
        DATA_SETS[name, Domain(each)] for name in WHICH_FILTERS[filters] for each in WHICH_DOMAINS[domain]
    ]
    source = address or (config.address if config else BASE_ADDRESS)
    wanted = wanted_files(sets, [format for format in ("npy", "fits") if format in WHICH_FORMATS[which]])
    done = fetch_files(folder, wanted, source, replace=replace, jobs=jobs)
    click.echo(f"{folder}: {len(done.downloaded)} files fetched, {len(done.kept)} kept as in the manifest")
    if done.downloaded and not _verified(folder):
        click.echo("Not pinned, because something is wrong; `dvc add` pins it all the same")
        click.get_current_context().exit(1)
    _hand_over(folder)


@data.command()
@FOLDER
@click.option(
    "--mergers", type=click.IntRange(min=1), default=150, show_default=True, help="Merging galaxies."
)
@click.option(
    "--non-mergers", type=click.IntRange(min=1), default=300, show_default=True, help="Other galaxies."
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Seed of the universe."
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
    from mergershift.archive.making import make_mock
    from mergershift.archive.mock import MOCK_VERSION
    from mergershift.archive.provenance import MockProvenance

    folder = _folder(chosen)
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
    _hand_over(folder)


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
    from mergershift.archive.swap import locked
    from mergershift.errors import UserError

    folder = _folder(chosen)
    with locked(folder):
        known = read_provenance(folder)
        if known and known.kind == "mock":
            raise UserError(
                f"{folder}: holds a {known}\nIts metadata came with it; the published ones are the archive's"
            )
        click.echo(f"{add_published_metadata(folder, arrays)}: written")
    _hand_over(folder)


def _archive_config() -> Any:
    """conf/archive of the checkout; None outside one."""
    from mergershift.config import compose
    from mergershift.errors import UserError
    from mergershift.project import root

    try:
        root()
    except UserError:
        return None
    return compose().archive


def _folder(chosen: Path | None) -> Path:
    from mergershift.project import root

    if chosen is not None:
        return chosen
    config = _archive_config()
    path = root() / config.folder if config else Path("data")
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _verified(folder: Path) -> bool:
    """Check a data folder and print what was found."""
    from mergershift.archive.bars import Bars
    from mergershift.archive.verify import bytes_to_read
    from mergershift.archive.verify import verify as check

    with Bars() as bars:
        report = check(folder, bars.bar("checking", bytes_to_read(folder)))
    _print(report)
    return report.sound


def _print(report: Report) -> None:
    click.echo("mean and standard deviation in µJy/arcsec², the published ones in brackets")
    for file in dict.fromkeys(row.file for row in report.statistics):
        click.echo(file)
        for row in (each for each in report.statistics if each.file == file):
            click.echo(
                f"  {row.filter}   mean {row.mean:7.4f} ({row.published_mean:.4f})"
                f"   deviation {row.std:6.3f} ({row.published_std:.3f})"
            )
    for finding in report.findings:
        click.echo(str(finding))
    errors = sum(each.level == "error" for each in report.findings)
    warnings = len(report.findings) - errors
    click.echo(f"{len(report.checked)} files checked: {errors} errors, {warnings} warnings")


def _hand_over(folder: Path) -> None:
    """Pin a data folder and, if it is the checkout's own, let the study run the filter sets that it has."""
    from mergershift.archive import FILTER_SETS, Domain, available
    from mergershift.archive.pinning import pin

    click.echo(pin(folder))
    config = _archive_config()
    if not config or folder.resolve() != _folder(None).resolve():
        return
    from mergershift.study import set_filters

    here = [(each.filter_set.name, each.domain) for each in available(folder)]
    present = [name for name in FILTER_SETS if all((name, domain) in here for domain in Domain)]
    if not present:
        click.echo(
            "No filter set is here in both domains, which the pipeline needs; conf/study.yaml is as it was"
        )
    elif set_filters(present):
        click.echo(f"conf/study.yaml: filters set to {', '.join(present)}, which is what {folder} holds")


def _bytes(shape: Sequence[int]) -> int:
    from math import prod

    return prod(shape) * 8
