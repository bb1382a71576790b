"""The stage that writes the report of the study and logs its figures to the MLflow runs of the trainings."""

from __future__ import annotations

from mergershift import tracking
from mergershift.cells.layout import PAGE_NAME, REPORT
from mergershift.config import compose
from mergershift.core.checkout import root
from mergershift.report.page import write_report


def report_step() -> str:
    """Write the report and log the figures of every method to its MLflow runs; returns a line to print.

    If no MLflow server answers, the report is written all the same, with a warning.
    """
    figures_by_run = write_report()
    address = tracking.tracking_address(compose().tracking.uri)
    tracking.add_figures(
        address, figures_by_run, "report", "run `mergershift report` again later to log its figures"
    )
    page = root() / REPORT / PAGE_NAME
    count = len(list((page.parent / "figures").glob("*.png")))
    size = page.stat().st_size / 1e6
    return f"{page.relative_to(root())}: {size:.1f} MB, with {count} figures; open it in a browser"
