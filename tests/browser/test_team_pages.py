"""What the pages of a team show to whom: two editors' runs, the champion, a study's page and a shared search."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from browser.chromium import chromium
from browser.conftest import PATIENCE, call, write_trainings
from checkouts import copy, link
from mlflow import MlflowClient
from report.study_sample import FORWARD, METHODS, mark_as
from tracking.team import TeamServer, experiment_of, secret

from mergershift.tracking.roles import ACCOUNT_TAG
from mergershift.tracking.views import STUDY
from mergershift.tuning.space import suggest
from mergershift.tuning.storage import open_study
from mergershift.tuning.tune import read_search

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytestmark = pytest.mark.system
SHARED = {"ana": METHODS, "eve": [(FORWARD, "source_only"), (FORWARD, "mmd")]}
"""Methods that each editor has trained, Ana with seed 0 and Eve with seed 1."""
LOSSES = (-0.61, -0.42, -0.55)
"""Values of a search's trials; higher is better."""
REFUSED = "only a maintainer can change registered models, their versions and aliases"
Enter = Callable[..., "Page"]


@dataclass(frozen=True)
class Team:
    """A team's server and what its people did."""

    server: TeamServer
    experiment: str

    def runs(self, query: str) -> str:
        """Address of the list of runs."""
        return f"{self.server.address}/#/experiments/{self.experiment}/runs?workflowType=machine_learning&{query}"


@pytest.fixture(scope="module")
def team(committed: Path, sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """Two editors published their trainings, one her study and a candidate, of which a maintainer made the champion.

    The same candidate is a second version of the registered model, to which the champion could move.
    """
    server = TeamServer(tmp_path_factory.mktemp("team"))
    server.start()
    try:
        server.welcome()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(server.folder / "cache"))
            for seed, (person, methods) in enumerate(SHARED.items()):
                project = server.folder / person
                copy(committed, project)
                link(sample, project / "data")
                mark_as("mock", project)
                patch.chdir(project)
                server.sign_in(patch, person)
                write_trainings(person, methods, seed)
                call(["sync"])
            patch.chdir(server.folder / "ana")
            server.sign_in(patch, "ana")
            call(["report"], ["register", "filters=two"])
            server.sign_in(patch, "max")
            call(["promote"])
            client = MlflowClient(server.address)
            client.copy_model_version("models:/mergershift_candidates/1", "mergershift")
            experiment = experiment_of(client)
        yield Team(server, experiment)
    finally:
        server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def enter(browser: Browser) -> Iterator[Enter]:
    """Opens an empty tab of a person who types the own name and password when asked."""
    with ExitStack() as stack:

        def enter(person: str, password: str | None = None) -> Page:
            context = browser.new_context(
                http_credentials={"username": person, "password": password or secret(person)},
                viewport={"width": 3000, "height": 1200},
            )
            stack.callback(context.close)
            context.set_default_timeout(PATIENCE * 1000)
            return context.new_page()

        yield enter


def run_link(page: Page, name: str) -> Locator:
    return page.get_by_role("link", name=name, exact=True).first


def test_who_types_no_password_or_a_wrong_one_sees_nothing(
    team: Team, browser: Browser, enter: Enter
) -> None:
    answers: list[int] = []
    page = browser.new_page()
    page.on("response", lambda response: answers.append(response.status))
    with pytest.raises(Exception, match="ERR_INVALID_AUTH_CREDENTIALS"):  # the question was cancelled
        page.goto(team.server.address)
    page.close()
    page = enter("rea", "password of ana")
    page.on("response", lambda response: answers.append(response.status))
    page.goto(team.server.address)
    assert set(answers) == {401}
    assert "MLflow" not in page.title()
    page = enter("rea")
    page.goto(team.server.address)
    page.get_by_role("button", name="Account menu for rea").wait_for()


