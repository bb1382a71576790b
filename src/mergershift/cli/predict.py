"""The command that predicts on one's own images; heavy imports are inside it."""

from __future__ import annotations

from pathlib import Path

import click

from mergershift.cli.groups import Command

MOST_REFUSALS = 100
"""Number of refused files that are listed individually; the rest are only counted."""


@click.command(cls=Command)
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...")
@click.option(
    "--model",
    default="models:/mergershift@champion",
    show_default=True,
    help="Model to use: models:/NAME@ALIAS, models:/NAME/VERSION, or the folder of a model.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="predictions.ecsv",
    show_default=True,
    help="File of the table, with suffix .ecsv, .fits or .parquet.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing table.")
@click.option("--unit", help="Unit of images whose header does not give one, for instance nJy/pixel.")
@click.option(
    "--pixel-arcsec",
    type=click.FloatRange(min=0, min_open=True),
    help="Pixel scale (arcsec) of images whose header does not give one.",
)
@click.option(
    "--redshift",
    type=click.FloatRange(min=0, min_open=True),
    help="Redshift of images whose header does not give one.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Number of CPU threads.  [default: all cores]")
def predict(
    images: tuple[str, ...],
    model: str,
    output: Path,
    overwrite: bool,
    unit: str | None,
    pixel_arcsec: float | None,
    redshift: float | None,
    threads: int | None,
) -> None:
    """Predict which of your own IMAGES show mergers.

    IMAGES are files, folders or patterns of npy stacks and FITS cubes in the model's filters, (C, H, W) or
    (N, C, H, W). FITS images are converted to the model's unit and rebinned to its pixel grid, using the unit (BUNIT),
    pixel scale (WCS, PIXSCALE) and redshift (REDSHIFT) in their headers. FITS images without a pixel scale, and npy
    images, have to be on that grid already.
    """
    from mergershift.predicting.arguments import check_arguments

    check_arguments(images, model, output, overwrite=overwrite, unit=unit)

    from mergershift.predicting.command import predict_step
    from mergershift.predicting.conversion import Assumed

    assumed = Assumed(unit, pixel_arcsec, redshift)
    lines, refused = predict_step(images, model, output, assumed=assumed, threads=threads)
    for line in lines:
        click.echo(line)
    for name, reason in list(refused.items())[:MOST_REFUSALS]:
        click.echo(f"Refused: {name}: {reason}.", err=True)
    if len(refused) > MOST_REFUSALS:
        click.echo(f"Refused: {len(refused) - MOST_REFUSALS} more files.", err=True)
    if refused:
        click.get_current_context().exit(1)
