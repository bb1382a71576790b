"""Writes outputs/report/: a self-contained page on the study, and its figures as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mergershift import __version__
from mergershift.cells.layout import PAGE_NAME, REPORT
from mergershift.cells.summary_files import write_page_record
from mergershift.classifier.saliency import NoConvolution
from mergershift.core.checkout import root
from mergershift.core.citation import references
from mergershift.core.files import atomic_directory
from mergershift.core.progress import progress_bar
from mergershift.report import (
    findings,
    gallery,
    guide,
    method_figures,
    overview_figure,
    prose,
    published_figures,
    remarks,
    tables,
)
from mergershift.report.all_trainings import MOST_LISTED, anchor, entry_rows, page_of
from mergershift.report.feature_shift import compared_images, prepared_images, shifts
from mergershift.report.figure_files import ByRun, FigureFiles
from mergershift.report.lineage import LOCAL, configurations, rules_committed, runs, test_evaluations
from mergershift.report.methods import methods_section
from mergershift.report.one_method import OneMethodFigures
from mergershift.report.rendering import render
from mergershift.report.stamps import field
from mergershift.report.study_results import Contender, Direction, Setting, StudyResults, read_study_results
from mergershift.report.style import PAGE, SOURCE, TARGET
from mergershift.report.svg import style
from mergershift.report.validator_table import FEWEST_RANKED, ranked_networks, shown_columns, validator_rows

FIGURES_OF_A_SETTING = 5
"""Number of figures that are neither of a single method nor of an outcome: overview, two of curves, two of saliency."""


def write_report() -> ByRun:
    """Write the page and its figures to outputs/report/.

    Returns the figures that show a single method, for the run of its first training.
    Raises UserError if a part of the study is missing.
    """
    gathered = read_study_results()
    with (
        atomic_directory(root() / REPORT) as folder,
        style(),
        progress_bar("measuring and drawing", _steps(gathered)) as advance,
    ):
        (folder / "figures").mkdir()
        add = FigureFiles(folder / "figures", gathered, advance)
        limits = overview_figure.common_limits(gathered)
        directions = [
            _direction(
                direction,
                [_setting(setting, gathered, add, limits) for setting in direction.settings],
                gathered,
            )
            for direction in gathered.directions
        ]
        by_run = add.draw()
        listed = runs(gathered)
        (folder / PAGE_NAME).write_text(_render(gathered, directions, listed))
        for direction in directions:
            for part in direction["parts"]:
                text = _render_setting(gathered, part, directions, listed)
                (folder / page_of(part["setting"])).write_text(text)
        records = [training.record for training in gathered.trainings]
        write_page_record(folder, [record.training for record in records], records[0].experiment)
    return by_run


def _steps(gathered: StudyResults) -> int:
    """Count the networks to measure and, at most, the figures to draw."""
    figures = sum(
        2 * len(setting.contenders) + len(gallery.OUTCOMES) + FIGURES_OF_A_SETTING
        for setting in gathered.settings
    )
    return len(gathered.trainings) + figures


def _direction(
    direction: Direction, parts: Sequence[dict[str, Any]], gathered: StudyResults
) -> dict[str, Any]:
    """Values for the template's sections on a direction of transfer, with its filter sets side by side."""
    settings = direction.settings

    def wide(rows_of: Callable[[Setting], Sequence[tables.MethodRow]]) -> list[tables.WideRow]:
        return tables.side_by_side(settings, [rows_of(setting) for setting in settings])

    return {
        "direction": direction,
        "parts": parts,
        "sentences": findings.sentences(direction, gathered),
        "errors": remarks.errors(direction, gathered),
        "interval_note": remarks.interval_note(direction, gathered),
        "transfer": wide(lambda setting: tables.transfer_rows(setting, gathered)),
        "comparison": wide(lambda setting: tables.comparison_rows(setting, gathered)),
        "areas": wide(lambda setting: tables.area_rows(setting, gathered)),
        "confusion": wide(tables.confusion_rows),
        "choice": wide(lambda setting: tables.choice_rows(setting, gathered)),
        "validators": list(zip(*(part["validators"] for part in parts), strict=True)),
        "validator_columns": shown_columns([part["validators"] for part in parts]),
        "distances": tables.side_by_side(settings, [part["distances"] for part in parts]),
        "distance_note": remarks.distance_note({part["setting"]: part["shifts"] for part in parts}),
    }