def test_a_reader_sees_and_compares_the_runs_of_two_people(team: Team, enter: Enter) -> None:
    page = enter("rea")
    page.goto(team.runs(f"viewStateShareKey={STUDY}"))
    run_link(page, "mmd · two · pristine→noisy · s1").wait_for()
    listed: dict[str, str] = {}
    (column,) = (
        header.get_attribute("col-id")
        for header in page.locator(".ag-header-cell").all()
        if header.inner_text().strip() == "User"
    )
    for name in page.get_by_role("link", name=" · two · ").all_inner_texts():
        row = page.locator(".ag-row").filter(has=run_link(page, name)).first.get_attribute("row-index")
        listed[name] = page.locator(f".ag-row[row-index='{row}'] .ag-cell[col-id='{column}']").inner_text()
        if name.startswith("mmd"):
            page.locator(f".ag-row[row-index='{row}']").get_by_role("checkbox").first.check()
    assert len(listed) == sum(map(len, SHARED.values()))
    assert all(user == ("ana" if name.endswith("s0") else "eve") for name, user in listed.items()), listed
    page.get_by_role("button", name="Compare").click()
    page.get_by_role("heading", name="Comparing 2 Runs").wait_for()
    tags = page.get_by_role("row", name=re.compile(re.escape(ACCOUNT_TAG)))
    tags.scroll_into_view_if_needed()
    accounts = [cell.inner_text().strip() for cell in tags.get_by_role("cell").all()]
    assert sorted(accounts) == ["ana", "eve"]


def test_only_a_maintainer_moves_the_champion(team: Team, enter: Enter) -> None:
    for person in ("ana", "max"):
        page = enter(person)
        page.goto(f"{team.server.address}/#/models/mergershift/versions/2")
        page.get_by_title("Add aliases").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("combobox").fill("champion")
        page.keyboard.press("Enter")
        with page.expect_response(re.compile("/registered-models/alias")) as answered:
            dialog.get_by_role("button", name="Save aliases").click()
        if person == "ana":
            assert answered.value.status == 403
            dialog.get_by_text(REFUSED).wait_for()
            page.reload()
            page.get_by_title("Add aliases").wait_for()
            assert page.get_by_role("status", name="champion").count() == 0
        else:
            assert answered.value.status == 200
            dialog.wait_for(state="detached")
            page.get_by_role("status", name="champion").wait_for()
    reader = enter("rea")
    for version, has_it in ((2, True), (1, False)):
        reader.goto(f"{team.server.address}/#/models/mergershift/versions/{version}")
        reader.get_by_role("heading", name=f"Version {version}", exact=True).wait_for()
        reader.get_by_role("link", name="mmd · two · pristine→noisy · s0").first.wait_for()
        assert (reader.get_by_role("status", name="champion").count() > 0) == has_it


def test_the_studys_page_opens_among_its_files(team: Team, enter: Enter) -> None:
    page = enter("eve")
    page.goto(team.runs("searchFilter=tags.kind%20%3D%20'study'"))
    page.get_by_role("link", name=re.compile("^study · ")).first.click()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_role("main").get_by_text("report", exact=True).click()
    page.get_by_text("index.html", exact=True).click()
    study = page.frame_locator("iframe")
    study.get_by_role("heading", name="Which adaptation method survives").first.wait_for()
    assert study.locator("svg:visible").count() > 5


@pytest.fixture
def dashboard(team: Team, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of an optuna-dashboard on a database with a search of Ana's."""
    database = f"sqlite:///{team.server.folder}/optuna.db"
    monkeypatch.chdir(team.server.folder / "ana")
    search, _ = read_search(["filters=two", "adaptation=mmd", f"tuning.storage={database}"])
    study = open_study(search)
    for loss in LOSSES:
        trial = study.ask()
        suggest(trial, search.tuning.ranges)
        study.tell(trial, loss)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = Path(sys.executable).with_name("optuna-dashboard")
    process = subprocess.Popen([program, "--host", "127.0.0.1", "--port", str(port), database])
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(PATIENCE * 10):
            try:
                requests.get(address, timeout=1)
                break
            except requests.RequestException:
                assert process.poll() is None
                time.sleep(0.1)
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE)


def test_a_shared_search_is_seen_in_optuna_dashboard(dashboard: str, browser: Browser) -> None:
    context = browser.new_context()
    page = context.new_page()
    outside: list[str] = []
    page.on("request", lambda request: outside.append(request.url))
    page.goto(dashboard)
    page.get_by_text(re.compile("tuned_mmd-two-pristine_to_noisy-")).first.click()
    page.get_by_role("heading", name="Best Trial (number=1)").wait_for()
    page.get_by_role("heading", name=str(max(LOSSES)), exact=True).wait_for()
    assert page.get_by_text("adaptation.weighting.trade_off").first.is_visible()
    page.get_by_role("link", name="Trials (List)").click()
    for number in range(len(LOSSES)):
        page.get_by_text(re.compile(f"^Trial {number}\\b")).first.wait_for()
    assert [url for url in outside if not url.startswith((dashboard, "data:", "blob:"))] == []
    context.close()
