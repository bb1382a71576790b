"""The page agrees with the study's files and is self-contained."""

from __future__ import annotations

import json
import re
from collections import Counter
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from report.study_sample import FORWARD, METHODS, mark_as, write_study

from mergershift.cells import ledger
from mergershift.cli.main import main
from mergershift.core.errors import UserError
from mergershift.report.methods import methods_section
from mergershift.report.page import write_report

CHECKOUT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
VOID = {"meta", "br", "link", "img", "hr", "input"}


class Document(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), list(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes), list(self.open)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "text"):
            self.texts.append(data)

    def of(self, tag):
        return [attributes for name, attributes, _ in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="session")
def page(written: Path) -> Document:
    return Document((written / "outputs/report/index.html").read_text())


def table_rows(text: str, caption: str) -> dict[str, list[str]]:
    """Texts of the cells of a table by method; the table is the one whose caption contains `caption`."""
    tables = re.findall(r"<table>.*?</table>", text, re.DOTALL)
    table = next(table for table in tables if caption in table)
    rows = {}
    for line in re.findall(r"<tr[^>]*>(<th scope=\"row\">.*?)</tr>", table, re.DOTALL):
        cells = [
            re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", line, re.DOTALL)
        ]
        rows[cells[0].removesuffix(" chosen")] = cells[1:]
    return rows


def test_nothing_is_loaded_from_elsewhere(page, study):
    text = (study / "outputs/report/index.html").read_text()
    assert not page.of("script")
    assert not page.of("link")
    assert not page.of("iframe")
    for tag, attributes, _ in page.elements:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            if name in attributes and tag != "a":
                assert attributes[name].startswith(("data:", "#")), (tag, attributes[name][:80])
    for style in re.findall(r"<style>(.*?)</style>", text, re.DOTALL):
        assert "url(" not in style
        assert "@import" not in style
    assert len(text) < 1e6


def test_tags_close_and_ids_are_unique_and_found(page, study):
    assert not page.open
    ids = Counter(a["id"] for _, a, _ in page.elements if "id" in a)
    assert max(ids.values()) == 1
    text = (study / "outputs/report/index.html").read_text()
    wanted = set(re.findall(r'(?:href="#|aria-labelledby=")([^"]*)"', text))
    wanted |= set(re.findall(r"url\(#([^)]+)\)", text))
    assert wanted
    assert wanted <= set(ids)


def test_the_page_is_accessible_to_screen_readers(page):
    assert page.of("html")[0]["lang"] == "en"
    labels = [a["aria-label"] for tag, a, around in page.elements if tag == "svg" and "svg" not in around]
    assert len(labels) > 10
    assert all(len(label) > 30 for label in labels)
    assert len(set(labels)) == len(labels)
    assert len(page.of("table")) == len(page.of("caption"))
    assert all(header.get("scope") in ("col", "row", "colgroup") for header in page.of("th"))
    # What lies outside of the landmarks is passed over by readers who move from one landmark to the next.
    landmarks = {"header", "main", "footer", "nav"}
    outside = [
        tag
        for tag, _, around in page.elements
        if around[:2] == ["html", "body"] and not landmarks & {tag, *around}
    ]
    assert not outside
    names = [a["aria-label"] for _, a, _ in page.elements if a.get("role") == "region"]
    assert len(set(names)) == len(names)
    headings = [int(tag[1]) for tag, _, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(headings))


def test_colours_are_variables_that_exist(study):
    text = (study / "outputs/report/index.html").read_text()
    defined = set(re.findall(r"(--[a-z0-9-]+):", text))
    assert set(re.findall(r"var\((--[a-z0-9-]+)", text)) <= defined | {"--hue"}
    drawn = re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", text)
    assert set(drawn) <= {"#000000", "#ffffff"}, Counter(drawn)


def test_the_tables_hold_the_metrics_of_the_summary(study):
    text = (study / "outputs/report/index.html").read_text()
    transfer = pd.read_csv(study / "outputs/summary/transfer.csv")
    transfer = transfer[(transfer["rows"] == "unique") & (transfer["choice"] == "label_free")]
    names = {"Source only": (FORWARD, "source_only"), "MMD": (FORWARD, "mmd"), "CORAL": (FORWARD, "coral")}
    names["Oracle (target labels)"] = METHODS[-1]
    table = table_rows(text, "Accuracy on source")
    assert set(table) == set(names)
    for name, (direction, adaptation) in names.items():
        own = transfer[(transfer["transfer"] == direction) & (transfer["adaptation"] == adaptation)]
        for cell, (role, metric) in zip(
            table[name],
            [
                ("source", "balanced_accuracy"),
                ("target", "balanced_accuracy"),
                ("target", "auc"),
                ("target", "ece"),
            ],
            strict=True,
        ):
            row = own[(own["role"] == role) & (own["metric"] == metric)].iloc[0]
            assert cell == f"{row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}]"
    compared = pd.read_csv(study / "outputs/summary/comparison.csv").set_index(["transfer", "adaptation"])
    for name, cells in table_rows(text, "minus that of source only").items():
        row = compared.loc[[names[name]]].iloc[0]
        assert cells[0].startswith(f"{row['difference']:+.3f}".replace("-", "−"))
        assert cells[1].startswith("&lt; 0.001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}")
        gained = row["p_holm"] < 0.05 and row["low"] > 0
        assert (cells[2] == "gain") == gained
        for cell, share in zip(cells[3:], ("won_back", "recovered"), strict=True):
            known = gained and pd.notna(row[share])
            assert cell.startswith(f"{100 * row[share]:.0f} %".replace("-", "−") if known else "–")
    for name, cells in table_rows(text, "The same by target AUC").items():
        row = compared.loc[[names[name]]].iloc[0]
        assert cells[0].startswith(f"{row['auc_difference']:+.3f}".replace("-", "−"))


