"""From predictions to the figures of a training, as a nested dictionary, JSON and CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mergershift.core.errors import UserError
from mergershift.core.files import write_text
from mergershift.evaluation.bootstrap import RESAMPLES, Interval, bootstrap
from mergershift.evaluation.predictions import ROLES, check_table, unique_renderings

Scores = dict[str, Interval]
"""Every metric and confusion count by name, and the sizes (`SIZES`) without bounds."""
Results = dict[str, dict[str, Scores]]
"""Role (source, target) -> rows (unique, all_rows) -> `Scores`."""

SIZES = ("images", "galaxies", "seeds")
JSON_NAME, CSV_NAME = "metrics.json", "metrics.csv"


def evaluate(predictions: pd.DataFrame, *, all_rows: bool = False, resamples: int = RESAMPLES) -> Results:
    """Compute all figures of the source's and the target's test, each with its 95 % interval (see `bootstrap`).

    The figures stand under ``results[role]["unique"][metric]["value" | "low" | "high"]`` and count every
    rendering once. With a column `seed`, values are means over the seeds.

    Args:
        predictions: a table with the columns `predictions.COLUMNS`.
        all_rows: add ``results[role]["all_rows"]``, where a merger counts once per flipped copy; only good
            beside published figures, which were made so.
        resamples: number of bootstrap replicates.

    Raises UserError on a table that is not sound, and where seeds were not tested on the same images.
    """
    check_table(predictions, "predictions")
    results: Results = {}
    for role in ROLES:
        part = predictions[predictions["role"] == role]
        if part.empty:
            continue
        results[role] = {"unique": _scores(unique_renderings(part), resamples)}
        if all_rows:
            results[role]["all_rows"] = _scores(part, resamples)
    return results


def _scores(part: pd.DataFrame, resamples: int) -> Scores:
    groups = [group for _, group in part.groupby("seed")] if "seed" in part else [part]
    ordered = [group.sort_values("row") for group in groups]
    first = ordered[0]
    for other in ordered[1:]:
        for name in ("row", "galaxy", "label"):
            if not np.array_equal(first[name], other[name]):
                raise UserError(
                    f"predictions: seeds {first['seed'].iloc[0]} and {other['seed'].iloc[0]} differ in {name}.\n"
                    "Expected the same test images for every seed: use one split."
                )
    probabilities = np.stack([group["probability"].to_numpy() for group in ordered])
    sizes = {"images": len(first), "galaxies": first["galaxy"].nunique(), "seeds": len(ordered)}
    scores: Scores = {name: Interval(value=size) for name, size in sizes.items()}
    thresholds = [float(group["threshold"].iloc[0]) for group in ordered]
    return scores | bootstrap(
        first["label"].to_numpy(), probabilities, first["galaxy"].to_numpy(), resamples, threshold=thresholds
    )


def flat(results: Results) -> dict[str, float]:
    """Name every defined figure by its path, ``target.unique.auc`` and ``target.unique.auc.low``."""
    named = {}
    for role, rows, metric, figure in _walk(results):
        named[f"{role}.{rows}.{metric}"] = figure["value"]
        named[f"{role}.{rows}.{metric}.low"] = figure.get("low", math.nan)
        named[f"{role}.{rows}.{metric}.high"] = figure.get("high", math.nan)
    return {name: value for name, value in named.items() if math.isfinite(value)}


def table(results: Results) -> pd.DataFrame:
    """Lay the metrics out as rows: role, rows, metric, value, low, high, images, galaxies, seeds."""
    rows = []
    for role, kind, metric, figure in _walk(results):
        if metric not in SIZES:
            sizes = {name: int(results[role][kind][name]["value"]) for name in SIZES}
            rows.append({"role": role, "rows": kind, "metric": metric, **figure, **sizes})
    return pd.DataFrame(rows)


def write_results(results: Results, folder: Path) -> None:
    """Write `JSON_NAME` (undefined figures as null) and `CSV_NAME` (as empty fields) into `folder`."""
    plain = json.loads(json.dumps(results), parse_constant=lambda _: None)
    for name, text in {
        JSON_NAME: json.dumps(plain, indent=2, allow_nan=False) + "\n",
        CSV_NAME: table(results).to_csv(index=False, lineterminator="\n"),
    }.items():
        write_text(folder / name, text)


def read_results(folder: Path) -> Results:
    """Read the JSON that `write_results` left in `folder`, null as NaN; raises UserError on none or a torn one."""
    path = folder / JSON_NAME
    try:
        results: Results = json.loads(path.read_text(), object_hook=_null_as_nan)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file.\nEvaluate the training first: `mergershift evaluate`."
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}).\nEvaluate the training again.") from error
    return results


def _null_as_nan(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None else value for name, value in figures.items()}


def _walk(results: Results) -> Iterator[tuple[str, str, str, Interval]]:
    for role, kinds in results.items():
        for kind, scores in kinds.items():
            for metric, figure in scores.items():
                yield role, kind, metric, figure
