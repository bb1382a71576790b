"""`mergershift study`: list the studies and choose one."""

from __future__ import annotations

import click

from mergershift.cli.groups import OrderedGroup
from mergershift.core.errors import UserError
from mergershift.core.words import counted


@click.group(cls=OrderedGroup)
def study() -> None:
    """List the studies, or choose the one that the pipeline runs.

    The chosen study is kept in conf/study.yaml.
    """


@study.command("list")
def study_list() -> None:
    """List the studies in conf/studies/ with their sizes.

    An asterisk marks the study that conf/study.yaml contains.
    """
    from mergershift.config.study import read_named_study, study_names
    from mergershift.config.study_choice import study_in_use

    in_use = study_in_use()
    for name in study_names():
        start = f"{'*' if name == in_use else ' '} {name:<12}"
        try:
            known = read_named_study(name)
        except UserError as error:
            click.echo(f"{start} cannot be used: {str(error).splitlines()[0]}")
            continue
        click.echo(
            f"{start} {counted(len(known.cells()), 'cell'):>9}: filters {', '.join(known.filters)}; "
            f"{counted(len(known.methods), 'method')}; {counted(len(known.seeds), 'seed')}; training={known.training}"
        )


@study.command("use")
@click.argument("name")
def study_use(name: str) -> None:
    """Copy the study NAME from conf/studies/ to conf/study.yaml."""
    from mergershift.config.study_choice import use_study

    click.echo(use_study(name))


@study.command("cells")
def study_cells() -> None:
    """Update conf/cells.yaml after an edit of conf/study.yaml.

    `mergershift repro` and `dvc repro` do this themselves; `dvc exp run --temp` and --queue need it done before.
    """
    from mergershift.config.cells_file import CELLS_FILE, update_cells
    from mergershift.config.study import read_study

    click.echo(update_cells(read_study()) or f"{CELLS_FILE} lists the cells of conf/study.yaml already")
