"""The sentences of the page, composed from the numbers of the set."""

from __future__ import annotations

import numpy as np

from mergershift.archive import terms_of
from mergershift.predicting.flags import MEANINGS
from mergershift.predicting.page.figures import MEASURES
from mergershift.predicting.page.gathered import Gathered
from mergershift.predicting.page.training import Training, outside
from mergershift.registry import ModelFacts
from mergershift.report.wording import counted, listed

MANY = 0.1
"""Share of a set outside of the range of the training images from which this is said at the top."""

MOST_REMARKS = 3
"""Number of measures of which this is said."""


def banner(facts: ModelFacts) -> dict[str, object]:
    """The banner that names the provenance of the images that the model was trained on."""
    if facts.data_kind == "archive":
        text = "Its probabilities hold for images like those; the sections below compare yours with them."
        return {"real": True, "headline": "A model trained on the DeepMerge archive.", "text": text}
    if facts.data_kind == "mock":
        text = "It tests the code: nothing on this page says anything about the galaxies in these images."
        return {"real": False, "headline": "A MODEL TRAINED ON MOCK IMAGES.", "text": text}
    text = "There is no record of the images that it was trained on. Do not cite its predictions."
    return {"real": False, "headline": "A MODEL OF UNKNOWN PROVENANCE.", "text": text}


def headline(gathered: Gathered) -> str:
    """What was predicted for how many images, in a sentence."""
    probability = gathered.score("probability")
    known = probability[~np.isnan(probability)]
    mergers = int(np.count_nonzero(known >= gathered.form.threshold))
    missing = gathered.summary.images - len(known)
    text = (
        f"{mergers} of {counted(len(known), 'image')} with a prediction "
        f"{'is' if mergers == 1 else 'are'} classified as {'a merger' if mergers == 1 else 'mergers'}"
    )
    if not missing:
        return f"{text}."
    withheld = missing - gathered.summary.refused
    reasons = [
        *([f"{gathered.summary.refused} refused"] if gathered.summary.refused else []),
        *([f"{withheld} without enough data in a filter"] if withheld else []),
    ]
    return (
        f"{text}; {counted(missing, 'image')} {'has' if missing == 1 else 'have'} none ({listed(reasons)})."
    )


def remarks(gathered: Gathered, training: Training) -> list[str]:
    """What limits the predictions of this set, as far as its numbers show."""
    probability = gathered.score("probability")
    known = ~np.isnan(probability)
    count = int(np.count_nonzero(known))
    found = []
    if (scatter := gathered.scatter) is not None:
        near = int(np.count_nonzero(np.abs(probability - gathered.form.threshold)[known] < scatter[known]))
        found.append(
            f"{_share(near, count, 'lies', 'lie')} closer to the threshold than the scatter of the probability over "
            f"turned and mirrored views{': such a call could as well be the opposite' if near else ''}."
        )
    found += _outside(gathered, training)
    distance = gathered.score("feature_distance")[known]
    far = int(np.count_nonzero(distance > 1))
    found.append(
        f"{_share(far, count, 'has', 'have')} features further from the training images' than 99 % of comparable "
        "held-out images (feature distance above 1). That the others are closer proves little: a missing filter, a "
        "blurred image or light that is lost can pass unnoticed."
    )
    return found


def unknowable(facts: ModelFacts) -> list[str]:
    """What the page cannot show, in plain words."""
    domains = listed(facts.domains)
    share = (
        "half of the galaxies were mergers"
        if facts.classes == "equally frequent"
        else "mergers were as frequent as in the simulation"
    )
    return [
        "How many of the calls are right. The images have no labels, so no accuracy, completeness or purity can be "
        "computed from them; those on the model's card hold for the simulated test images only.",
        f"The merger fraction. The probabilities hold for a sample in which {share}; where mergers are rarer, most "
        "images near the threshold are no mergers, and the number of calls is not the number of mergers.",
        f"Whether the galaxies are like the simulated ones. The model was trained on simulated galaxies at z = "
        f"{facts.redshift:g} ({domains} images); what a merger is, how long it is visible and how its gas and dust "
        "shine are that simulation's. Agreement in sky, noise and size does not make the galaxies alike.",
        "What no measure on this page is sensitive to: a filter that is misnamed, a wrong redshift, a companion that "
        "is a star or lies in the foreground, a subtracted halo of light.",
        "To find out, classify a random sample of some hundred of these images yourself without seeing the "
        "probabilities, and compare.",
    ]


def flag_rows(gathered: Gathered) -> list[tuple[str, int, str, str]]:
    """The flags of the set: name, number of images, share of all images, and meaning."""
    rows = []
    if gathered.summary.refused:
        rows.append(("refused", gathered.summary.refused, MEANINGS["refused"]))
    rows += [(str(flag), count, MEANINGS[flag.word]) for flag, count in gathered.summary.flags()]
    return [(name, count, percent(count / gathered.summary.images), meaning) for name, count, meaning in rows]


def provenance(facts: ModelFacts) -> str:
    """The terms of the images that the model was trained on."""
    return terms_of(facts.data_kind) or ""


def percent(share: float) -> str:
    """Write a share in per cent, with a digit more where it is small."""
    if share < 0.001:
        return "< 0.1 %" if share else "0 %"
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _outside(gathered: Gathered, training: Training) -> list[str]:
    """Name the measures in which the set differs most from the training images."""
    found = []
    measures = gathered.measures
    for name, values in ((name, measures[name]) for name in MEASURES if name in measures):
        measure = MEASURES[name]
        for place, filter_name in enumerate(gathered.facts.filters):
            ranges = training.ranges(name, filter_name)
            finite = values[:, place][np.isfinite(values[:, place])]
            share = outside(finite, ranges)
            if share > MANY:
                medians = listed(f"{domain.median:{measure.digits}} ({domain.domain})" for domain in ranges)
                text = (
                    f"{measure.name} in {filter_name.upper()}: {percent(share)} of the images lie outside of the range "
                    f"of {percent(training.share)} of the training images. Their median is "
                    f"{np.median(finite):{measure.digits}}, in training {medians}."
                )
                found.append((share, text))
    return [text for _, text in sorted(found, key=lambda item: -item[0])[:MOST_REMARKS]]


def _share(count: int, total: int, singular: str, plural: str) -> str:
    """Say how many of the images do something, as in ``3 images (1.2 %) lie``."""
    if not count:
        return f"No image {singular}"
    return f"{counted(count, 'image')} ({percent(count / total)}) {singular if count == 1 else plural}"
