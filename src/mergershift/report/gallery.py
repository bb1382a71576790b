"""Test images with what the networks made of them: examples by outcome, and where the networks look."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine

from mergershift.archive import FILTER_SETS, PIXEL_ARCSEC, Domain
from mergershift.classifier.saliency import grad_cam
from mergershift.evaluation.metrics import Floats
from mergershift.images import Prepared
from mergershift.report.feature_shift import chosen_classifier, prepared_images
from mergershift.report.study_results import Contender, Setting
from mergershift.report.style import INK, MUTED

SHOWN_FILTER = "f160w"
"""The filter of the archive's two sets that both hold and that sees the older stars."""
OUTCOMES = {
    "true positives": (1, 1),
    "false negatives": (1, 0),
    "false positives": (0, 1),
    "true negatives": (0, 0),
}
"""Outcome -> label and call."""
COLUMNS = 4
BAR_ARCSEC = 5
COLOURS = "magma"
UNIT = "µJy/arcsec²"


class Stamps:
    """Single-filter images of a setting's test rows, all under one asinh stretch."""

    def __init__(self, setting: Setting, prepared: Prepared) -> None:
        self._prepared = prepared
        facts = FILTER_SETS[setting.filters]
        self.channel = facts.filter_names.index(SHOWN_FILTER)
        self.noise = facts.filters[self.channel].noise_std
        test = setting.contenders[0].first.target["row"].to_numpy()
        spread = self.images(Domain.PRISTINE, test[:: max(1, len(test) // 200)])
        # Linear within the noise, logarithmic above it; one bright nucleus must not set the scale.
        self._brightest = float(np.quantile(spread, 0.9995))
        self.norm = AsinhNorm(self.noise / 2, vmin=-self.noise / 2, vmax=self._brightest)

    def images(self, domain: str, rows: Iterable[int]) -> Floats:
        """Images `(N, 75, 75)` in µJy/arcsec²."""
        stored = self._prepared.images(Domain(domain), np.asarray(list(rows), dtype=np.int64))
        return stored[:, self.channel].double().numpy()

    @property
    def ticks(self) -> list[float]:
        """Round values for the colour bar."""
        return [each for each in (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0) if each < self._brightest]


def example_rows(target: pd.DataFrame, outcome: str, count: int = COLUMNS) -> pd.DataFrame:
    """Pick test images of an outcome, a galaxy each: evenly over their ranking by probability, so not the best."""
    label, call = OUTCOMES[outcome]
    found = target[(target["label"] == label) & (target["prediction"] == call)]
    ranked = found.drop_duplicates("galaxy").sort_values("probability", ascending=False, kind="stable")
    places = np.unique(np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int))
    return ranked.iloc[places]


def examples(setting: Setting, stamps: Stamps, outcome: str) -> Figure | None:
    """One outcome's images in both domains, pristine above noisy; None where no image had it."""
    training = setting.shown.first
    chosen = example_rows(training.target, outcome)
    if chosen.empty:
        return None
    probability = training.predictions.set_index(["domain", "row"])["probability"]
    figure = _sheet(2.62)
    grid = figure.subplots(2, COLUMNS)
    shown = None
    for line, domain in enumerate(("pristine", "noisy")):
        images = stamps.images(domain, chosen["row"])
        for column, axes in enumerate(grid[line]):
            _empty(axes)
            if column >= len(chosen):
                axes.set_visible(False)
                continue
            one = chosen.iloc[column]
            shown = _stamp(axes, images[column], stamps.norm, COLOURS)
            axes.set_xlabel(f"p = {probability[domain, one['row']]:.2f}", fontsize=7.5, labelpad=2)
            if line == 0:
                axes.set_title(
                    f"galaxy {one['galaxy']} ({one['camera']})", fontsize=7, fontweight="normal", pad=3
                )
        grid[line, 0].set_ylabel(domain + (" (target)" if domain == setting.target else ""), fontsize=8)
    _scale_bar(grid[0, 0])
    assert shown is not None, "some image was chosen"
    bar = figure.colorbar(shown, ax=list(grid.flat), ticks=stamps.ticks, shrink=0.9, aspect=26, pad=0.02)
    bar.ax.set_yticks(stamps.ticks, [f"{each:g}" for each in stamps.ticks], fontsize=7)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label(f"{SHOWN_FILTER.upper()}, {UNIT}", fontsize=7.5)
    return figure


def compared_rows(
    baseline: pd.DataFrame, adapted: pd.DataFrame, label: int, count: int = COLUMNS
) -> pd.DataFrame:
    """Pick test images of a class on which two networks' calls differ as far as there are such, a galaxy each.

    The four outcomes take turns: what only the adapted one gets right, what both do, what only the baseline
    does, what neither does; each by row number.
    """
    both = baseline.merge(adapted[["row", "prediction"]], on="row", suffixes=("", "_adapted"))
    both = both[both["label"] == label]
    right, right_adapted = both["prediction"] == label, both["prediction_adapted"] == label
    turns = [~right & right_adapted, right & right_adapted, right & ~right_adapted, ~right & ~right_adapted]
    waiting = [both[turn] for turn in turns]
    chosen: list[tuple[int, int]] = []
    galaxies: set[int] = set()
    while len(chosen) < count and any(len(queue) for queue in waiting):
        for place, queue in enumerate(waiting):
            unseen = queue[~queue["galaxy"].isin(galaxies)]
            waiting[place] = unseen.iloc[1:]
            if len(unseen) and len(chosen) < count:
                chosen.append((place, unseen.index[0]))
                galaxies.add(unseen["galaxy"].iloc[0])
    return both.loc[[index for _, index in sorted(chosen)]]


def saliency(setting: Setting, stamps: Stamps, label: int) -> Figure | None:
    """Grad-CAM for a merger of source-only and of an adapted network on the same target images of one class.

    None where there are not two networks to compare, or no image. Raises NoConvolution as `grad_cam` does.
    """
    baseline, adapted = setting.baseline, setting.adapted
    if baseline is None or adapted is None:
        return None
    chosen = compared_rows(baseline.first.target, adapted.first.target, label)
    if chosen.empty:
        return None
    rows = chosen["row"].to_numpy()
    inputs = prepared_images(baseline.first).images(Domain(setting.target), rows)
    images = stamps.images(setting.target, rows)
    figure = _sheet(3.72)
    grid = figure.subplots(3, COLUMNS)
    for axes in grid.flat[:]:
        _empty(axes)
        axes.set_visible(False)
    for column, one in enumerate(chosen.itertuples()):
        _stamp(grid[0, column], images[column], stamps.norm, COLOURS)
        grid[0, column].set_title(
            f"galaxy {one.galaxy} ({one.camera})", fontsize=7, fontweight="normal", pad=3
        )
    for line, each in enumerate((baseline, adapted), start=1):
        maps = _maps(each, inputs)
        called = each.first.target.set_index("row")
        for column, row in enumerate(rows):
            axes = grid[line, column]
            axes.set_visible(True)
            axes.imshow(
                _overlaid(stamps.norm(images[column]), maps[column]), origin="lower", interpolation="none"
            )
            right = called.loc[row, "prediction"] == label
            text = f"p = {called.loc[row, 'probability']:.2f}, {'right' if right else 'wrong'}"
            axes.set_xlabel(text, fontsize=7.5, labelpad=2, fontweight="normal" if right else "bold")
        grid[line, 0].set_ylabel(each.name, fontsize=8)
    grid[0, 0].set_ylabel(f"{setting.target} image", fontsize=8)
    _scale_bar(grid[0, 0])
    return figure


def _maps(each: Contender, inputs: object) -> Floats:
    """Grad-CAM of the first seed's network, each image's to a maximum of 1 (or 0 where nothing speaks for it)."""
    training = each.first
    maps = grad_cam(chosen_classifier(training), inputs, threads=training.config.trainer.threads)  # type: ignore[arg-type]
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)


def _overlaid(brightness: Floats, evidence: Floats) -> Floats:
    """Evidence 0 to 1 in colour over a grey image 0 to 1, as `(H, W, 3)`."""
    grey = np.repeat(np.clip(brightness, 0, 1)[..., None], 3, axis=2)
    colour = colormaps["inferno"](0.25 + 0.75 * evidence)[..., :3]
    share = 0.85 * evidence[..., None]
    # Dimmed, so that the sky's noise does not outshine the evidence.
    return (1 - share) * 0.8 * grey + share * colour


def _sheet(height: float) -> Figure:
    figure = Figure(figsize=(4.7, height), layout="constrained")
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine), "it was asked for"
    engine.set(w_pad=0.02, h_pad=0.02, hspace=0.02, wspace=0.02)
    return figure


def _stamp(axes: Axes, image: Floats, norm: Normalize, colours: str) -> AxesImage:
    axes.set_visible(True)
    # Row 0 of an image is drawn at the bottom, as FITS viewers do; unsampled, the pixels stay the archive's.
    return axes.imshow(image, norm=norm, cmap=colours, origin="lower", interpolation="none")


def _empty(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.xaxis.label.set_color(INK.light)
    axes.yaxis.label.set_color(MUTED.light)


def _scale_bar(axes: Axes) -> None:
    length = BAR_ARCSEC / PIXEL_ARCSEC
    axes.plot([4, 4 + length], [5, 5], color="#ffffff", linewidth=1.4, solid_capstyle="butt")
    axes.text(4 + length / 2, 8, f"{BAR_ARCSEC}″", color="#ffffff", fontsize=6.5, ha="center")
