"""The command line: one command per step of the pipeline. Nothing heavy is imported until a command runs."""

from __future__ import annotations

import logging
import signal
import sys
from pathlib import Path
from typing import Any, ClassVar

import click

from mergershift import __version__
from mergershift.cli.groups import LazyGroup, OrderedGroup, no_such_option, system_error
from mergershift.cli.models import OVERRIDES, compare, pretrain, promote, register, sync, tune
from mergershift.cli.predict import predict
from mergershift.cli.server import server
from mergershift.cli.study import study
from mergershift.core.errors import UserError
from mergershift.core.processes import (
    STOP_SIGNALS,
    end_with_starter,
    interrupted_by,
    set_environment_defaults,
)


class Commands(OrderedGroup):
    """The whole command line."""

    sections: ClassVar = {
        "A study, from the archive to the report": ("data", "study", "repro", "ui", "compare"),
        "Its stages, which `repro` runs": ("prepare", "tune", "train", "evaluate", "summary", "report"),
        "Models": ("pretrain", "register", "promote", "predict"),
        "A team": ("server", "team"),
        "More": ("reproduce", "sync"),
    }


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mergershift")
def cli() -> None:
    """Galaxy-merger classifiers that have to survive a change of domain.

    KEY=VALUE arguments override the settings in conf/: mergershift train adaptation=mmd training.epochs=50

    \b
    A first study, as `make demo` runs it:
      mergershift data mock          makes simulated images (`data fetch`: the archive)
      mergershift study use demo     chooses what is trained
      mergershift repro --jobs 2     runs it, about 4 minutes, and prints the results
    """  # noqa: D301


for _name, _help in {
    "data": "Describe, fetch and check the archive, or make a mock of it.",
    "team": "Connect this checkout to a team's server and store, and check both.",
}.items():
    cli.add_command(LazyGroup(_name, module=f"mergershift.cli.{_name}", attribute=_name, help=_help))


@cli.command()
@OVERRIDES
def prepare(overrides: tuple[str, ...]) -> None:
    """Convert the archive to images that networks are trained on.

    They are float32, with galaxy ids, split and statistics, in outputs/prepared/. For instance: mergershift prepare
    filters=three
    """
    from mergershift.stages.prepare import prepare_step

    click.echo(prepare_step(_compose(overrides)))


@cli.command()
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder of the results.  [default: a folder in outputs/runs/, named after the settings]",
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Finished training to make longer, by folder, MLflow run id or run name: --resume RUN training.epochs=200.",
)
@click.option(
    "--init",
    metavar="MODEL",
    help="Network to start from: models:/NAME@ALIAS, models:/NAME/VERSION, a training by folder, run id or name, or "
    "the folder of `mergershift pretrain`.",
)
@OVERRIDES
def train(output: Path | None, resume: str | None, init: str | None, overrides: tuple[str, ...]) -> None:
    """Train one network.

    \b
    For instance:
      mergershift train adaptation=mmd training.epochs=50 seed=3
      mergershift train filters=two experiment=tuned_mmd trainer=gpu

    Every group of settings is a folder in conf/, and every choice a file there: adaptation=mmd is
    conf/adaptation/mmd.yaml, and training.epochs is a setting of conf/training/default.yaml. `mergershift prepare`
    makes the images beforehand.

    Run the same command again to resume an interrupted training. A training with --resume or --init has a folder and
    an MLflow run of its own, which name the training that it started from.
    """  # noqa: D301
    from mergershift.cells.layout import default_output
    from mergershift.stages.initial import initialised
    from mergershift.stages.resume import resumed
    from mergershift.stages.start import ANEW
    from mergershift.stages.train import train_step

    if resume is not None and init is not None:
        raise click.UsageError("--resume continues a training, --init begins another: take one of them.")
    if resume is not None:
        config, start = resumed(resume, overrides)
    elif init is not None:
        config, start = initialised(init, overrides)
    else:
        config, start = _compose(overrides), ANEW
    click.echo(train_step(config, output or default_output(config), start))


@cli.command()
@click.argument("cell", type=click.Path(path_type=Path))
@OVERRIDES
def evaluate(cell: Path, overrides: tuple[str, ...]) -> None:
    """Evaluate the training in CELL on both domains' test images.

    CELL is the folder that `mergershift train` printed, or one below outputs/cells/. One of its epochs is selected
    first. KEY=VALUE sets how: selection=NAME, selection.validator=source_validation_risk, ...
    """
    from mergershift.config import compose_selection
    from mergershift.stages.evaluate import evaluate_step

    click.echo(evaluate_step(cell, compose_selection(overrides)))


@cli.command(hidden=True)
def code() -> None:
    """Check that conf/cells.yaml is that of the study, and record the source files of each method and network."""
    from mergershift.stages.code import require_cells, write_code

    require_cells()
    write_code()


