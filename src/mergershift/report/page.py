"""Writes outputs/report/: a self-contained page on the study, and its figures as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from mergershift import __version__
from mergershift.cells.layout import PAGE_NAME, REPORT
from mergershift.cells.summary_files import write_page_record
from mergershift.classifier.saliency import NoConvolution
from mergershift.core.checkout import root
from mergershift.core.citation import references
from mergershift.core.files import atomic_directory
from mergershift.report import gallery, method_figures, prose, tables
from mergershift.report.feature_shift import compared_images, measure, prepared_images
from mergershift.report.lineage import LOCAL, configurations, runs, test_evaluations
from mergershift.report.stamps import field
from mergershift.report.study_results import Contender, Setting, StudyResults, read_study_results
from mergershift.report.style import PAGE, SOURCE, TARGET, spelt
from mergershift.report.svg import Drawing, mark, save, style

ByRun = dict[tuple[str, str], dict[str, Figure]]


def write_report() -> ByRun:
    """Write the page and its figures to outputs/report/.

    Returns the figures that show a single method, by the experiment and the id of its first training, and by name.
    Raises UserError if a part of the study is missing.
    """
    gathered = read_study_results()
    by_run: ByRun = {}
    with atomic_directory(root() / REPORT) as folder, style():
        (folder / "figures").mkdir()
        add = _FigureWriter(folder / "figures", gathered, by_run)
        settings = [_setting(setting, gathered, add) for setting in gathered.settings]
        (folder / PAGE_NAME).write_text(_render(gathered, settings))
        records = [training.record for training in gathered.trainings]
        write_page_record(folder, [record.training for record in records], records[0].experiment)
    return by_run


class _FigureWriter:
    """Saves figures and returns what the template needs to place them on the page."""

    def __init__(self, folder: Path, gathered: StudyResults, by_run: ByRun) -> None:
        self._folder, self._by_run = folder, by_run
        self._styles = gathered.styles
        self._note = prose.note(gathered)
        self._count = 0

    def __call__(self, name: str, figure: Figure, alt: str, of: Contender | None = None) -> dict[str, Any]:
        """Save a figure under `name`; `of` is the method if it shows only a single one."""
        if self._note:
            mark(figure, self._note)
        self._count += 1
        svg = save(Drawing(name, figure, alt), self._folder, self._styles, self._count)
        if of is not None:
            record = of.first.record
            self._by_run.setdefault((record.experiment, record.training), {})[name] = figure
        return {"svg": svg, "of": of.name if of else ""}


def _setting(setting: Setting, gathered: StudyResults, add: _FigureWriter) -> dict[str, Any]:
    """Values for the template's sections on a setting."""
    slug = setting.slug
    accuracy = tables.in_setting(gathered.transfer, setting)
    accuracy = accuracy[(accuracy["metric"] == "balanced_accuracy") & (accuracy["rows"] == "unique")]
    shifts = measure(setting)
    values: dict[str, Any] = {
        "setting": setting,
        "sizes": prose.sizes(setting),
        "compared": prose.compared(compared_images(setting)),
        "summary": prose.summary(setting, gathered),
        "tiles": prose.tiles(setting, gathered),
        "transfer": tables.transfer_rows(setting, gathered.transfer),
        "comparison": tables.comparison_rows(setting, gathered.comparison),
        "drop": tables.drop(setting, gathered.comparison),
        "confusion": tables.confusion_rows(setting),
        "choice": tables.choice_rows(setting, gathered.transfer),
        "validators": tables.validator_rows(setting, gathered.validators),
        "distances": tables.distance_rows(setting, shifts),
        "dots": add(
            f"accuracy-{slug}",
            method_figures.accuracy_dots(setting, accuracy),
            f"Dot plot of balanced accuracy by method, {setting.title}; the table above lists the values.",
        ),
        "curves": [
            add(
                f"roc-{slug}",
                method_figures.roc_curves(setting),
                f"ROC curves of {len(setting.contenders)} methods on the {setting.target} test images, "
                f"{setting.title}; the first table lists the areas.",
            ),
            add(
                f"reliability-{slug}",
                method_figures.reliability_curves(setting),
                f"Share of mergers against predicted probability for {len(setting.contenders)} methods on the "
                f"{setting.target} test images, {setting.title}.",
            ),
        ],
        "learning": [
            add(
                f"learning-{slug}-{_slug(contender)}",
                method_figures.learning(contender),
                f"Learning curves of {contender.name}, {setting.title}: losses above, balanced accuracy on the "
                "source's validation images below.",
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


def _render(gathered: StudyResults, settings: Sequence[Mapping[str, Any]]) -> str:
    package = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(package),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["spelt"] = spelt
    own = {style.variable for style in PAGE}
    banner = prose.banner(gathered)
    return environment.get_template("page.html.j2").render(
        css=(package / "page.css").read_text(),
        styles=[SOURCE, TARGET, *(style for style in gathered.styles if style.variable not in own)],
        settings=settings,
        banner=banner,
        citation=prose.citation(prose.kinds(gathered), warned=bool(banner["warnings"])),
        title=prose.title(gathered),
        facts=prose.facts(gathered, test_evaluations(gathered)),
        lead=prose.lead(gathered),
        configuration=configurations(gathered),
        runs=runs(gathered),
        references=references(),
        version=__version__,
        local=LOCAL,
    )
