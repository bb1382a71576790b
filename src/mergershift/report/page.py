"""Writes outputs/report/: a self-contained page on the study, and its figures as files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

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
    remarks,
    tables,
)
from mergershift.report.feature_shift import compared_images, measure, prepared_images
from mergershift.report.lineage import LOCAL, configurations, runs, test_evaluations
from mergershift.report.rendering import render
from mergershift.report.stamps import field
from mergershift.report.study_results import Contender, Direction, Setting, StudyResults, read_study_results
from mergershift.report.style import PAGE, SOURCE, TARGET
from mergershift.report.svg import Drawing, mark, save, style
from mergershift.report.validator_table import FEWEST_RANKED, ranked_networks, shown_columns, validator_rows

ByRun = dict[tuple[str, str], dict[str, bytes]]
"""PNG files by their names, by the experiment and the id of a training."""
FIGURES_OF_A_SETTING = 5
"""Number of figures that are neither of a single method nor of an outcome: overview, two of curves, two of saliency."""


def write_report() -> ByRun:
    """Write the page and its figures to outputs/report/.

    Returns the figures that show a single method, for the run of its first training.
    Raises UserError if a part of the study is missing.
    """
    gathered = read_study_results()
    by_run: ByRun = {}
    with (
        atomic_directory(root() / REPORT) as folder,
        style(),
        progress_bar("measuring and drawing", _steps(gathered)) as advance,
    ):
        (folder / "figures").mkdir()
        add = _FigureWriter(folder / "figures", gathered, by_run, advance)
        limits = overview_figure.common_limits(gathered)
        directions = [
            _direction(
                direction,
                [_setting(setting, gathered, add, limits) for setting in direction.settings],
                gathered,
            )
            for direction in gathered.directions
        ]
        (folder / PAGE_NAME).write_text(_render(gathered, directions))
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


class _FigureWriter:
    """Saves figures and returns what the template needs to place them on the page."""

    def __init__(
        self, folder: Path, gathered: StudyResults, by_run: ByRun, advance: Callable[[int], None]
    ) -> None:
        self._folder, self._by_run, self.advance = folder, by_run, advance
        self._styles = gathered.styles
        self._note = prose.note(gathered)
        self._count = 0

    def __call__(self, name: str, figure: Figure, alt: str, of: Contender | None = None) -> dict[str, Any]:
        """Save a figure under `name`; `of` is the method if it shows only a single one."""
        mark(figure, self._note)
        self._count += 1
        svg = save(Drawing(name, figure, alt), self._folder, self._styles, self._count)
        self.advance(1)
        if of is not None:
            record = of.first.record
            file = f"{name}.png"
            files = self._by_run.setdefault((record.experiment, record.training), {})
            files[file] = (self._folder / file).read_bytes()
        return {"svg": svg, "of": of.name if of else ""}


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
        "transfer": wide(lambda setting: tables.transfer_rows(setting, gathered.transfer)),
        "comparison": wide(lambda setting: tables.comparison_rows(setting, gathered.comparison)),
        "confusion": wide(tables.confusion_rows),
        "choice": wide(lambda setting: tables.choice_rows(setting, gathered.transfer)),
        "validators": list(zip(*(part["validators"] for part in parts), strict=True)),
        "validator_columns": shown_columns([part["validators"] for part in parts]),
        "distances": tables.side_by_side(settings, [part["distances"] for part in parts]),
        "distance_note": remarks.distance_note({part["setting"]: part["shifts"] for part in parts}),
    }


def _setting(
    setting: Setting, gathered: StudyResults, add: _FigureWriter, limits: tuple[float, float]
) -> dict[str, Any]:
    """Values for the template's figures and sentences on a filter set in one direction."""
    slug = setting.slug
    overview = add(
        f"overview-{slug}",
        overview_figure.overview(setting, gathered, limits),
        f"Balanced accuracy of {len(setting.contenders)} methods on {setting.target} test images with intervals, "
        f"{setting.title}, against source only on {setting.source} and {setting.target} images; the table under "
        "Accuracy lists the values.",
    )
    shifts = measure(setting, add.advance)
    values: dict[str, Any] = {
        "setting": setting,
        "overview": overview,
        "sizes": guide.sizes(setting),
        "compared": guide.compared(compared_images(setting)),
        "drop": tables.drop(setting, gathered.comparison),
        "validators": validator_rows(setting, gathered.validators),
        "ranked": ranked_networks(setting),
        "distances": tables.distance_rows(setting, shifts),
        "shifts": shifts,
        "roc": add(
            f"roc-{slug}",
            method_figures.roc_curves(setting),
            f"ROC curves of {len(setting.contenders)} methods on the {setting.target} test images, "
            f"{setting.title}; the table under Accuracy lists the areas.",
        ),
        "reliability": add(
            f"reliability-{slug}",
            method_figures.reliability_curves(setting),
            f"Share of mergers against predicted probability for {len(setting.contenders)} methods on the "
            f"{setting.target} test images, {setting.title}.",
        ),
        "learning": [
            add(
                f"learning-{slug}-{_slug(contender)}",
                method_figures.learning(contender),
                f"Learning curves of {contender.name}, {setting.title}: losses above, below balanced accuracy on the "
                f"labelled validation images, which are {_labelled(contender)}.",
            )
            for contender in setting.contenders
        ],
    }
    pair = [contender for contender in (setting.baseline, setting.adapted) if contender is not None]
    planes = {
        shift.contender: add(
            f"features-{slug}-{_slug(shift.contender)}",
            method_figures.feature_plane(setting, shift),
            f"Validation images in the first two principal components of the features of {shift.contender.name}, "
            f"{setting.title}: {setting.source} and {setting.target}, mergers and non-mergers.",
            of=shift.contender,
        )
        for shift in shifts
    }
    values["planes"] = [planes[contender] for contender in pair]
    values["more_planes"] = [plane for contender, plane in planes.items() if contender not in pair]
    return values | _galleries(setting, add)


def _labelled(contender: Contender) -> str:
    """The domain whose labels a method is trained with, in words."""
    return f"{contender.first.config.transfer.labelled_domain} ones"


def _galleries(setting: Setting, add: _FigureWriter) -> dict[str, Any]:
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


def _slug(contender: Contender) -> str:
    return contender.method.title.replace("_", "-")


def _render(gathered: StudyResults, directions: Sequence[Mapping[str, Any]]) -> str:
    own = {style.variable for style in PAGE}
    banner = prose.banner(gathered)
    return render(
        Path(__file__).parent / "page.html.j2",
        styles=[SOURCE, TARGET, *(style for style in gathered.styles if style.variable not in own)],
        directions=directions,
        banner=banner,
        citation=prose.citation(prose.kinds(gathered), warned=bool(banner["warnings"])),
        title=prose.title(gathered),
        headlines=[findings.headline(direction, gathered) for direction in gathered.directions],
        facts=guide.facts(gathered, test_evaluations(gathered)),
        glossary=guide.glossary(gathered),
        few_ranked=FEWEST_RANKED,
        configuration=configurations(gathered),
        runs=runs(gathered),
        references=references(),
        version=__version__,
        local=LOCAL,
    )
