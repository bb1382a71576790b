"""The commands after the study: tune, register, promote, predict, sync. Nothing heavy is imported until one runs."""

from __future__ import annotations

from pathlib import Path

import click

OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")


@click.command()
@click.argument("images", nargs=-1, required=True, metavar="IMAGES...")
@click.option(
    "--model",
    default="models:/mergershift@champion",
    show_default=True,
    help="models:/NAME@ALIAS, models:/NAME/VERSION, or the folder of such a model.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default="predictions.ecsv",
    show_default=True,
    help="The table; .ecsv, .fits or .parquet.",
)
@click.option("--overwrite", is_flag=True, help="Replace the table that lies there.")
@click.option("--unit", help="Unit of images whose header names none, like nJy/pixel.")
@click.option(
    "--pixel-arcsec", type=click.FloatRange(min=0, min_open=True), help="Pixel scale where none is stated."
)
@click.option(
    "--redshift", type=click.FloatRange(min=0, min_open=True), help="Redshift where none is stated."
)
@click.option(
    "--threads", type=click.IntRange(min=1), help="Threads of the processor.  [default: as many as it runs]"
)
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
    """Predict which of one's own IMAGES show mergers.

    IMAGES are npy stacks and FITS cubes with the model's filters, (C, H, W) or (N, C, H, W): files, folders and
    patterns. FITS headers say unit (BUNIT), pixel scale (WCS, PIXSCALE) and redshift (REDSHIFT): the images are
    converted and re-binned to the model's grid. Without a scale, and as npy, images have to be on it already.
    """
    from mergershift.predicting.command import predict_step
    from mergershift.predicting.plans import Assumed

    assumed = Assumed(unit, pixel_arcsec, redshift)
    lines, refused = predict_step(
        images, model, output, assumed=assumed, overwrite=overwrite, threads=threads
    )
    for line in lines:
        click.echo(line)
    for name, reason in refused.items():
        click.echo(f"Refused: {name}: {reason}.", err=True)
    if refused:
        click.get_current_context().exit(1)


@click.command()
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that run trials of the study side by side.",
)
@click.option("--worker", is_flag=True, hidden=True, help="Be one of these processes.")
@OVERRIDES
def tune(workers: int, worker: bool, overrides: tuple[str, ...]) -> None:
    """Search better values for a method, without target labels; the winner becomes an experiment file.

    What is searched stands in conf/tuning/<adaptation>.yaml. Given again, the command goes on where it was.
    """
    from mergershift.tuning import tune as tuning

    if worker:
        tuning.worker_step(overrides)
    else:
        click.echo(tuning.tune_step(overrides, workers))
