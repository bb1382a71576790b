"""The commands for models and runs: tune, pretrain, register, promote, sync, compare; heavy imports are inside them."""

from __future__ import annotations

from pathlib import Path

import click

from mergershift.cli.groups import Command

OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")


@click.command(cls=Command)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of processes that run trials in parallel.",
)
@click.option(
    "--on",
    metavar="NAME",
    help="Run them as jobs on a cluster: conf/launcher/NAME.yaml says what each asks for. `slurm` is one. The study "
    "has to be in PostgreSQL: tuning.storage=postgresql+psycopg://...",
)
@click.option("--attach", is_flag=True, help="With --on, only follow the workers of an earlier command.")
@click.option("--as-worker", is_flag=True, hidden=True, help="Run as one of these processes.")
@click.option(
    "--first-trial", type=int, default=0, hidden=True, help="First trial of this run of the search."
)
@OVERRIDES
def tune(
    workers: int,
    on: str | None,
    attach: bool,
    as_worker: bool,
    first_trial: int,
    overrides: tuple[str, ...],
) -> None:
    """Search for better hyperparameters of a method.

    \b
    For instance, 24 trials, which take about an hour on two cores:
      mergershift tune --workers 2 adaptation=mmd training=demo

    conf/tuning/<adaptation>.yaml sets the ranges, and the best trial becomes an experiment file. The search uses no
    target labels, unless its objective or its transfer is an oracle. Run the same command again to resume an
    interrupted search. On a cluster, Ctrl-C cancels the workers; they go on if the terminal is closed, and the same
    command follows them again.
    """  # noqa: D301
    if attach and on is None:
        raise click.UsageError("--attach follows workers on a cluster: add --on NAME.")
    from mergershift.tuning.tune import tune_step, worker_step

    if as_worker:
        worker_step(first_trial)
    else:
        click.echo(tune_step(overrides, workers, on, attach=attach))


@click.command(cls=Command)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the result.  [default: a folder in outputs/pretrained/, named after the settings]",
)
@OVERRIDES
def pretrain(output: Path | None, overrides: tuple[str, ...]) -> None:
    """Learn a network's features without labels, from the training images of both domains.

    \b
    For instance:
      mergershift pretrain pretraining.epochs=100
      mergershift train --init outputs/pretrained/...                                  fine-tunes all weights
      mergershift train --init outputs/pretrained/... training.frozen_features=true    trains the head alone

    The settings are those of conf/experiment/pretrained.yaml. A study pre-trains and trains in one cell with
    `experiment: pretrained` or `pretrained_frozen`. Run the same command again to resume an interrupted one.
    """  # noqa: D301
    from mergershift.config import compose
    from mergershift.stages.pretrain import pretrain_step, pretrained_folder

    chosen = any(override.startswith("experiment=") for override in overrides)
    config = compose(overrides if chosen else ("experiment=pretrained", *overrides))
    click.echo(pretrain_step(config, output or pretrained_folder(config)))


@click.command(cls=Command)
@click.option(
    "--cell",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    multiple=True,
    help="Folder of an evaluated training to register instead of the study's best one; several with --ensemble.",
)
@click.option(
    "--ensemble",
    is_flag=True,
    help="Register all seeds of the best method as one model, which averages them and gives their scatter.",
)
@OVERRIDES
def register(cell: tuple[Path, ...], ensemble: bool, overrides: tuple[str, ...]) -> None:
    """Register the study's best training as a candidate.

    KEY=VALUE chooses the part of the study: filters=two transfer=pristine_to_noisy. The choice of the training is
    label-free: it uses no target labels. The model gets a model card. A model that is already registered keeps its
    version.
    """
    if (ensemble and len(cell) == 1) or (len(cell) > 1 and not ensemble):
        raise click.UsageError(
            "An ensemble has several trainings: name each with --cell, and add --ensemble."
        )
    from mergershift.config import compose
    from mergershift.registry.choice import choose

    config = compose(overrides)
    choice = choose(config, cell, ensemble=ensemble)

    from mergershift.registry.register import register_step

    click.echo(register_step(config, choice))


@click.command(cls=Command)
@click.option("--force", metavar="REASON", help="Promote regardless of the comparison; REASON is recorded.")
@click.option(
    "--oracle-gate",
    is_flag=True,
    help="In addition, require that it beats the champion on the target's test labels.",
)
@click.argument("arguments", nargs=-1, metavar="[VERSION] [KEY=VALUE]...")
def promote(arguments: tuple[str, ...], force: str | None, oracle_gate: bool) -> None:
    """Make a candidate the champion if it beats the present champion.

    The candidate is VERSION, or the newest one. The two are compared by the label-free validator selection.best_by, on
    the target's images of the validation galaxies that chose no epoch.
    """
    numbers = [argument for argument in arguments if argument.isdecimal()]
    if len(numbers) > 1:
        raise click.UsageError(f"{' and '.join(numbers)}: only one VERSION can be promoted.")
    if force is not None and oracle_gate:
        raise click.UsageError(
            "--force overrides the comparison, --oracle-gate adds to it: take one of them."
        )
    if force is not None and not force.strip():
        raise click.UsageError("--force needs a reason that other people will understand.")
    overrides = tuple(argument for argument in arguments if not argument.isdecimal())
    number = int(numbers[0]) if numbers else None

    from mergershift.config import compose

    config = compose(overrides)

    from mergershift.registry.promote import promote_step

    click.echo(promote_step(config, number, force, oracle_gate))


@click.command(cls=Command)
@click.argument(
    "folders",
    nargs=-1,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="[FOLDER]...",
)
def sync(folders: tuple[Path, ...]) -> None:
    """Publish trainings whose MLflow run is missing or incomplete.

    Publishes the finished trainings in outputs/ and in the tuning studies, or only those in FOLDER: for instance
    trainings that ran without a server, came from DVC's cache or a colleague's, or were recorded on another server.
    No run is duplicated.
    """
    from mergershift.tracking.sync import sync as publish_missing

    synced = publish_missing(folders)
    for problem in synced.problems:
        click.echo(problem, err=True)
    click.echo(synced)
    if synced.problems:
        click.get_current_context().exit(1)


@click.command(cls=Command)
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN...")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with all digits.")
def compare(runs: tuple[str, ...], as_json: bool) -> None:
    """Compare trainings, the first RUN with every other.

    RUN is the folder of an evaluated training (outputs/runs/NAME, outputs/cells/.../seed0), its MLflow run id, or the
    name of that run, such as 'mmd · two · pristine→noisy · s0'. Everything is read from the folders; no server is
    needed.

    Prints what the trainings differ in, their scores, and the differences in balanced accuracy on the same test
    galaxies, with 95 % intervals and p-values. Exits with 1 if a difference is missing because two trainings were
    tested on different images; their scores are printed all the same.
    """
    if len(runs) < 2:
        raise click.UsageError("name at least two trainings, for instance two folders in outputs/cells/.")
    import json

    from rich.console import Console

    from mergershift.stages import compare as comparing
    from mergershift.stages.compare_table import print_comparison, reasons

    comparison = comparing.compare_runs(runs)
    if as_json:
        click.echo(json.dumps(comparing.as_json(comparison), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_comparison(comparison, Console())
    missing = reasons(comparison)
    for sentence in missing:
        click.echo(f"Error: {sentence}", err=True)
    if missing:
        click.get_current_context().exit(1)