def test_the_methods_section_is_the_documents(study):
    text = (study / "outputs/report/index.html").read_text()
    section = text[text.index('id="methods-title"') : text.index('<section id="trainings"')]
    assert "<h3>What is claimed</h3>" in section
    assert "<strong>AUC</strong>" in section
    assert "<h1" not in section
    source = (CHECKOUT / "docs/methods.md").read_text()
    assert section.count("<h3>") == source.count("\n## ")
    (study / "docs/methods.md").rename(study / "elsewhere.md")
    try:
        assert methods_section() == ""
    finally:
        (study / "elsewhere.md").rename(study / "docs/methods.md")


def test_confusion_counts_are_the_mean_over_seeds(study):
    cells = table_rows((study / "outputs/report/index.html").read_text(), "Confusion counts")["MMD"]
    counts = []
    for seed in (0, 1):
        table = pd.read_csv(
            study / f"outputs/cells/two/pristine_to_noisy/mmd/default/seed{seed}/evaluation/predictions.csv"
        )
        table = table[table["role"] == "target"].drop_duplicates(["galaxy", "camera"])
        counts.append(table.groupby(["label", "prediction"]).size())
    mean = (counts[0].add(counts[1], fill_value=0) / 2).to_dict()
    for cell, key in zip(cells, [(1, 1), (1, 0), (0, 1), (0, 0)], strict=False):
        assert cell.split()[0] == f"{mean.get(key, 0):.1f}"


def test_the_best_method_is_best_by_the_validator_not_on_the_test(study):
    text = (study / "outputs/report/index.html").read_text()
    transfer = table_rows(text, "Accuracy on source")
    assert float(transfer["CORAL"][1][:5]) > float(transfer["MMD"][1][:5])
    marked = re.findall(r'<tr><th scope="row">[^\n]*?</span>([^<]+) <span class="tag">chosen', text)
    assert set(marked) == {"MMD"}
    assert list(transfer) == ["Source only", "CORAL", "MMD", "Oracle (target labels)"], (
        "in the order of the result"
    )
    assert "Chosen without target labels, by information maximisation: MMD." in text


def test_the_page_states_the_provenance_of_its_results(page, study):
    assert "MOCK IMAGES, NOT THE ARCHIVE" in page.text
    assert "seed 3, 12 mergers, 60 non-mergers" in page.text
    assert "by information maximisation" in page.text
    assert "0123456789abcdef"[:9] + "*" in page.text
    hashes = set(
        re.findall(r'<code title="([0-9a-f]{64})"', (study / "outputs/report/index.html").read_text())
    )
    assert (
        pd.read_json(study / "outputs/prepared/two-by_galaxy/prepared.json", typ="series")["data_hash"]
        in hashes
    )
    links = [link["href"] for link in page.of("a") if "/#/experiments/7/runs/" in link.get("href", "")]
    assert len(links) == 6
    assert page.text.count("trained without a server") == 2
    assert "F814W, F160W: 8 times" in page.text, "at least those on the page, even if the ledger lacks them"
    assert all(link.startswith("http://127.0.0.1:5000/#/experiments/7/runs/") for link in links)
    assert "10.17909/t9-vqk6-pc80" in " ".join(link.get("href", "") for link in page.of("a"))


def test_every_figure_is_saved_as_svg_that_names_the_mock_and_as_png_unless_it_is_one_of_dozens(study):
    figures = study / "outputs/report/figures"
    names = {path.stem for path in figures.glob("*.svg")}
    own = {name for name in names if name.partition("-")[0] in ("learning", "features")}
    assert own < names
    assert {path.stem for path in figures.glob("*.png")} == names - own
    for path in figures.glob("*.svg"):
        text = "".join(ElementTree.parse(path).getroot().itertext())
        assert "MOCK IMAGES" in text, path
    pages = "".join(path.read_text() for path in (study / "outputs/report").glob("*.html"))
    assert len(set(re.findall(r'<svg role="img" aria-label="([^"]*)"', pages))) == len(names)


