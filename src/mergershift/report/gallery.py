"""Galleries of test images: examples by outcome, and saliency maps of the networks."""

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
"""The filter that both filter sets of the archive contain and that traces the older stars."""
OUTCOMES = {
    "true positives": (1, 1),
    "false negatives": (1, 0),
    "false positives": (0, 1),
    "true negatives": (0, 0),
}
"""Label and prediction of each outcome."""
COLUMNS = 4
BAR_ARCSEC = 5
COLOURS = "magma"
UNIT = "µJy/arcsec²"


class Stamps:
    """Stamps of a setting's test rows in a single filter, all under the same asinh stretch."""

    def __init__(self, setting: Setting, prepared: Prepared) -> None:
        self._prepared = prepared
        facts = FILTER_SETS[setting.filters]
        self.channel = facts.filter_names.index(SHOWN_FILTER)
        self.noise = facts.filters[self.channel].noise_std
        test = setting.contenders[0].first.target["row"].to_numpy()
        spread = self.images(Domain.PRISTINE, test[:: max(1, len(test) // 200)])
        # Linear within the noise and logarithmic above it; a single bright nucleus must not set the scale.
        self._brightest = float(np.quantile(spread, 0.9995))
        self.norm = AsinhNorm(self.noise / 2, vmin=-self.noise / 2, vmax=self._brightest)

    def images(self, domain: str, rows: Iterable[int]) -> Floats:
        """Read the images of these rows, `(N, 75, 75)` in µJy/arcsec²."""
        stored = self._prepared.images(Domain(domain), np.asarray(list(rows), dtype=np.int64))
        return stored[:, self.channel].double().numpy()

    @property
    def ticks(self) -> list[float]:
        """Round values for the colour bar."""
        return [tick for tick in (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0) if tick < self._brightest]


def example_rows(target: pd.DataFrame, outcome: str, count: int = COLUMNS) -> pd.DataFrame:
    """Choose test images of an outcome, at most one per galaxy.

    They are evenly spaced in the ranking by probability, so that the gallery does not show the best images only.
    """
    label, prediction = OUTCOMES[outcome]
    images = target[(target["label"] == label) & (target["prediction"] == prediction)]
    ranked = images.drop_duplicates("galaxy").sort_values("probability", ascending=False, kind="stable")
    ranks = np.unique(np.linspace(0, len(ranked) - 1, min(count, len(ranked))).round().astype(int))
    return ranked.iloc[ranks]


def examples(setting: Setting, stamps: Stamps, outcome: str) -> Figure | None:
    """Draw images of one outcome in both domains, pristine above noisy; None if no image has this outcome."""
    training = setting.shown.first
    chosen = example_rows(training.target, outcome)
    if chosen.empty:
        return None
    probability = training.predictions.set_index(["domain", "row"])["probability"]
    figure = _sheet(2.62)
    grid = figure.subplots(2, COLUMNS)
    image = None
    for grid_row, domain in enumerate(("pristine", "noisy")):
        pixels = stamps.images(domain, chosen["row"])
        for column, axes in enumerate(grid[grid_row]):
            _empty(axes)
            if column >= len(chosen):
                axes.set_visible(False)
                continue
            example = chosen.iloc[column]
            image = _stamp(axes, pixels[column], stamps.norm, COLOURS)
            axes.set_xlabel(f"p = {probability[domain, example['row']]:.2f}", fontsize=7.5, labelpad=2)
            if grid_row == 0:
                axes.set_title(
                    f"galaxy {example['galaxy']} ({example['camera']})",
                    fontsize=7,
                    fontweight="normal",
                    pad=3,
                )
        grid[grid_row, 0].set_ylabel(domain + (" (target)" if domain == setting.target else ""), fontsize=8)
    _scale_bar(grid[0, 0])
    assert image is not None, "at least one image was chosen"
    bar = figure.colorbar(image, ax=list(grid.flat), ticks=stamps.ticks, shrink=0.9, aspect=26, pad=0.02)
    bar.ax.set_yticks(stamps.ticks, [f"{tick:g}" for tick in stamps.ticks], fontsize=7)
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    bar.set_label(f"{SHOWN_FILTER.upper()}, {UNIT}", fontsize=7.5)
    return figure


def compared_rows(
    baseline: pd.DataFrame, adapted: pd.DataFrame, label: int, count: int = COLUMNS
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


def saliency(setting: Setting, stamps: Stamps, label: int) -> Figure | None:
    """Draw Grad-CAM maps for the merger class, of source-only and of an adapted network on the same target images.

    The images are of the class `label`. Returns None if the study does not have both networks or there is no such
    image. Raises NoConvolution as `grad_cam` does.
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
    for column, example in enumerate(chosen.itertuples()):
        _stamp(grid[0, column], images[column], stamps.norm, COLOURS)
        grid[0, column].set_title(
            f"galaxy {example.galaxy} ({example.camera})", fontsize=7, fontweight="normal", pad=3
        )
    for grid_row, contender in enumerate((baseline, adapted), start=1):
        maps = _maps(contender, inputs)
        predictions = contender.first.target.set_index("row")
        for column, row in enumerate(rows):
            axes = grid[grid_row, column]
            axes.set_visible(True)
            axes.imshow(
                _overlaid(stamps.norm(images[column]), maps[column]), origin="lower", interpolation="none"
            )
            right = predictions.loc[row, "prediction"] == label
            text = f"p = {predictions.loc[row, 'probability']:.2f}, {'right' if right else 'wrong'}"
            axes.set_xlabel(text, fontsize=7.5, labelpad=2, fontweight="normal" if right else "bold")
        grid[grid_row, 0].set_ylabel(contender.name, fontsize=8)
    grid[0, 0].set_ylabel(f"{setting.target} image", fontsize=8)
    _scale_bar(grid[0, 0])
    return figure


def _maps(contender: Contender, inputs: object) -> Floats:
    """Compute the Grad-CAM maps of the first seed's network, each scaled to a maximum of 1 (or 0 without evidence)."""
    training = contender.first
    maps = grad_cam(chosen_classifier(training), inputs, threads=training.config.trainer.threads)  # type: ignore[arg-type]
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)


def _overlaid(brightness: Floats, evidence: Floats) -> Floats:
    """Overlay evidence from 0 to 1 in colour on a grey image from 0 to 1; returns RGB `(H, W, 3)`."""
    grey = np.repeat(np.clip(brightness, 0, 1)[..., None], 3, axis=2)
    colour = colormaps["inferno"](0.25 + 0.75 * evidence)[..., :3]
    share = 0.85 * evidence[..., None]
    # The image is dimmed so that noise in the sky does not outshine the evidence.
    return (1 - share) * 0.8 * grey + share * colour


def _sheet(height: float) -> Figure:
    figure = Figure(figsize=(4.7, height), layout="constrained")
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine), "the layout is constrained"
    engine.set(w_pad=0.02, h_pad=0.02, hspace=0.02, wspace=0.02)
    return figure


def _stamp(axes: Axes, image: Floats, norm: Normalize, colours: str) -> AxesImage:
    axes.set_visible(True)
    # Row 0 is drawn at the bottom, as in FITS viewers; without interpolation the pixels remain those of the archive.
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
