"""The stage that writes the study's page and logs its figures to the trainings' MLflow runs."""

from __future__ import annotations

from mergershift import tracking
from mergershift.cells.layout import REPORT
from mergershift.config import compose
from mergershift.core.checkout import root
from mergershift.report.page import PAGE_NAME, write_report


def report_step() -> str:
    """Write the page and its figures, log each method's to its MLflow run; returns a line to print."""
    by_run = write_report()
    address = tracking.tracking_address(compose().tracking.uri)
    tracking.add_figures(address, by_run, "report", "`mergershift report` logs its figures when it does")
    page = root() / REPORT / PAGE_NAME
    figures = len(list((page.parent / "figures").glob("*.png")))
    size = page.stat().st_size / 1e6
    return f"{page.relative_to(root())}: {size:.1f} MB, with {figures} figures; open it in a browser"
