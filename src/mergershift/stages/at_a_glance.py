"""What `dvc metrics` and `dvc plots` show: four metrics of each training, and two figures of each setting.

The figures are images, so that DVC's page shows them without a network, with the label of what they were made from.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from mergershift.archive import images_of
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import METRICS, PLOTS
from mergershift.config.study import Cell, Method
from mergershift.core.checkout import root
from mergershift.core.files import atomic_directory
from mergershift.core.forked import forked
from mergershift.evaluation import study_figures
from mergershift.evaluation.figures import save

Trainings = Mapping[Cell, FinishedTraining]


def write_metrics(trainings: Trainings, gains: Mapping[str, float]) -> None:
    """Write outputs/metrics/<cell>.json for each cell.

    It holds the balanced accuracy on the test images of source and target, the area under the target's ROC curve, and
    the gain in balanced accuracy on the target over source-only with the same seed, with four decimals. An undefined
    one is left out, because JSON has no NaN. `gains` are by the ids of trainings.
    """
    with atomic_directory(root() / METRICS) as folder:
        for cell, training in trainings.items():
            source, target = (training.results[role]["unique"] for role in ("source", "target"))
            values = {
                "source": source["balanced_accuracy"]["value"],
                "target": target["balanced_accuracy"]["value"],
                "target_auc": target["auc"]["value"],
                "gain": gains.get(training.record.training, math.nan),
            }
            known = {name: round(value, 4) for name, value in values.items() if math.isfinite(value)}
            content = known | {"images": training.trained.provenance.kind}
            (folder / f"{cell.name}.json").write_text(json.dumps(content, indent=2) + "\n")


def write_plots(trainings: Trainings, transfer: pd.DataFrame) -> None:
    """Write the figures of each filter set and direction to outputs/plots/; `transfer` is the table of that name."""
    accuracy = transfer[
        (transfer["choice"] == "label_free")
        & (transfer["metric"] == "balanced_accuracy")
        & (transfer["rows"] == "unique")
    ]
    kind = str(accuracy["data"].iloc[0])
    drawings: list[Callable[[], None]] = []
    with atomic_directory(root() / PLOTS) as folder:
        for (filters, source, target), rows in accuracy.groupby(["filters", "source", "target"], sort=False):
            methods = [
                Method.model_validate(dict(zip(Method.model_fields, names, strict=True)))
                for names in rows[list(Method.model_fields)].itertuples(index=False)
            ]
            setting = f"{filters} filters, {source} to {target}: {images_of(kind)}"
            curves = {
                method.name: [
                    (training.epochs, training.selection.epoch)
                    for cell, training in trainings.items()
                    if (cell.filters, cell.method) == (filters, method)
                ]
                for method in methods
            }
            named = rows.assign(
                method=[method.name for method in methods],
                domain=rows["role"].map({"source": source, "target": target}),
            )
            name = f"{filters}-{source}_to_{target}"
            drawings += [
                partial(_draw, folder / f"{name}-{what}.png", figure)
                for what, figure in {
                    "learning_curves": partial(study_figures.learning_curves, curves, setting),
                    "balanced_accuracy": partial(study_figures.accuracies, named, setting),
                }.items()
            ]
        for _ in forked(drawings, batches=False):
            pass


def _draw(path: Path, create: Callable[[], Figure]) -> None:
    save(create(), path, dpi=100)