def _setting(
    setting: Setting, gathered: StudyResults, add: FigureFiles, limits: tuple[float, float]
) -> dict[str, Any]:
    """Values for the template's figures and sentences on a filter set in one direction."""
    slug, one_method = setting.slug, OneMethodFigures()
    overview = add(
        f"overview-{slug}",
        partial(overview_figure.overview, setting, gathered, limits),
        f"Balanced accuracy of {len(setting.contenders)} methods on {setting.target} test images with intervals, "
        f"{setting.title}, against source only on {setting.source} and {setting.target} images; the table under "
        "Accuracy lists the values.",
    )
    images = compared_images(setting)
    measured = shifts(setting, images["label"].to_numpy(), add.advance)
    values: dict[str, Any] = {
        "setting": setting,
        "overview": overview,
        "sizes": guide.sizes(setting),
        "page": page_of(setting),
        "compared": guide.compared(images),
        "drop": tables.drop(setting, gathered.comparison),
        "auc_drop": tables.drop(setting, gathered.comparison, "auc_drop"),
        "validators": validator_rows(setting, gathered.validators),
        "ranked": ranked_networks(setting),
        "distances": tables.distance_rows(setting, measured),
        "shifts": measured,
        "roc": add(
            f"roc-{slug}",
            partial(method_figures.roc_curves, setting),
            f"ROC curves of {len(setting.contenders)} methods on the {setting.target} test images, "
            f"{setting.title}; the table under Accuracy lists the areas.",
        ),
        "reliability": add(
            f"reliability-{slug}",
            partial(method_figures.reliability_curves, setting),
            f"Share of mergers against predicted probability for {len(setting.contenders)} methods on the "
            f"{setting.target} test images, {setting.title}.",
        ),
    }
    learning = {
        contender: add(
            f"learning-{slug}-{anchor(contender)}",
            partial(one_method.learning, contender),
            f"Learning curves of {contender.name}, {setting.title}: losses above, below balanced accuracy on the "
            f"labelled validation images, which are {_labelled(contender)}.",
            png=False,
        )
        for contender in setting.contenders
    }
    pair = [contender for contender in (setting.baseline, setting.adapted) if contender is not None]
    planes = {
        shift.contender: add(
            f"features-{slug}-{anchor(shift.contender)}",
            partial(one_method.feature_plane, setting, shift),
            f"Validation images in the first two principal components of the features of {shift.contender.name}, "
            f"{setting.title}: {setting.source} and {setting.target}, mergers and non-mergers.",
            of=shift.contender,
            png=False,
        )
        for shift in measured
    }
    values["planes"] = [planes[contender] for contender in pair]
    values["learning"] = [learning[contender] for contender in pair or setting.contenders]
    values["methods"] = [
        {
            "contender": contender,
            "anchor": anchor(contender),
            "figures": [learning[contender], planes[contender]],
        }
        for contender in setting.contenders
    ]
    return values | _galleries(setting, add)


def _labelled(contender: Contender) -> str:
    """The domain whose labels a method is trained with, in words."""
    return f"{contender.first.config.transfer.labelled_domain} ones"


def _galleries(setting: Setting, add: FigureFiles) -> dict[str, Any]:
    """Examples by outcome, and saliency maps or the reason why there are none."""
    slug = setting.slug
    stamps = gallery.Stamps(setting, prepared_images(setting.shown.first))
    examples = []
    for outcome in gallery.OUTCOMES:
        figure = gallery.examples(setting, stamps, outcome)
        drawn = None
        if figure is not None:
            drawn = add(
                f"examples-{slug}-{outcome.replace(' ', '-')}",
                figure,
                f"{outcome.capitalize()} of {setting.shown.name} on the {setting.target} test images, each as a "
                f"pristine image above a noisy one, {setting.title}.",
                of=setting.shown,
            )
        examples.append({"outcome": outcome, "drawn": drawn})
    maps, reason = [], ""
    try:
        for label, name in ((1, "mergers"), (0, "non-mergers")):
            figure = gallery.saliency(setting, stamps, label)
            if figure is not None and setting.baseline is not None and setting.adapted is not None:
                alt = (
                    f"Grad-CAM maps of {setting.baseline.name} and {setting.adapted.name} for the same "
                    f"{setting.target} images of {name}, {setting.title}."
                )
                drawn = add(f"saliency-{slug}-{name}", figure, alt, of=setting.adapted)
                maps.append({"name": name, "drawn": drawn})
        if not maps:
            reason = "The study has no source-only training and adapted training to compare."
    except NoConvolution:
        reason = "Grad-CAM does not apply, because the networks have no convolution."
    return {
        "examples": examples,
        "saliency": maps,
        "no_saliency": reason,
        "colours": stamps.caption,
        "field": field(gallery.EXAMPLE_PIXELS),
    }


def _render(gathered: StudyResults, directions: Sequence[Mapping[str, Any]], listed: dict[str, Any]) -> str:
    banner = prose.banner(gathered)
    return render(
        Path(__file__).parent / "page.html.j2",
        **_common(gathered),
        directions=directions,
        part=None,
        citation=prose.citation(prose.kinds(gathered), warned=bool(banner["warnings"])),
        headlines=[findings.headline(direction, gathered) for direction in gathered.directions],
        as_published=published_figures.all_rows(gathered.transfer),
        published_note=published_figures.NOTE,
        facts=guide.facts(gathered, test_evaluations(gathered), rules_committed(gathered.study)),
        glossary=guide.glossary(gathered),
        few_ranked=FEWEST_RANKED,
        threshold_note=guide.threshold_note(gathered),
        configuration=configurations(gathered),
        settings=gathered.settings,
        entries=entry_rows(gathered),
        runs=listed,
        listed=len(listed["entries"]) <= MOST_LISTED,
        references=references(),
        methods=methods_section(),
    )


def _render_setting(
    gathered: StudyResults,
    part: Mapping[str, Any],
    directions: Sequence[Mapping[str, Any]],
    listed: dict[str, Any],
) -> str:
    setting = part["setting"]
    own = [entry for entry in listed["entries"] if entry["setting"] is setting]
    return render(
        Path(__file__).parent / "setting.html.j2",
        **_common(gathered),
        part=part,
        pages=[other for view in directions for other in view["parts"]],
        main=PAGE_NAME,
        runs=listed | {"entries": own},
    )


def _common(gathered: StudyResults) -> dict[str, Any]:
    """Values that every page needs."""
    own = {style.variable for style in PAGE}
    return {
        "styles": [SOURCE, TARGET, *(style for style in gathered.styles if style.variable not in own)],
        "banner": prose.banner(gathered),
        "title": prose.title(gathered),
        "version": __version__,
        "local": LOCAL,
    }