@cli.command()
@click.option("--quiet", is_flag=True, help="Write the tables without printing them.")
def summary(quiet: bool) -> None:
    """Summarise the study's evaluations in tables.

    The tables are written to outputs/summary/, and the transfer table is printed.
    """
    from mergershift.stages.summary import write_summary

    write_summary()
    if not quiet:
        from mergershift.stages.summary_table import print_summary

        print_summary()


@cli.command()
def report() -> None:
    """Write the study's report to outputs/report/index.html.

    Its figures are written to outputs/report/figures/ and logged to the MLflow runs of the trainings.
    """
    from mergershift.stages.report import report_step

    click.echo(report_step())


@cli.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    metavar="N",
    help="Number of cells to run in parallel; conf/trainer sets the threads of each.  [default: 1]",
)
@click.option(
    "--on",
    default="",
    metavar="NAME",
    help="Run cells as jobs on a cluster: conf/launcher/NAME.yaml says what each asks for. `slurm` is one.",
)
@click.option("--attach", is_flag=True, help="With --on, only follow the jobs of an earlier command.")
@click.option("--pull", is_flag=True, help="First fetch the data and all results that DVC's remote has.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[DVC-REPRO-ARGUMENT]...")
def repro(jobs: int, on: str, attach: bool, pull: bool, arguments: tuple[str, ...]) -> None:
    """Run the pipeline and print the transfer table.

    conf/study.yaml lists what it trains; `mergershift study` chooses. Only the stages that are out of date are run, by
    `dvc repro`: the same command resumes a pipeline that was interrupted.
    """
    from mergershift.pipeline.repro import repro as run_pipeline

    run_pipeline(arguments, jobs, pull=pull, on=on, attach=attach)


@cli.command()
@click.argument("experiment")
@OVERRIDES
def reproduce(experiment: str, overrides: tuple[str, ...]) -> None:
    """Reproduce a published experiment and compare the scores.

    EXPERIMENT is its name in conf/experiment/: deepmerge_2020.
    """
    from mergershift.pipeline.reproduce import reproduce as run_published

    run_published(experiment, overrides)


@cli.command(context_settings={"ignore_unknown_options": True})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to bind to; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True)
@click.option(
    "--allowed-hosts",
    metavar="HOST,...",
    help="Names by which browsers reach this machine, in addition to its own.",
)
@click.option(
    "--static-prefix",
    metavar="/PATH",
    help="Path under which a proxy serves the pages: /proxy/absolute/5000 in JupyterHub.",
)
@click.option(
    "--study", is_flag=True, help="Print the address of the study's view: its columns and order are chosen."
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[MLFLOW-SERVER-OPTION]...")
def ui(
    host: str,
    port: int,
    allowed_hosts: str | None,
    static_prefix: str | None,
    study: bool,
    arguments: tuple[str, ...],
) -> None:
    """Start MLflow's web interface on the recorded trainings and print the address of its pages.

    Further options, such as `--workers 4`, are passed to `mlflow server`. If the runs are on a tracking server
    (MLFLOW_TRACKING_URI), the address of its pages is printed and nothing is started.
    """
    from mergershift.tracking.mlflow_server import Serving, host_names
    from mergershift.tracking.ui import serve_ui

    names = host_names(allowed_hosts)
    serve_ui(Serving(host, port, names, static_prefix, arguments), study=study)


for _command in (compare, study, tune, pretrain, register, promote, predict, sync, server):
    cli.add_command(_command)


def _compose(overrides: tuple[str, ...]) -> Any:
    from mergershift.config import compose

    return compose(overrides)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a user's mistake exits with code 1 (or click's 2) and without a traceback."""
    end_with_starter()
    set_environment_defaults()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO)
    arrived: list[int] = []
    try:
        with interrupted_by(*STOP_SIGNALS) as arrived:
            status = cli.main(arguments, prog_name="mergershift", standalone_mode=False)
        # Without standalone mode click returns the code of ctx.exit() instead of exiting.
        sys.exit(status if isinstance(status, int) else 0)
    except UserError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except OSError as error:  # before a command runs; `groups.Command` handles the rest
        click.echo(f"Error: {system_error('mergershift', error)}", err=True)
        sys.exit(1)
    except click.NoSuchOption as error:
        given = sys.argv[1:] if arguments is None else arguments
        click.echo(f"Error: {no_such_option(error, given)}", err=True)
        sys.exit(2)
    except click.exceptions.NoArgsIsHelpError as error:  # its message is the command's help
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"Error: {error.format_message()}", err=True)
        if isinstance(error, click.UsageError) and error.ctx:
            click.echo(f"See `{error.ctx.command_path} --help`.", err=True)
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted. Run the same command again to resume.", err=True)
        sys.exit(128 + (arrived[0] if arrived else signal.SIGINT))
