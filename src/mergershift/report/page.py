"""outputs/report/: one self-contained page of the study, and its figures as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure

from mergershift import __version__
from mergershift.cells.layout import REPORT
from mergershift.classifier.saliency import NoConvolution
from mergershift.core.checkout import root
from mergershift.core.citation import references
from mergershift.core.files import atomic_directory
from mergershift.report import gallery, method_figures, prose, tables
from mergershift.report.feature_shift import compared_images, measure, prepared_images
from mergershift.report.lineage import LOCAL, configurations, runs, test_evaluations
from mergershift.report.study_results import Contender, Setting, StudyResults, read_study_results
from mergershift.report.style import PAGE, SOURCE, TARGET, spelt
from mergershift.report.svg import Drawing, mark, save, style

PAGE_NAME = "index.html"
ByRun = dict[tuple[str, str], dict[str, Figure]]


def write_report() -> ByRun:
    """Write the page and its figures to outputs/report/.

    Returns the figures that show a single method, by its first seed's experiment and training and by name.
    Raises UserError where a part of the study is missing.
    """
    gathered = read_study_results()
    by_run: ByRun = {}
    with atomic_directory(root() / REPORT) as folder, style():
        (folder / "figures").mkdir()
        easel = _Easel(folder / "figures", gathered, by_run)
        settings = [_setting(setting, gathered, easel) for setting in gathered.settings]
        (folder / PAGE_NAME).write_text(_render(gathered, settings))
    return by_run


class _Easel:
    """Saves figures and hands out their places on the page."""

    def __init__(self, folder: Path, gathered: StudyResults, by_run: ByRun) -> None:
        self._folder, self._by_run = folder, by_run
        self._looks = gathered.looks
        self._note = prose.note(gathered)
        self._count = 0

    def __call__(self, name: str, figure: Figure, alt: str, of: Contender | None = None) -> dict[str, Any]:
        """Save a figure under `name`; `of` is the method that it shows alone."""
        if self._note:
            mark(figure, self._note)
        self._count += 1
        svg = save(Drawing(name, figure, alt), self._folder, self._looks, self._count)
        if of is not None:
            record = of.first.record
            self._by_run.setdefault((record.experiment, record.training), {})[name] = figure
        return {"svg": svg, "of": of.name if of else ""}


def _setting(setting: Setting, gathered: StudyResults, easel: _Easel) -> dict[str, Any]:
    """What the template shows of a setting."""
    slug = setting.slug
    accuracy = tables.in_setting(gathered.transfer, setting)
    accuracy = accuracy[(accuracy["metric"] == "balanced_accuracy") & (accuracy["rows"] == "unique")]
    shifts = measure(setting)
    shown: dict[str, Any] = {
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
        "dots": easel(
            f"accuracy-{slug}",
            method_figures.accuracy_dots(setting, accuracy),
            f"Dot plot of balanced accuracy by method, {setting.title}; the values stand in the table above.",
        ),
        "curves": [
            easel(
                f"roc-{slug}",
                method_figures.roc_curves(setting),
                f"ROC curves of {len(setting.contenders)} methods on the {setting.target} test images, "
                f"{setting.title}; the areas stand in the first table.",
            ),
            easel(
                f"reliability-{slug}",
                method_figures.reliability_curves(setting),
                f"Share of mergers against predicted probability for {len(setting.contenders)} methods on the "
                f"{setting.target} test images, {setting.title}.",
            ),
        ],
        "learning": [
            easel(
                f"learning-{slug}-{_slug(each)}",
                method_figures.learning(each),
                f"Learning curves of {each.name}, {setting.title}: losses above, balanced accuracy on the source's "
                "validation images below.",
            )
            for each in setting.contenders
        ],
    }
    pair = [each for each in (setting.baseline, setting.adapted) if each is not None]
    planes = {
        each.contender: easel(
            f"features-{slug}-{_slug(each.contender)}",
            method_figures.feature_plane(setting, each),
            f"Test images in the first two principal components of the features of {each.contender.name}, "
            f"{setting.title}: {setting.source} and {setting.target}, mergers and non-mergers.",
            of=each.contender,
        )
        for each in shifts
    }
    shown["planes"] = [planes[each] for each in pair]
    shown["more_planes"] = [plane for each, plane in planes.items() if each not in pair]
    return shown | _galleries(setting, easel)


def _galleries(setting: Setting, easel: _Easel) -> dict[str, Any]:
    """Examples by outcome, and saliency maps or why there are none."""
    slug = setting.slug
    stamps = gallery.Stamps(setting, prepared_images(setting.shown.first))
    examples = []
    for outcome in gallery.OUTCOMES:
        figure = gallery.examples(setting, stamps, outcome)
        drawn = None
        if figure is not None:
            drawn = easel(
                f"examples-{slug}-{outcome.replace(' ', '-')}",
                figure,
                f"Test images that {setting.shown.name} made {outcome} on the {setting.target} images, as pristine "
                f"and as noisy images side by side, {setting.title}.",
                of=setting.shown,
            )
        examples.append({"outcome": outcome, "drawn": drawn})
    looks, why = [], ""
    try:
        for label, name in ((1, "mergers"), (0, "non-mergers")):
            figure = gallery.saliency(setting, stamps, label)
            if figure is not None and setting.baseline is not None and setting.adapted is not None:
                alt = (
                    f"Grad-CAM maps of {setting.baseline.name} and {setting.adapted.name} over the same "
                    f"{setting.target} images of {name}, {setting.title}."
                )
                drawn = easel(f"saliency-{slug}-{name}", figure, alt, of=setting.adapted)
                looks.append({"name": name, "drawn": drawn})
        if not looks:
            why = "The study has no source-only training beside an adapted one to compare."
    except NoConvolution:
        why = "The networks have no convolution, so there are no maps to weigh: Grad-CAM does not apply."
    return {"examples": examples, "saliency": looks, "no_saliency": why, "noise": stamps.noise}


def _slug(each: Contender) -> str:
    return each.method.title.replace("_", "-")


def _render(gathered: StudyResults, settings: Sequence[Mapping[str, Any]]) -> str:
    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(here),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["spelt"] = spelt
    own = {look.variable for look in PAGE}
    return environment.get_template("page.html.j2").render(
        css=(here / "page.css").read_text(),
        looks=[SOURCE, TARGET, *(look for look in gathered.looks if look.variable not in own)],
        settings=settings,
        banner=prose.banner(gathered),
        title=prose.title(gathered),
        facts=prose.facts(gathered, test_evaluations(gathered)),
        lead=prose.lead(gathered),
        configuration=configurations(gathered),
        runs=runs(gathered),
        references=references(),
        version=__version__,
        local=LOCAL,
    )
