"""The scores of a training, computed from its predictions, as a nested dictionary, JSON and CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from mergershift.core.errors import UserError
from mergershift.core.files import write_text
from mergershift.core.reading import damaged, read_json, shortened
from mergershift.evaluation.bootstrap import RESAMPLES, Interval, bootstrap
from mergershift.evaluation.predictions import ROLES, check_table, unique_renderings

Scores = dict[str, Interval]
"""Metrics and confusion counts by name, and sizes (`SIZES`), which have no bounds."""
Results = dict[str, dict[str, Scores]]
"""Scores by role (source, target) and rows (unique, all_rows)."""

SIZES = ("images", "galaxies", "seeds")
JSON_NAME, CSV_NAME = "metrics.json", "metrics.csv"


def evaluate(predictions: pd.DataFrame, *, all_rows: bool = False, resamples: int = RESAMPLES) -> Results:
    """Compute all scores of the source's and the target's test, each with its 95 % interval (see `bootstrap`).

    The scores ``results[role]["unique"][metric]["value" | "low" | "high"]`` count every rendering once. If there is a
    column `seed`, values are means over the seeds.

    Args:
        predictions: a table with the columns `predictions.COLUMNS`.
        all_rows: add ``results[role]["all_rows"]``, in which every flipped copy of a merger counts; suitable only for
            a comparison with published scores, which were computed in this way.
        resamples: number of bootstrap replicates.

    Raises UserError if the table is not valid or the seeds were not tested on the same images.
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
                    f"predictions: seeds {first['seed'].iloc[0]} and {other['seed'].iloc[0]} differ in {name}, "
                    "expected the same test images.\nUse the same split for every seed."
                )
    probabilities = np.stack([group["probability"].to_numpy() for group in ordered])
    sizes = {"images": len(first), "galaxies": first["galaxy"].nunique(), "seeds": len(ordered)}
    scores: Scores = {name: Interval(value=size) for name, size in sizes.items()}
    thresholds = [float(group["threshold"].iloc[0]) for group in ordered]
    return scores | bootstrap(
        first["label"].to_numpy(), probabilities, first["galaxy"].to_numpy(), resamples, threshold=thresholds
    )


def flat(results: Results) -> dict[str, float]:
    """Return every defined score by its path, such as ``target.unique.auc`` and ``target.unique.auc.low``."""
    named = {}
    for role, rows, metric, interval in _walk(results):
        named[f"{role}.{rows}.{metric}"] = interval["value"]
        named[f"{role}.{rows}.{metric}.low"] = interval.get("low", math.nan)
        named[f"{role}.{rows}.{metric}.high"] = interval.get("high", math.nan)
    return {name: value for name, value in named.items() if math.isfinite(value)}


def table(results: Results) -> pd.DataFrame:
    """Return a table with the columns role, rows, metric, value, low, high, images, galaxies, seeds."""
    rows = []
    for role, kind, metric, interval in _walk(results):
        if metric not in SIZES:
            sizes = {name: int(results[role][kind][name]["value"]) for name in SIZES}
            rows.append({"role": role, "rows": kind, "metric": metric, **interval, **sizes})
    return pd.DataFrame(rows)


def write_results(results: Results, folder: Path) -> None:
    """Write `JSON_NAME` and `CSV_NAME` to `folder`; undefined scores are null in JSON and empty fields in CSV."""
    plain = json.loads(json.dumps(results), parse_constant=lambda _: None)
    for name, text in {
        JSON_NAME: json.dumps(plain, indent=2, allow_nan=False) + "\n",
        CSV_NAME: table(results).to_csv(index=False, lineterminator="\n"),
    }.items():
        write_text(folder / name, text)


def read_results(folder: Path) -> Results:
    """Read the JSON file that `write_results` wrote to `folder`, with null as NaN.

    Raises DamagedFile if the file is missing or contains anything else.
    """
    path, remedy = folder / JSON_NAME, "Evaluate the training again with `mergershift evaluate`."
    stored = read_json(path, dict[str, dict[str, dict[str, dict[str, float | None]]]], remedy)
    if not stored:
        raise damaged(path, f"no scores, expected {' and '.join(ROLES)}", remedy)
    results: Results = {}
    for role, kinds in stored.items():
        if role not in ROLES or "unique" not in kinds:
            raise damaged(path, f"{role}: expected {' or '.join(ROLES)}, with scores of unique rows", remedy)
        results[role] = {kind: {} for kind in kinds}
        for kind, scores in kinds.items():
            for metric, interval in scores.items():
                known = {name: math.nan if value is None else value for name, value in interval.items()}
                if "value" not in known or not known.keys() <= Interval.__annotations__.keys():
                    fault = (
                        f"{role}.{kind}.{metric}: found {shortened(interval)}, expected value, low and high"
                    )
                    raise damaged(path, fault, remedy)
                results[role][kind][metric] = cast(Interval, known)
    return results


def _walk(results: Results) -> Iterator[tuple[str, str, str, Interval]]:
    for role, kinds in results.items():
        for kind, scores in kinds.items():
            for metric, interval in scores.items():
                yield role, kind, metric, interval
