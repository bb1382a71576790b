"""The command that predicts on one's own images; heavy imports are inside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mergershift.cli.groups import Command

if TYPE_CHECKING:
    from mergershift.predicting.mosaics.options import Survey
    from mergershift.predicting.planes import Given

SECTIONS = {
    "--model": "Model and results",
    "--catalogue": "Objects of a catalogue",
    "--unit": "What files do not say",
    "--check": "Running",
}
"""The headings of the help, by the option that begins their section."""


@click.command(cls=Command, sections=SECTIONS)
@click.argument("images", nargs=-1, metavar="[IMAGES...]")
@click.option(
    "--model",
    default="models:/mergershift@champion",
    show_default=True,
    help="models:/NAME@ALIAS, models:/NAME/VERSION, or the folder of a model.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="predictions.ecsv",
    show_default=True,
    help="The table: .ecsv, .fits, .parquet, .vot or .xml (VOTable).",
)
@click.option(
    "--report", is_flag=True, help="Also write a page on the set of images, .html beside the table."
)
@click.option("--overwrite", is_flag=True, help="Replace existing results.")
@click.option(
    "--catalogue",
    metavar="FILE",
    help="FITS, VOTable, ECSV, CSV, Parquet, or text of SExtractor or IPAC.",
)
@click.option(
    "--mosaic",
    multiple=True,
    metavar="FILTER=FILE",
    help="A file, pattern of tiles or address; give it once for each filter.",
)
@click.option(
    "--weight",
    multiple=True,
    metavar="FILTER=FILE",
    help="Its weights, 0 where there is no value; one file a tile, in the same order.",
)
@click.option(
    "--columns",
    metavar="ROLE=COLUMN,...",
    help="Columns that are not found: id=NUMBER,ra=RA_J2,dec=DEC_J2,z=zbest.",
)
@click.option(
    "--cutouts",
    type=click.Path(path_type=Path),
    help="Keep the images as the network saw them (npy), in the table's order.",
)
@click.option("--unit", help="Unit of the pixels, such as nJy/pixel.")
@click.option(
    "--pixel-arcsec",
    type=click.FloatRange(min=0, min_open=True),
    help="Side of a pixel in arcsec.",
)
@click.option(
    "--redshift",
    type=click.FloatRange(min=0, min_open=True),
    help="Redshift of the galaxies.",
)
@click.option(
    "--filters",
    metavar="FILTER,...",
    help="Filters of the channels, in their order: f814w,f160w.",
)
@click.option(
    "--override",
    is_flag=True,
    help="Let these count even where headers or the catalogue differ.",
)
@click.option("--check", is_flag=True, help="Only say what is understood of the files.")
@click.option(
    "--views",
    type=click.Choice(["8", "1"]),
    help="Turned and mirrored views that are averaged.  [default: 8]",
)
@click.option("--threads", type=click.IntRange(min=1), help="Number of CPU threads.  [default: all cores]")
def predict(
    images: tuple[str, ...],
    model: str,
    output: Path,
    report: bool,
    overwrite: bool,
    catalogue: str | None,
    mosaic: tuple[str, ...],
    weight: tuple[str, ...],
    columns: str | None,
    cutouts: Path | None,
    check: bool,
    unit: str | None,
    pixel_arcsec: float | None,
    redshift: float | None,
    filters: str | None,
    override: bool,
    views: str | None,
    threads: int | None,
) -> None:
    """Predict which of your own IMAGES show mergers.

    IMAGES are FITS and npy files, folders or patterns: (C, H, W) or (N, C, H, W), or one file or HDU a filter. Unit,
    pixel scale, redshift and filters are read from headers, and images are converted to the model's unit and grid.
    npy images have to be on that grid already.

    With --catalogue and a --mosaic for each filter, the images are cut out of the mosaics, with a row for each object.

    Exit status: 1 for errors and refused IMAGES; 0 otherwise, even if objects of a catalogue have no prediction. With
    --check it is what that of the prediction would be, as far as headers and positions say.
    """
    from mergershift.predicting.arguments import check_arguments, parse_filters
    from mergershift.predicting.mosaics.options import parse_survey

    page = output.with_suffix(".html") if report else None
    survey = parse_survey(images, catalogue, mosaic, weight, columns)
    names = parse_filters(filters)
    if survey is None and not images:
        raise click.UsageError("Name IMAGES, or a --catalogue with a --mosaic for each filter.")
    if survey is not None and (names is not None or pixel_arcsec is not None):
        raise click.UsageError(
            "--filters and --pixel-arcsec are for IMAGES: mosaics have theirs by --mosaic and WCS."
        )
    if check and (report or cutouts is not None):
        raise click.UsageError("--check predicts nothing: leave out --report and --cutouts.")
    table = None if check else output
    check_arguments(images, model, table, overwrite=overwrite, unit=unit, report=page, cutouts=cutouts)

    from mergershift.predicting.planes import Given

    given = Given(unit, pixel_arcsec, redshift, names, override)
    asked: tuple[str, ...] | Survey = survey or images
    if check:
        _check(asked, model, given)
    else:
        count = int(views) if views else None
        _predict(
            asked, model, output, given=given, threads=threads, report=page, cutouts=cutouts, views=count
        )


def _check(images: tuple[str, ...] | Survey, model: str, given: Given) -> None:
    from mergershift.predicting.check import Check

    check = Check(images, model, given)
    for line in check.lines():
        click.echo(line)
    if check.refused:
        click.get_current_context().exit(1)


def _predict(
    images: tuple[str, ...] | Survey,
    model: str,
    output: Path,
    *,
    given: Given,
    threads: int | None,
    report: Path | None,
    cutouts: Path | None,
    views: int | None,
) -> None:
    from mergershift.predicting.command import predict_step

    summary = predict_step(
        images, model, output, given=given, threads=threads, report=report, cutouts=cutouts, views=views
    )
    for line in summary.lines(output):
        click.echo(line)
    if cutouts is not None:
        click.echo(f"{cutouts}: the images as the network saw them")
    if report is not None:
        click.echo(f"{report}: the page on these predictions")
    for line in summary.refusals():
        click.echo(line, err=True)
    if summary.refused and not summary.catalogue:
        click.get_current_context().exit(1)
