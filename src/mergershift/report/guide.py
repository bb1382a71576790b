"""The setup of the study, and the words and signs of the page, each explained once."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from mergershift.evaluation.conclusions import ALPHA
from mergershift.report.lineage import Looks
from mergershift.report.prose import kinds
from mergershift.report.study_results import Setting, StudyResults
from mergershift.report.style import spelt
from mergershift.report.values import NONE
from mergershift.report.wording import counted, listed, upper_first


def facts(gathered: StudyResults, evaluations: Sequence[Looks], committed: str) -> list[tuple[str, str]]:
    """The setup of the study, as terms and their descriptions; `committed` is what `rules_committed` returns."""
    first = gathered.settings[0]
    names = list(
        dict.fromkeys(contender.name for setting in gathered.settings for contender in setting.contenders)
    )
    thresholds = {training.selection.threshold_rule for training in gathered.trainings}
    rule = (
        "the threshold with the best balanced accuracy on the labelled validation images"
        if thresholds == {"source_validation"}
        else "an image is a merger from a probability of one half"
        if thresholds == {"half"}
        else listed(sorted(thresholds))
    )
    validators = sorted({training.selection.validator for training in gathered.trainings})
    chosen = listed(
        "the training’s own rule" if validator == "kept" else spelt(validator).lower()
        for validator in validators
    )
    counts = "; ".join(
        f"{looks.filter_names}: {counted(looks.count, 'time')}"
        + (f", {looks.first} to {looks.last}" if looks.first else "")
        for looks in evaluations
    )
    seeds = gathered.study.seeds
    return [
        ("Images", _images(gathered)),
        (
            "Directions",
            "; ".join(dict.fromkeys(f"{setting.source} → {setting.target}" for setting in gathered.settings)),
        ),
        (
            "Filters",
            "; ".join(
                dict.fromkeys(f"{setting.filter_names} ({setting.words})" for setting in gathered.settings)
            ),
        ),
        ("Methods", ", ".join(names)),
        (
            "Network",
            f"{spelt(gathered.study.network)}, {counted(len(seeds), 'seed')} ({', '.join(map(str, seeds))})",
        ),
        ("Split", str(gathered.trainings[0].trained.split).replace("%", " %")),
        (
            "Chosen without target labels",
            f"the epoch by {chosen}, the best method by {spelt(first.validator).lower() or NONE}, both named "
            f"beforehand; {rule}",
        ),
        ("Test evaluations so far", f"{counts} (every evaluation of any training counts)"),
        (
            "Rules of selection",
            f"conf/selection/{gathered.study.selection}.yaml, last committed on {committed}"
            if committed
            else f"conf/selection/{gathered.study.selection}.yaml, not committed as it is now",
        ),
    ]


def threshold_note(gathered: StudyResults) -> str:
    """Words that follow the threshold: how it was chosen, and whether intervals hold its scatter."""
    rules = {training.selection.threshold_rule for training in gathered.trainings}
    if rules == {"half"}:
        return ", one half"
    return (
        ", chosen for each seed on labelled validation images of the source; intervals do not hold the scatter of that "
        "choice"
    )


def _images(gathered: StudyResults) -> str:
    """Where the images come from."""
    provenances = [training.trained.provenance for training in gathered.trainings]
    universes = sorted({one.universe for one in provenances if one.kind == "mock"})
    if universes:
        return f"mock universe: {'; '.join(universes)}"
    return "the DeepMerge archive" if kinds(gathered) == ["archive"] else "of unknown provenance"


def glossary(gathered: StudyResults) -> list[tuple[str, str]]:
    """The words and signs of the page, each explained once."""
    tested = listed(dict.fromkeys(sizes(setting)["what"] for setting in gathered.settings))
    by_galaxy = all(
        training.trained.split.kind == "by_galaxy"
        and training.trained.reading.get("galaxies") != "renderings"
        for training in gathered.trainings
    )
    apart = " All renderings of a galaxy are in the same part of the split." if by_galaxy else ""
    one, *more = gathered.directions
    seeds = counted(len(gathered.study.seeds), "seed")
    return [
        (
            "Source, target",
            f"The network learns from labelled {one.source} images, the source, and is tested on {one.target} ones, "
            f"the target{', or vice versa' if more else ''}. Source only: without any adaptation to the target.",
        ),
        (
            "Rendering",
            f"One image of a simulated galaxy; several cameras look at it from different sides.{apart} "
            f"Tested on {tested}.",
        ),
        (
            "Balanced accuracy",
            "Mean of the shares of mergers and of non-mergers that are classified correctly: 0.5 is chance, "
            "1 is perfect.",
        ),
        (
            "AUC, ECE",
            "Area under the ROC curve: how well mergers are ranked above non-mergers, at any threshold. Expected "
            "calibration error of the merger probability in 15 bins: lower is better.",
        ),
        (
            "[low, high]",
            upper_first(f"{sizes(gathered.settings[0])['interval']}. All values are means over {seeds}."),
        ),
        (
            "Gain, loss",
            "Difference from source only on the same images. It is claimed only if the test gives "
            f"p < {ALPHA:g} after Holm’s correction for everything that this page claims; otherwise the two are not "
            "distinguishable with these galaxies.",
        ),
        (
            "Chosen",
            "The method that ranks first by a score without target labels that was named beforehand. It need not be "
            "the most accurate one, by which tables and figures are ordered.",
        ),
        *_oracles(gathered),
        (
            "Epoch",
            "A pass over the training images, counted from 0. The oracle’s epoch is the one that labels of the "
            "target’s validation images would have chosen, given for comparison.",
        ),
    ]


def _oracles(gathered: StudyResults) -> list[tuple[str, str]]:
    """What the oracles of the study use target labels for."""
    oracles = [
        contender for setting in gathered.settings for contender in setting.contenders if contender.is_oracle
    ]
    trained = {oracle.is_trained_on_target for oracle in oracles}
    if not oracles:
        return []
    use = "trained" if trained == {True} else "tuned" if trained == {False} else "trained or tuned"
    return [
        (
            "Oracle",
            f"A network {use} with labels of the target: a reference for what labels would give, with an uncertainty "
            "of its own, and no bound. It takes no part in the choice of a method.",
        )
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
        "interval": "95 % intervals over galaxies and seeds together"
        if several
        else "95 % intervals over galaxies; with one seed, they exclude the scatter between trainings",
        "several": "yes" if several else "",
    }


def compared(images: pd.DataFrame) -> str:
    """Number of validation images that the feature planes and distances are based on."""
    return (
        f"{counted(len(images), 'rendering')} of {counted(images['galaxy'].nunique(), 'validation galaxy')}"
    )