def test_text_in_figures_is_legible_on_a_phone(study):
    """A phone of 390 pixels leaves 358 for a figure."""
    text = (study / "outputs/report/index.html").read_text()
    figures = re.findall(
        r'<svg role="img" aria-label="([^"]*)" viewBox="0 0 ([\d.]+).*?>(.*?)</svg>', text, re.DOTALL
    )
    assert figures
    for label, width, body in figures:
        smallest = min(float(size) for size in re.findall(r"font-size: ([\d.]+)px", body))
        assert smallest * 358 / float(width) > 8.9, label


def test_the_same_study_gives_the_same_bytes(study, tmp_path):
    folder = study / "outputs/report"
    before = {path.name: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    by_run = write_report()
    after = {path.name: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    assert before == after
    run = ("mergershift", f"mmd-{FORWARD}-0")
    assert {name.partition("-")[0] for name in by_run[run]} == {"features", "examples", "saliency"}
    assert all(before[name] == picture for name, picture in by_run[run].items())


def test_a_study_of_one_method_also_has_a_page(fresh, capsys):
    write_study(methods=METHODS[:1])
    with pytest.raises(SystemExit) as ended:
        main(["report"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("outputs/report/index.html: ")
    text = (fresh / "outputs/report/index.html").read_text()
    assert "Nothing to compare" in text
    assert "no source-only training and adapted training to compare" in text
    assert "exclude the scatter between trainings" in text


def test_the_result_comes_first(study, page):
    text = (study / "outputs/report/index.html").read_text()
    places = [
        text.index(part)
        for part in ("<h1>", 'class="headline"', 'class="overview"', "<nav", 'id="read"', "<table")
    ]
    assert places == sorted(places)
    assert "Trained on pristine images only, the network loses" in page.text
    assert {path.name for path in (study / "outputs/report/figures").glob("overview*.svg")} == {
        "overview-two-pristine-to-noisy.svg"
    }


def test_both_directions_have_their_own_headline_and_tables(fresh):
    back = "noisy_to_pristine"
    write_study(methods=[(FORWARD, "source_only"), (FORWARD, "mmd"), (back, "source_only"), (back, "mmd")])
    write_report()
    page = Document((fresh / "outputs/report/index.html").read_text())
    assert page.text.count("From noisy to pristine images") == 9, "in every section that compares methods"
    assert "Trained on pristine images only" in page.text
    assert "Trained on noisy images only" in page.text
    names = [a["aria-label"] for _, a, _ in page.elements if a.get("role") == "region"]
    assert len(set(names)) == len(names)


def test_a_study_of_the_oracle_alone_also_has_a_page(fresh):
    write_study(methods=METHODS[-1:])
    write_report()
    text = Document((fresh / "outputs/report/index.html").read_text()).text
    assert "the oracle, trained on noisy labels, reaches" in text
    assert "Chosen without target labels, by" not in text


def test_networks_without_convolutions_have_a_page_without_saliency_maps(fresh):
    (fresh / "conf/network/dense.yaml").write_text("_target_: report.study_sample.Dense\n")
    write_study(methods=METHODS[:2], network="dense")
    write_report()
    text = (fresh / "outputs/report/index.html").read_text()
    assert "Grad-CAM does not apply" in text
    assert not list((fresh / "outputs/report/figures").glob("saliency*"))


def test_the_archive_and_its_test_evaluations_are_named(fresh):
    mark_as("archive", fresh)
    write_study(methods=METHODS[1:3])
    record = json.loads((fresh / "outputs/prepared/two-by_galaxy/prepared.json").read_text())
    for _ in range(3):
        ledger.record("cell", record["data_hash"], record["split"])
    write_report()
    text = Document((fresh / "outputs/report/index.html").read_text()).text
    assert re.search(r"F814W, F160W: 3 times, (\d{4}-\d\d-\d\d) to \1 ", text)
    assert "conf/selection/label_free.yaml, not committed as it is now" in text
    assert "MOCK" not in text
    assert "https://archive.example/deepmerge" in text
    for path in (fresh / "outputs/report/figures").glob("*.svg"):
        assert "DeepMerge archive" in "".join(ElementTree.parse(path).getroot().itertext()), path


@pytest.mark.parametrize(
    "name",
    [
        "outputs/summary/best.json",
        "outputs/summary/transfer.csv",
        "outputs/cells/two/pristine_to_noisy/mmd/default/seed0/train/run.json",
        "outputs/cells/two/pristine_to_noisy/mmd/default/seed0/evaluation/selection.json",
        "outputs/cells/two/pristine_to_noisy/mmd/default/seed0/evaluation/predictions.csv",
    ],
)
def test_a_missing_file_is_named_and_the_old_page_is_kept(study, name):
    path, page = study / name, study / "outputs/report/index.html"
    before, aside = page.read_bytes(), (study / name).with_suffix(".aside")
    path.rename(aside)
    try:
        with pytest.raises(UserError, match=r"missing|no such file") as raised:
            write_report()
    finally:
        aside.rename(path)
    assert str(path) in str(raised.value)
    assert re.search("`mergershift (repro|evaluate)", str(raised.value))
    assert page.read_bytes() == before
