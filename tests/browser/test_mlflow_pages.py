"""What MLflow's pages show of a published study, in a real browser and reached as a user reaches it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from browser.conftest import Served

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

pytestmark = pytest.mark.system
METHODS = ("coral", "oracle", "mmd", "source_only")
"""Methods of the study, the best on the target first."""
COLUMNS = {
    "Run Name",
    "target/balanced_accuracy",
    "source/balanced_accuracy",
    "target/auc",
    "method",
    "filters",
    "seed",
    "Dataset",
}
WIDE: ViewportSize = {"width": 3000, "height": 1200}
"""Window in which the list of runs shows all its columns: those out of sight are not in the document."""
SELECT = re.compile(r"toggle row selection \(unchecked\)")


def run_link(page: Page, method: str):
    """The link to the run of a method in a list of runs."""
    return page.get_by_role("link", name=re.compile(f"^{method} · two")).first


@pytest.fixture
def listed(page: Page, served: Served) -> Page:
    """The list of runs that the link printed by `mergershift ui --study` leads to."""
    page.set_viewport_size(WIDE)
    page.goto(served.links[0])
    run_link(page, "mmd").wait_for()
    return page


def numbers(page: Page, column: str) -> list[float]:
    """Numbers in a column of the list of runs, from above."""
    headers = [
        header.get_attribute("col-id")
        for header in page.locator(".ag-header-cell").all()
        if header.inner_text().strip() == column
    ]
    cells = page.locator(f".ag-row .ag-cell[col-id='{headers[0]}']")
    cells.first.wait_for()
    by_row = {
        int(cell.locator("..").get_attribute("row-index") or 0): cell.inner_text() for cell in cells.all()
    }
    return [float(by_row[row]) for row in sorted(by_row)]


def test_the_printed_link_opens_the_runs_best_first(listed: Page) -> None:
    names = [link.inner_text() for link in listed.get_by_role("link", name=" · two · ").all()]
    assert [name.partition(" · ")[0] for name in names] == list(METHODS)
    headers = {header.inner_text().strip() for header in listed.get_by_role("columnheader").all()}
    assert headers >= COLUMNS
    scores = numbers(listed, "target/balanced_accuracy")
    assert len(scores) == len(METHODS)
    assert scores == sorted(scores, reverse=True)
    training_data = listed.get_by_role("button", name=re.compile(r"^mock-3-two-pristine \("))
    assert training_data.count() == len(METHODS) - 1, "all but the oracle were trained on the source"
    assert listed.get_by_text("source training", exact=True).count() >= 1


def test_three_runs_are_compared_by_what_differs(listed: Page) -> None:
    for _ in range(3):
        listed.get_by_role("checkbox", name=SELECT).first.check()
    listed.get_by_role("button", name="Compare").click()
    listed.get_by_role("heading", name="Comparing 3 Runs").wait_for()
    for method in METHODS[:3]:
        assert listed.get_by_role("cell", name=f"{method} · two · ").first.is_visible()
    listed.get_by_role("switch", name=re.compile("Parameters")).check()
    listed.get_by_role("rowheader", name="batch_size", exact=True).wait_for(state="detached")
    row = listed.get_by_role("row", name=re.compile("^method "))
    assert [cell.inner_text().strip() for cell in row.get_by_role("cell").all()] == list(METHODS[:3])
    # The list of metrics scrolls by itself, and only rows in sight are in the document: the beginning of the alphabet.
    scores = listed.get_by_role("grid", name="grid").first
    assert scores.get_by_role("link", name="target/balanced_accuracy", exact=True).is_visible()


def test_a_run_says_what_it_is(listed: Page) -> None:
    run_link(listed, "mmd").click()
    listed.get_by_role("heading", name=re.compile("^mmd · two · pristine→noisy · s0")).wait_for()
    overview = listed.get_by_role("main")
    assert overview.get_by_text("MOCK images, not the archive").is_visible()
    assert overview.get_by_text(
        re.compile(r"Balanced accuracy with 95 % intervals: target \.\d+ \[")
    ).is_visible()
    assert listed.get_by_role("row", name=re.compile(r"^target.balanced_accuracy 0\.\d+")).is_visible()
    data = listed.get_by_role("button", name=re.compile(r"mock-3-two-noisy"))
    data.first.wait_for()
    assert listed.get_by_role("link", name=re.compile("^mmd-two-epoch3")).first.is_visible(), "its model"
    listed.get_by_role("tab", name="Model metrics").click()
    listed.get_by_role("figure").filter(has_text="uncertainty").wait_for()
    groups = {figure.inner_text().split()[0] for figure in listed.get_by_role("figure").all()}
    assert groups >= {"target", "source", "uncertainty", "validators", "train", "validation"}


def test_the_studys_page_opens_from_the_run_of_a_training(listed: Page) -> None:
    run_link(listed, "mmd").click()
    with listed.expect_popup() as opened:
        listed.get_by_role("main").get_by_role("link", name=re.compile("study")).click()
    study = opened.value
    study.get_by_role("heading", name=re.compile("^study · ")).wait_for()
    page = study.frame_locator("iframe")
    page.get_by_role("heading", level=1).wait_for()
    assert page.get_by_role("heading", name=re.compile("Result")).first.is_visible()
    study.close()


def test_the_champion_leads_back_to_its_run(page: Page, served: Served) -> None:
    page.goto(f"{served.address}/#/models/mergershift/versions/1")
    page.get_by_role("status", name="champion").wait_for()
    main = page.get_by_role("main")
    assert main.get_by_text("MOCK images, not the archive").first.is_visible()
    assert main.get_by_role("link", name="mergershift_candidates").first.is_visible()
    run_link(page, "mmd").click()
    page.get_by_role("heading", name=re.compile("^mmd · two · pristine→noisy · s0")).wait_for()
    assert page.get_by_role("link", name="mergershift").first.is_visible()
