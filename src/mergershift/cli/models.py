"""The commands after the study: tune, register, promote, predict, sync. Nothing heavy is imported until one runs."""

from __future__ import annotations

from pathlib import Path

import click

from mergershift.cli.groups import Command

MOST_REFUSALS = 100
"""That are named one by one."""
OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")


@click.command(cls=Command)
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
    from mergershift.predicting.conversion import Assumed

    assumed = Assumed(unit, pixel_arcsec, redshift)
    lines, refused = predict_step(
        images, model, output, assumed=assumed, overwrite=overwrite, threads=threads
    )
    for line in lines:
        click.echo(line)
    for name, reason in list(refused.items())[:MOST_REFUSALS]:
        click.echo(f"Refused: {name}: {reason}.", err=True)
    if len(refused) > MOST_REFUSALS:
        click.echo(f"Refused: {len(refused) - MOST_REFUSALS} more files.", err=True)
    if refused:
        click.get_current_context().exit(1)


@click.command(cls=Command)
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
    from mergershift.tuning.tune import tune_step, worker_step

    if worker:
        worker_step(overrides)
    else:
        click.echo(tune_step(overrides, workers))


@click.command(cls=Command)
@click.option(
    "--cell",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="An evaluated training, instead of the study's best.",
)
@OVERRIDES
def register(cell: Path | None, overrides: tuple[str, ...]) -> None:
    """Register the study's best training as a candidate, with its card; the same model again is the same version.

    KEY=VALUE says of which part of the study: filters=two transfer=pristine_to_noisy. No target label takes part in
    the choice.
    """
    from mergershift.registry.register import register_step

    click.echo(register_step(overrides, cell))


@click.command(cls=Command)
@click.option(
    "--force", metavar="REASON", help="Promote whatever the comparison says; the reason is recorded."
)
@click.option(
    "--oracle-gate",
    is_flag=True,
    help="Demand besides that it beats the champion on the target's test labels.",
)
@click.argument("arguments", nargs=-1, metavar="[VERSION] [KEY=VALUE]...")
def promote(arguments: tuple[str, ...], force: str | None, oracle_gate: bool) -> None:
    """Make a candidate the champion if it beats the present one; the newest candidate without VERSION.

    They are compared on the target's validation images by selection.best_by, which sees no target label.
    """
    from mergershift.registry.promote import promote_step

    numbers = [each for each in arguments if each.isdecimal()]
    if len(numbers) > 1:
        raise click.UsageError(f"{' and '.join(numbers)}: only one VERSION can be promoted.")
    if force is not None and oracle_gate:
        raise click.UsageError("--force skips the comparison, --oracle-gate adds to it: take one of them.")
    if force is not None and not force.strip():
        raise click.UsageError("--force needs a reason that others will understand.")
    overrides = tuple(each for each in arguments if not each.isdecimal())
    number = int(numbers[0]) if numbers else None
    click.echo(promote_step(overrides, number, force, oracle_gate))


@click.command(cls=Command)
@click.argument(
    "folders",
    nargs=-1,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="[FOLDER]...",
)
def sync(folders: tuple[Path, ...]) -> None:
    """Publish finished trainings that the MLflow server does not know, or not wholly; again, nothing doubles.

    All of outputs/ and of the tuning studies, or those in FOLDER: trained without a server, taken from DVC's cache
    or a colleague's, or recorded elsewhere before.
    """
    from mergershift.tracking.sync import sync as publish_missing

    synced = publish_missing(folders)
    for problem in synced.problems:
        click.echo(problem, err=True)
    click.echo(synced)
    if synced.problems:
        click.get_current_context().exit(1)
