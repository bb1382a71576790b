"""Of a study of many trainings, the main page shows a selection; its links lead to every one of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from report.study_sample import FORWARD, ORACLE

from mergershift.config.study import read_study
from mergershift.report import page as page_module

pytestmark = pytest.mark.slow
BACK, BACK_ORACLE = "noisy_to_pristine", "oracle_target_only_reverse"
METHODS = [
    (FORWARD, "source_only"),
    (FORWARD, "mmd"),
    (FORWARD, "coral"),
    (ORACLE, "source_only"),
    (BACK, "source_only"),
    (BACK, "mmd"),
    (BACK, "coral"),
    (BACK_ORACLE, "source_only"),
]
SETTINGS = {FORWARD: "two-pristine-to-noisy", ORACLE: "two-pristine-to-noisy"}
SETTINGS |= {BACK: "two-noisy-to-pristine", BACK_ORACLE: "two-noisy-to-pristine"}
LABEL = re.compile(r'<svg role="img" aria-label="([^"]*)"')


@pytest.fixture(scope="module")
def many(make_page: Callable[..., Path]) -> Path:
    """The folder of the pages of a study with 24 trainings, which the main page does not list one by one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page_module, "MOST_LISTED", 23)
        return make_page(METHODS, seeds=(0, 1, 2)) / "outputs/report"


def test_every_cell_is_found_from_the_main_page(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(many.parents[1])
    main = (many / "index.html").read_text()
    links = set(re.findall(r'href="([\w-]+\.html)#?([\w-]*)"', main))
    assert {name for name, _ in links} == {f"{slug}.html" for slug in SETTINGS.values()}
    pages = {name: (many / name).read_text() for name, _ in links}
    for name, anchor in links:
        assert not anchor or f'<section id="{anchor}"' in pages[name]
    cells = read_study().cells()
    assert len(cells) == 24
    for cell in cells:
        name, anchor = f"{SETTINGS[cell.method.transfer]}.html", cell.method.title.replace("_", "-")
        assert (name, anchor) in links
        metrics = json.loads(Path(cell.folder, "evaluation/metrics.json").read_text())
        score = metrics["target"]["unique"]["balanced_accuracy"]["value"]
        shown = rf'href="{name}#{anchor}">[^<]*</a></th><td>{cell.seed}</td><td>{score:.3f}</td>'
        assert len(re.findall(shown, pages[name])) == 1


def test_the_main_page_shows_the_selection_that_it_names(many: Path) -> None:
    main = LABEL.findall((many / "index.html").read_text())
    for slug in set(SETTINGS.values()):
        own = LABEL.findall((many / f"{slug}.html").read_text())
        for kind, of_all, on_main in (("Learning curves of", 4, 2), ("Validation images in the first", 4, 2)):
            labels = [label for label in own if label.startswith(kind)]
            assert len(labels) == of_all
            shown = [label for label in labels if label in main]
            assert len(shown) == on_main
            assert {name for name in ("Source only", "MMD") if any(name in label for label in shown)} == {
                "Source only",
                "MMD",
            }, "without adaptation, and the method that is chosen"


def test_scores_in_the_table_of_all_trainings_are_the_mean_and_range_of_the_seeds(many: Path) -> None:
    main = (many / "index.html").read_text()
    cell = many.parents[1] / "outputs/cells/two" / BACK / "mmd/default"
    scores = [
        json.loads(path.read_text())["target"]["unique"]["balanced_accuracy"]["value"]
        for path in cell.glob("seed*/evaluation/metrics.json")
    ]
    entry = re.search(
        r'href="two-noisy-to-pristine.html#mmd">([\d.]+)</a> <span class="bounds">([^<]*)', main
    )
    assert entry is not None
    assert entry[1] == f"{sum(scores) / 3:.3f}"
    assert entry[2] == f"{min(scores):.3f} to {max(scores):.3f}, 3 seeds"
    assert "are listed on the pages under" in main


def test_pages_of_settings_are_complete_documents_that_load_nothing(many: Path) -> None:
    for slug in set(SETTINGS.values()):
        text = (many / f"{slug}.html").read_text()
        ids = re.findall(r'\bid="([^"]+)"', text)
        assert len(set(ids)) == len(ids)
        assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
        assert "default-src 'none'" in text
        assert not re.search(r"<(script|link|iframe)\b", text)
        assert 'href="index.html"' in text
        assert "MOCK IMAGES, NOT THE ARCHIVE" in text
