"""The stage that writes the report of the study and publishes the study's run and those of its trainings."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path

from mergershift import tracking
from mergershift.cells.layout import PAGE_NAME, REPORT, TRAINED
from mergershift.cells.records import RunContent
from mergershift.cells.run_content import run_content
from mergershift.cells.summary_files import StudyTrainings, read_trainings
from mergershift.config import compose
from mergershift.config.study import read_study
from mergershift.core.checkout import root
from mergershift.core.forked import forked
from mergershift.core.reading import DamagedFile
from mergershift.core.words import counted
from mergershift.report.page import ByRun, write_report

logger = logging.getLogger(__name__)


def report_step() -> str:
    """Write the report, and publish the study's run and, with a link to it, those of its trainings.

    The figures that show a single method are logged to the run of its first training. If no MLflow server answers,
    the report is written all the same, with a warning. Returns a line to print.
    """
    figures_by_run = write_report()
    address = tracking.tracking_address(compose().tracking.uri)
    tracking.publish(address, partial(_contents, figures_by_run), "the study")
    page = root() / REPORT / PAGE_NAME
    count = len(list((page.parent / "figures").glob("*.svg")))
    size = page.stat().st_size / 1e6
    return f"{page.relative_to(root())}: {size:.1f} MB, with {counted(count, 'figure')}; open it in a browser"


def _contents(figures_by_run: ByRun) -> Iterator[RunContent]:
    """Return the content of the study's run, then that of its trainings' runs, whose descriptions refer to it.

    The latter are made in other processes, while this one publishes. A training with a damaged file is left out, with
    a warning.
    """
    study = tracking.study_content()
    trainings = read_trainings("Run `mergershift summary`, which makes it again.")
    jobs = [partial(_content, root() / cell.folder / TRAINED, trainings) for cell in read_study().cells()]
    made = forked(jobs, batches=False)
    # Begun here, before this process has connections to the server.
    made = chain(list(islice(made, 1)), made)
    return chain([] if study is None else [study], _with_figures(made, figures_by_run))


def _content(trained: Path, study: StudyTrainings | None) -> RunContent | DamagedFile:
    """Collect the content of a training's run; returns the error if a file is damaged."""
    try:
        return run_content(trained, study)
    except DamagedFile as error:
        return error


def _with_figures(made: Iterable[RunContent | DamagedFile], figures_by_run: ByRun) -> Iterator[RunContent]:
    for content in made:
        if isinstance(content, DamagedFile):
            logger.warning("Not published: %s", content)
            continue
        figures = figures_by_run.get((content.spec.experiment, content.spec.training), {})
        files = {f"report/{name}": picture for name, picture in figures.items()}
        yield replace(content, files={**content.files, **files})
