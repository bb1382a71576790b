"""Sentences of the page, made from what the study holds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from mergershift.archive import DOI
from mergershift.report.study_results import Setting, StudyResults
from mergershift.report.style import spelt
from mergershift.report.tables import NONE, Value, comparison_rows, drop, figure, in_setting, of_method


def listed(names: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    items = list(names)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def counted(count: int, name: str) -> str:
    """``1 seed``, ``2 seeds``, ``1 galaxy``, ``2 000 galaxies``."""
    plural = f"{name.removesuffix('y')}ies" if name.endswith("y") else f"{name}s"
    return f"{count:,} {name if count == 1 else plural}".replace(",", "\u202f")


def title(gathered: StudyResults) -> str:
    """The question, as the page's title."""
    ways = list(dict.fromkeys((each.source, each.target) for each in gathered.settings))
    step = "from {} to {}" if len(ways) == 1 else "between {} and {}"
    return f"Which adaptation survives the step {step.format(*ways[0])} images?"


def kinds(gathered: StudyResults) -> list[str]:
    """Where the images come from: mock, archive, unknown; several where trainings differ."""
    return sorted({run.trained.provenance.kind for run in gathered.trainings})


def note(gathered: StudyResults) -> str:
    """What every figure says of its images; nothing where they are the published archive's."""
    found = kinds(gathered)
    if found == ["archive"]:
        return ""
    return "MOCK IMAGES" if found == ["mock"] else f"IMAGES: {' + '.join(found)}".upper()


def banner(gathered: StudyResults) -> dict[str, Any]:
    """What the images are, in words that nobody can miss, and what else limits the figures."""
    found = kinds(gathered)
    origins = [run.trained.provenance for run in gathered.trainings]
    warnings = []
    if found == ["mock"]:
        universes = sorted({origin.universe for origin in origins})
        headline = "MOCK IMAGES, NOT THE ARCHIVE."
        text = (
            "Every figure on this page comes from simulated stand-in images that test the code. They say nothing about "
            f"real galaxies, the DeepMerge archive or the methods' worth on it. Mock universe: {'; '.join(universes)}."
        )
    elif found == ["archive"]:
        headline = "DeepMerge archive."
        addresses = sorted({str(origin.address) for origin in origins})
        text = f"All figures come from the published images (doi:{DOI}), fetched from {listed(addresses)}."
    elif found == ["unknown"]:
        headline = "IMAGES OF UNKNOWN PROVENANCE."
        text = "Nothing says whether these files are the archive or a mock. Do not cite a figure before you know."
    else:
        headline = f"MIXED IMAGES: {' AND '.join(found)}.".upper()
        text = "Trainings of this study stand on images of different provenance: do not compare or cite them."
    if any(run.trained.split.kind == "published_leaky" for run in gathered.trainings):
        warnings.append(
            "The split is the published one, by image: nearly every test galaxy was also seen in training, so all "
            "accuracies are too high."
        )
    for setting in gathered.settings:
        hashes = {run.trained.data_hash for each in setting.contenders for run in each.trainings}
        if len(hashes) > 1:
            warnings.append(
                f"{setting.title}: trainings stand on {len(hashes)} different data sets. Run the study again."
            )
    return {
        "real": found == ["archive"] and not warnings,
        "headline": headline,
        "text": text,
        "warnings": warnings,
    }


def lead(gathered: StudyResults) -> str:
    """The question of the study in one paragraph."""
    ways = list(dict.fromkeys((each.source, each.target) for each in gathered.settings))
    step = "on {} images and is used on {} ones".format(*ways[0])
    other_way = ", or the other way round" if len(ways) > 1 else ""
    return (
        f"A network learns to tell merging galaxies from others {step}{other_way}. How much of its accuracy is lost on "
        "the way, and how much does each adaptation win back without seeing a single label of the target?"
    )


