"""The sentences of the page, composed from the results of the study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from mergershift.archive import DOI, terms_of
from mergershift.cells.records import Trained
from mergershift.report.study_results import Contender, Setting, StudyResults
from mergershift.report.style import spelt
from mergershift.report.tables import NONE, Value, comparison_rows, drop, in_setting, metric_value, of_method


def listed(names: Iterable[str]) -> str:
    """Join names as in a sentence: ``a``, ``a and b``, ``a, b and c``."""
    items = list(names)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def counted(count: int, name: str) -> str:
    """Write a count with its noun: ``1 seed``, ``2 seeds``, ``1 galaxy``, ``2 000 galaxies``."""
    plural = f"{name.removesuffix('y')}ies" if name.endswith("y") else f"{name}s"
    return f"{count:,} {name if count == 1 else plural}".replace(",", "\u202f")


def title(gathered: StudyResults) -> str:
    """The question that the study answers, as the title of the page."""
    directions = list(dict.fromkeys((setting.source, setting.target) for setting in gathered.settings))
    step = "from {} to {}" if len(directions) == 1 else "between {} and {}"
    return f"Which adaptation method survives the step {step.format(*directions[0])} images?"


def kinds(gathered: StudyResults) -> list[str]:
    """Provenance of the images (mock, archive or unknown); several kinds if trainings differ."""
    return sorted({training.trained.provenance.kind for training in gathered.trainings})


def note(gathered: StudyResults) -> str:
    """Note on the provenance of the images, printed on every figure; empty if they are the published archive."""
    provenance = kinds(gathered)
    if provenance == ["archive"]:
        return ""
    return "MOCK IMAGES" if provenance == ["mock"] else f"IMAGES: {' + '.join(provenance)}".upper()


def banner(gathered: StudyResults) -> dict[str, Any]:
    """The banner that names the provenance of the images and warns of what else limits the results."""
    kinds_found = kinds(gathered)
    provenances = [training.trained.provenance for training in gathered.trainings]
    warnings = []
    if kinds_found == ["mock"]:
        universes = sorted({provenance.universe for provenance in provenances})
        headline = "MOCK IMAGES, NOT THE ARCHIVE."
        text = (
            "All results on this page come from simulated stand-in images that serve to test the code. They carry no "
            "information about real galaxies, the DeepMerge archive or how well the methods work on it. Mock universe: "
            f"{'; '.join(universes)}."
        )
    elif kinds_found == ["archive"]:
        headline = "DeepMerge archive."
        addresses = sorted({str(provenance.address) for provenance in provenances})
        text = f"All results come from the published images (doi:{DOI}), fetched from {listed(addresses)}."
    elif kinds_found == ["unknown"]:
        headline = "IMAGES OF UNKNOWN PROVENANCE."
        text = (
            "There is no record of whether these images come from the archive or from a mock. Do not cite any result "
            "before you know."
        )
    else:
        headline = f"MIXED IMAGES: {' AND '.join(kinds_found)}.".upper()
        text = "The trainings of this study used images of different provenance: do not compare or cite them."
    if any(training.trained.split.kind == "published_leaky" for training in gathered.trainings):
        warnings.append(
            "The split is the published one, by image: nearly every test galaxy was also used in training, so all "
            "accuracies are too high."
        )
    warnings += _doubts([training.trained for training in gathered.trainings])
    for setting in gathered.settings:
        hashes = {
            training.trained.data_hash for contender in setting.contenders for training in contender.trainings
        }
        if len(hashes) > 1:
            warnings.append(
                f"{setting.title}: the trainings used {len(hashes)} different data sets. Run the study again."
            )
    return {
        "real": kinds_found == ["archive"] and not warnings,
        "headline": headline,
        "text": text,
        "warnings": warnings,
    }


def citation(provenance: Sequence[str], warned: bool) -> str:
    """Say what to state with a result from the page, and the terms of its images.

    Args:
        provenance: What `kinds` returns.
        warned: Whether the banner has warnings.
    """
    terms = " ".join(terms_of(kind) for kind in provenance)
    if list(provenance) not in (["archive"], ["mock"]):
        return (
            f"Do not cite a result from this page: its images are of {listed(provenance)} provenance. {terms}"
        )
    text = "When you cite a result from this page, give the commit and the hash of the images from section 10"
    if list(provenance) == ["mock"]:
        text += ", and state that it is not based on the images of the archive"
    if warned:
        text += ", and repeat the warnings at the top of the page"
    return f"{text}. {terms}"


def _doubts(trainings: Sequence[Trained]) -> list[str]:
    """Warn of what is not certain about the archive's files from which the images of some trainings were made."""
    doubts = []
    if any(trained.provenance.stated_by == "user" for trained in trainings):
        doubts.append(
            "That the images are the archive's is what a user stated; they were not fetched from there."
        )
    if any(trained.reading.get("galaxies") == "renderings" for trained in trainings):
        doubts.append(
            "The archive's rows are in an unknown order: the split is by rendering, so cameras of one galaxy can be in "
            "training and in test, and accuracies can be too high."
        )
    orders = {order for trained in trainings for what, order in trained.reading.items() if what != "galaxies"}
    if undecided := sorted(order for order in orders if "(assumed" in order):
        doubts.append(f"Which channel shows which filter is not certain: {listed(undecided)}.")
    return doubts


