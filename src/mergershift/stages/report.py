"""The stage that writes the report of the study and publishes the study's run and those of its trainings."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

from mergershift import tracking
from mergershift.cells.layout import PAGE_NAME, REPORT, TRAINED
from mergershift.cells.records import RunContent
from mergershift.cells.run_content import run_content
from mergershift.cells.summary_files import read_trainings
from mergershift.config import compose
from mergershift.config.study import read_study
from mergershift.core.checkout import root
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
    tracking.publish(address, _contents(figures_by_run), "the study")
    page = root() / REPORT / PAGE_NAME
    count = len(list((page.parent / "figures").glob("*.svg")))
    size = page.stat().st_size / 1e6
    return f"{page.relative_to(root())}: {size:.1f} MB, with {counted(count, 'figure')}; open it in a browser"


def _contents(figures_by_run: ByRun) -> Iterator[RunContent]:
    """Yield the content of the study's run, then that of its trainings' runs, whose descriptions refer to it.

    A training with a damaged file is left out, with a warning.
    """
    study = tracking.study_content()
    if study is not None:
        yield study
    trainings = read_trainings("Run `mergershift summary`, which makes it again.")
    for cell in read_study().cells():
        try:
            content = run_content(root() / cell.folder / TRAINED, trainings)
        except DamagedFile as error:
            logger.warning("Not published: %s", error)
            continue
        figures = figures_by_run.get((content.spec.experiment, content.spec.training), {})
        files = {f"report/{name}": picture for name, picture in figures.items()}
        yield replace(content, files={**content.files, **files})