def facts(gathered: StudyResults, evaluations: Sequence[tuple[str, int]]) -> list[tuple[str, str]]:
    """The study's frame as terms and their meaning."""
    first = gathered.settings[0]
    names = list(dict.fromkeys(each.name for s in gathered.settings for each in s.contenders))
    thresholds = {run.selection.threshold_rule for run in gathered.trainings}
    rule = (
        "the threshold with the best balanced accuracy on the labelled validation images"
        if thresholds == {"source_validation"}
        else "threshold 0.5"
        if thresholds == {"half"}
        else listed(sorted(thresholds))
    )
    epochs = sorted({run.selection.validator for run in gathered.trainings})
    chosen = listed("the training’s own rule" if each == "kept" else spelt(each).lower() for each in epochs)
    counts = "; ".join(f"{name}: {counted(count, 'time')}" for name, count in evaluations)
    seeds = gathered.study.seeds
    return [
        (
            "Directions",
            "; ".join(dict.fromkeys(f"{each.source} → {each.target}" for each in gathered.settings)),
        ),
        ("Filters", "; ".join(dict.fromkeys(each.filter_names for each in gathered.settings))),
        ("Methods", ", ".join(names)),
        (
            "Network",
            f"{spelt(gathered.study.network)}, {counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))})",
        ),
        ("Split", str(gathered.trainings[0].trained.split).replace("%", " %")),
        ("Tested on", f"{sizes(first)['what']}; every rendering counts once"),
        (
            "Chosen without target labels",
            f"the epoch by {chosen}, methods by {spelt(first.validator).lower() or NONE}, both named beforehand; "
            f"{rule}",
        ),
        ("Test evaluations so far", f"{counts} (one for each evaluation of any training)"),
    ]


def sizes(setting: Setting) -> dict[str, str]:
    """What a figure's caption says of its images, seeds and intervals."""
    found = setting.sizes
    target = setting.contenders[0].first.target.drop_duplicates("galaxy")
    mergers = int(target["label"].sum())
    what = (
        f"{counted(found['galaxies'], 'galaxy')} ({mergers} of them mergers), {counted(found['images'], 'rendering')} "
        "in each domain"
    )
    several, seeds = found["seeds"] > 1, counted(found["seeds"], "seed")
    return {
        "what": what,
        "seeds": seeds,
        "short": f"{counted(found['galaxies'], 'test galaxy')}, {counted(found['images'], 'rendering')}, {seeds}",
        "interval": "95 % intervals from resampling galaxies and seeds together"
        if several
        else "95 % intervals from resampling galaxies; one seed, so without the scatter between trainings",
        "several": "yes" if several else "",
    }


def compared(images: pd.DataFrame) -> str:
    """How many validation images the feature planes and distances stand on."""
    return (
        f"{counted(len(images), 'rendering')} of {counted(images['galaxy'].nunique(), 'validation galaxy')}"
    )


def tiles(setting: Setting, gathered: StudyResults) -> list[dict[str, Any]]:
    """The four figures to remember: source-only at home and away, the best method, the oracle."""
    own = in_setting(gathered.transfer, setting)
    found = []

    def add(what: str, each: Any, role: str) -> None:
        found.append(
            {"what": what, "value": figure(own, each, role, "balanced_accuracy"), "hue": each.look.variable}
        )

    if setting.baseline is not None:
        add(f"Source only, on {setting.source} images", setting.baseline, "source")
        add(f"Source only, on {setting.target} images", setting.baseline, "target")
    if setting.best is not None and not setting.best.is_baseline:
        add(f"{setting.best.name}, the validator's best, on {setting.target} images", setting.best, "target")
    for each in setting.contenders:
        if each.is_oracle:
            add(f"Oracle, trained on {setting.target} labels", each, "target")
    return found


def summary(setting: Setting, gathered: StudyResults) -> str:
    """What came out, in two or three sentences that claim no more than the intervals do."""
    baseline, best = setting.baseline, setting.best
    lost = drop(setting, gathered.comparison)
    by = f"By {spelt(setting.validator).lower()}, the validator named beforehand,"
    if baseline is None or lost is None:
        return f"{by} {best.name} is the best method." if best else ""
    own = in_setting(gathered.comparison, setting)
    certain = float(own["drop_low"].iloc[0]) > 0
    found = f"{lost.text} {lost.bounds}"
    sentences = [
        f"Without adaptation {found} of balanced accuracy is lost on the way to {setting.target} images."
        if certain
        else f"Without adaptation no loss on {setting.target} images is certain: {found}."
    ]
    if best is None:
        return sentences[0]
    if best.is_baseline:
        return f"{sentences[0]} {by} no method looks better than source only."
    row = next(each for each in comparison_rows(setting, gathered.comparison) if each.contender is best)
    difference, _, holm, back = row.values
    sentences.append(
        f"{by} {best.name} is the best method: {difference.text} "
        f"{difference.bounds} against source only on the same galaxies (Holm-corrected p {_equals(holm)})"
        + (f", which wins back {back.text} {back.bounds} of the loss." if back.text != NONE else ".")
    )
    bounds = of_method(own, best).iloc[0]
    if not (bounds["low"] > 0 or bounds["high"] < 0):
        sentences.append("The interval holds 0: on these galaxies the difference is not certain.")
    elif bounds["high"] < 0:
        sentences.append("So the validator chose a method that is worse than none.")
    return " ".join(sentences)


def _equals(value: Value) -> str:
    return value.text if value.text.startswith("<") else f"= {value.text}"