def lead(gathered: StudyResults) -> str:
    """The question of the study as a paragraph."""
    directions = list(dict.fromkeys((setting.source, setting.target) for setting in gathered.settings))
    step = "in {} images and is then applied to {} ones".format(*directions[0])
    vice_versa = ", or vice versa" if len(directions) > 1 else ""
    return (
        f"A network learns to distinguish mergers from other galaxies {step}{vice_versa}. How much accuracy does it "
        "lose on the target, and how much of this loss does each adaptation method win back without a single target "
        "label?"
    )


def facts(gathered: StudyResults, evaluations: Sequence[tuple[str, int]]) -> list[tuple[str, str]]:
    """The setup of the study, as terms and their descriptions."""
    first = gathered.settings[0]
    names = list(
        dict.fromkeys(contender.name for setting in gathered.settings for contender in setting.contenders)
    )
    thresholds = {training.selection.threshold_rule for training in gathered.trainings}
    rule = (
        "the threshold with the best balanced accuracy on the labelled validation images"
        if thresholds == {"source_validation"}
        else "threshold 0.5"
        if thresholds == {"half"}
        else listed(sorted(thresholds))
    )
    validators = sorted({training.selection.validator for training in gathered.trainings})
    chosen = listed(
        "the training’s own rule" if validator == "kept" else spelt(validator).lower()
        for validator in validators
    )
    counts = "; ".join(f"{name}: {counted(count, 'time')}" for name, count in evaluations)
    seeds = gathered.study.seeds
    return [
        (
            "Directions",
            "; ".join(dict.fromkeys(f"{setting.source} → {setting.target}" for setting in gathered.settings)),
        ),
        ("Filters", "; ".join(dict.fromkeys(setting.filter_names for setting in gathered.settings))),
        ("Methods", ", ".join(names)),
        (
            "Network",
            f"{spelt(gathered.study.network)}, {counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))})",
        ),
        ("Split", str(gathered.trainings[0].trained.split).replace("%", " %")),
        ("Tested on", f"{sizes(first)['what']}; every rendering counts once"),
        (
            "Chosen without target labels",
            f"the epoch by {chosen}, the best method by {spelt(first.validator).lower() or NONE}, both named "
            f"beforehand; {rule}",
        ),
        ("Test evaluations so far", f"{counts} (every evaluation of any training counts)"),
    ]


