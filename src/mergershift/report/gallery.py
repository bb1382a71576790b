"""Galleries of test images: examples by outcome, and saliency maps of the networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mergershift.archive import Domain
from mergershift.classifier.saliency import grad_cam
from mergershift.evaluation.metrics import Floats
from mergershift.report.feature_shift import chosen_classifier, prepared_images
from mergershift.report.stamps import Colours, Sheet, Stamps
from mergershift.report.study_results import Contender, Setting
from mergershift.report.style import INK, MUTED

OUTCOMES = {
    "true positives": (1, 1),
    "false negatives": (1, 0),
    "false positives": (0, 1),
    "true negatives": (0, 0),
}
"""Label and prediction of each outcome."""
EXAMPLES, COMPARED = 3, 4
"""Number of galaxies in a gallery of an outcome, and of galaxies on which two networks are compared."""
EXAMPLE_PIXELS = 51
"""Width in pixels of the central part that shows a galaxy and its neighbours."""
EVIDENCE = (0.5, 0.8)
"""Contours of a saliency map as fractions of its maximum."""


def example_rows(target: pd.DataFrame, outcome: str, count: int = EXAMPLES) -> pd.DataFrame:
    """Choose test images of an outcome, at most one per galaxy.

    They are evenly spaced in the ranking by probability, so that the gallery does not show the best images only.
    """
    label, prediction = OUTCOMES[outcome]
    images = target[(target["label"] == label) & (target["prediction"] == prediction)]
    ranked = images.drop_duplicates("galaxy").sort_values("probability", ascending=False, kind="stable")
    ranks = np.unique(np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int))
    return ranked.iloc[ranks]


def against(probability: float, threshold: float) -> str:
    """Compare a probability with the threshold, with as many digits as it takes to see which one is larger."""
    sign = "≥" if probability >= threshold else "<"
    for digits in range(2, 7):
        texts = f"{probability:.{digits}f}", f"{threshold:.{digits}f}"
        if texts[0] != texts[1] or probability == threshold:
            break
    return f"{texts[0]} {sign} {texts[1]}"


def examples(setting: Setting, stamps: Stamps, outcome: str) -> Callable[[], Figure] | None:
    """Choose images of one outcome; returns what draws them, or None if no image has this outcome."""
    training = setting.shown.first
    # Without a common split, some images of the target's test are training images of the source.
    source = training.predictions[training.predictions["role"] == "source"]
    chosen = example_rows(training.target[training.target["row"].isin(source["row"])], outcome)
    if chosen.empty:
        return None
    images = {
        domain: stamps.images(domain, chosen["row"], EXAMPLE_PIXELS) for domain in ("pristine", "noisy")
    }
    return partial(_draw_examples, setting, chosen, images)


def _draw_examples(setting: Setting, chosen: pd.DataFrame, images: Mapping[str, Colours]) -> Figure:
    """Draw the images of each domain, pristine above noisy."""
    predictions = setting.shown.first.predictions.set_index(["domain", "row"])
    rows = chosen["row"].to_numpy()
    sheet = Sheet(EXAMPLES, rows=2, left=14, gap=5, labels=(13, 13))
    for sheet_row, (domain, of_domain) in enumerate(images.items()):
        for column, example in enumerate(chosen.itertuples()):
            sheet.stamp(column, sheet_row, of_domain[column])
            found = predictions.loc[(domain, rows[column])]
            sheet.below(column, sheet_row, f"p {against(found['probability'], found['threshold'])}")
            if sheet_row == 0:
                sheet.above(column, sheet_row, _named(example))
        sheet.beside(sheet_row, domain + (" (target)" if domain == setting.target else ""))
    sheet.scale_bar(0, 0, EXAMPLE_PIXELS)
    return sheet.figure


def compared_rows(
    baseline: pd.DataFrame, adapted: pd.DataFrame, label: int, count: int = COMPARED
) -> pd.DataFrame:
    """Choose test images of a class on which to compare two networks, at most one per galaxy.

    Images are taken in turn from four groups, each ordered by row: those that only the adapted network classifies
    correctly, those that both do, those that only the baseline does, and those that neither does.
    """
    both = baseline.merge(adapted[["row", "prediction"]], on="row", suffixes=("", "_adapted"))
    both = both[both["label"] == label]
    right, right_adapted = both["prediction"] == label, both["prediction_adapted"] == label
    groups = [~right & right_adapted, right & right_adapted, right & ~right_adapted, ~right & ~right_adapted]
    queues = [both[group] for group in groups]
    chosen: list[tuple[int, int]] = []
    galaxies: set[int] = set()
    while len(chosen) < count and any(len(queue) for queue in queues):
        for group_index, queue in enumerate(queues):
            unseen = queue[~queue["galaxy"].isin(galaxies)]
            queues[group_index] = unseen.iloc[1:]
            if len(unseen) and len(chosen) < count:
                chosen.append((group_index, unseen.index[0]))
                galaxies.add(unseen["galaxy"].iloc[0])
    return both.loc[[index for _, index in sorted(chosen)]]


def saliency(setting: Setting, stamps: Stamps, label: int) -> Callable[[], Figure] | None:
    """Compute the Grad-CAM maps for the merger class, of source-only and of an adapted network, for the same images.

    The images are target images of galaxies of the class `label`. Returns what draws the maps, or None if the study
    does not have both networks or there is no such image. Raises NoConvolution as `grad_cam` does.
    """
    baseline, adapted = setting.baseline, setting.adapted
    if baseline is None or adapted is None:
        return None
    chosen = compared_rows(baseline.first.target, adapted.first.target, label)
    if chosen.empty:
        return None
    rows = chosen["row"].to_numpy()
    inputs = prepared_images(baseline.first).images(Domain(setting.target), rows)
    maps = {contender: _maps(contender, inputs) for contender in (baseline, adapted)}
    images = {domain: stamps.images(domain, rows) for domain in (setting.source, setting.target)}
    return partial(_draw_saliency, setting, chosen, images, maps)


def _draw_saliency(
    setting: Setting,
    chosen: pd.DataFrame,
    domain_images: Mapping[str, Colours],
    maps: Mapping[Contender, Floats],
) -> Figure:
    """Draw contours of `maps`, with a row for each galaxy of `chosen`.

    It shows the galaxy in the source's domain, and for each network in the target's, with the network's evidence.
    """
    rows = chosen["row"].to_numpy()
    sheet = Sheet(1 + len(maps), rows=len(rows), left=0, gap=5, labels=(13, 14))
    before, images = domain_images[setting.source], domain_images[setting.target]
    sheet.above(0, 0, f"{setting.source} image")
    for sheet_row, example in enumerate(chosen.itertuples()):
        sheet.stamp(0, sheet_row, before[sheet_row])
        sheet.below(0, sheet_row, _named(example))
    for column, (contender, evidence) in enumerate(maps.items(), start=1):
        predictions = contender.first.target.set_index("row")
        sheet.above(column, 0, f"{setting.target}: {contender.name}", fontweight="bold")
        for sheet_row, row in enumerate(rows):
            sheet.stamp(column, sheet_row, images[sheet_row])
            if evidence[sheet_row].any():
                sheet.outline(column, sheet_row, evidence[sheet_row], EVIDENCE)
            else:
                sheet.on(column, sheet_row, "no evidence")
            found = predictions.loc[row]
            right = found["prediction"] == found["label"]
            text = f"{against(found['probability'], found['threshold'])}, {'right' if right else 'wrong'}"
            sheet.below(column, sheet_row, text, color=(MUTED if right else INK).light)
    sheet.scale_bar(0, 0, images.shape[1])
    return sheet.figure


def _maps(contender: Contender, inputs: object) -> Floats:
    """Compute the Grad-CAM maps of the first seed's network, each scaled to a maximum of 1 (or 0 without evidence)."""
    training = contender.first
    maps = grad_cam(chosen_classifier(training), inputs, threads=training.config.trainer.threads)  # type: ignore[arg-type]
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)


def _named(example: object) -> str:
    """Name the image in a row of `itertuples`."""
    return f"galaxy {example.galaxy}, camera {example.camera}"  # type: ignore[attr-defined]