def sizes(setting: Setting) -> dict[str, str]:
    """Descriptions of a setting's images, seeds and intervals for captions."""
    count = setting.sizes
    target = setting.contenders[0].first.target.drop_duplicates("galaxy")
    mergers = int(target["label"].sum())
    what = (
        f"{counted(count['galaxies'], 'galaxy')} ({mergers} of them mergers), {counted(count['images'], 'rendering')} "
        "in each domain"
    )
    several, seeds = count["seeds"] > 1, counted(count["seeds"], "seed")
    return {
        "what": what,
        "seeds": seeds,
        "short": f"{counted(count['galaxies'], 'test galaxy')}, {counted(count['images'], 'rendering')}, {seeds}",
        "interval": "95 % intervals from resampling galaxies and seeds together"
        if several
        else "95 % intervals from resampling galaxies; with one seed, they exclude the scatter between trainings",
        "several": "yes" if several else "",
    }


def compared(images: pd.DataFrame) -> str:
    """Number of validation images that the feature planes and distances are based on."""
    return (
        f"{counted(len(images), 'rendering')} of {counted(images['galaxy'].nunique(), 'validation galaxy')}"
    )


def tiles(setting: Setting, gathered: StudyResults) -> list[dict[str, Any]]:
    """The main results of a setting: source-only on source and target, the best method, and the oracle."""
    own = in_setting(gathered.transfer, setting)
    results = []

    def add(what: str, contender: Contender, role: str) -> None:
        accuracy = metric_value(own, contender, role, "balanced_accuracy")
        results.append({"what": what, "value": accuracy, "hue": contender.style.variable})

    if setting.baseline is not None:
        add(f"Source only, on {setting.source} images", setting.baseline, "source")
        add(f"Source only, on {setting.target} images", setting.baseline, "target")
    if setting.best is not None and not setting.best.is_baseline:
        name = f"{setting.best.name}, the validator's choice"
        add(f"{name}, on {setting.target} images", setting.best, "target")
    for contender in setting.contenders:
        if contender.is_oracle:
            add(f"Oracle, trained on {setting.target} labels", contender, "target")
    return results


def summary(setting: Setting, gathered: StudyResults) -> str:
    """The result of a setting in up to three sentences, which claim no more than the intervals support."""
    baseline, best = setting.baseline, setting.best
    lost = drop(setting, gathered.comparison)
    by = f"By {spelt(setting.validator).lower()}, the validator named beforehand,"
    if baseline is None or lost is None:
        return f"{by} {best.name} is the best method." if best else ""
    own = in_setting(gathered.comparison, setting)
    certain = float(own["drop_low"].iloc[0]) > 0
    loss = f"{lost.text} {lost.bounds}"
    sentences = [
        f"Without adaptation, {loss} of balanced accuracy is lost between {setting.source} and {setting.target} images."
        if certain
        else f"Without adaptation, no loss between {setting.source} and {setting.target} images is certain: {loss}."
    ]
    if best is None:
        return sentences[0]
    if best.is_baseline:
        return f"{sentences[0]} {by} no method is better than source only."
    row = next(row for row in comparison_rows(setting, gathered.comparison) if row.contender is best)
    difference, _, holm, back = row.values
    sentences.append(
        f"{by} {best.name} is the best method: {difference.text} "
        f"{difference.bounds} relative to source only on the same galaxies (Holm-corrected p {_equals(holm)})"
        + (f", which wins back {back.text} {back.bounds} of the loss." if back.text != NONE else ".")
    )
    bounds = of_method(own, best).iloc[0]
    if not (bounds["low"] > 0 or bounds["high"] < 0):
        sentences.append("The interval contains 0, so on these galaxies the difference is not certain.")
    elif bounds["high"] < 0:
        sentences.append("The validator therefore chose a method that is worse than no adaptation.")
    return " ".join(sentences)


def _equals(value: Value) -> str:
    return value.text if value.text.startswith("<") else f"= {value.text}"
