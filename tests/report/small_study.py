"""Results of a study in memory, with a row of comparison.csv and predictions for each method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from mergershift.config.study import Method, Study
from mergershift.report.study_results import Contender, Direction, Setting, StudyResults
from mergershift.report.style import BASELINE, ORACLE, method_style, spelt

FORWARD, ORACLE_TRANSFER = "pristine_to_noisy", "oracle_target_only"
LOSS = (0.2, 0.1, 0.3)
"""Loss of source-only with its interval."""
Compared = tuple[float, float, float, float]
"""Difference from source-only, its interval and the corrected p-value."""


def training(called: Mapping[int, Sequence[int]]) -> Any:
    """A training with these predictions on the target, listed by label; one galaxy for each image."""
    labels = [label for label, predictions in called.items() for _ in predictions]
    predictions = [prediction for predictions in called.values() for prediction in predictions]
    target = pd.DataFrame({"galaxy": np.arange(len(labels)), "label": labels, "prediction": predictions})
    config = SimpleNamespace(transfer=SimpleNamespace(source="pristine", target="noisy"))
    return SimpleNamespace(target=target, config=config)


MIXED = {0: (0, 0, 1), 1: (0, 1, 1)}


def contender(name: str, called: Mapping[int, Sequence[int]] = MIXED) -> Contender:
    """A method with one training; `name` is an adaptation or the oracle's transfer."""
    trainings = (training(called),)
    if name == ORACLE_TRANSFER:
        method = Method(transfer=name, adaptation="source_only", experiment="default")
        return Contender(method, "Oracle (target labels)", ORACLE, trainings)
    method = Method(transfer=FORWARD, adaptation=name, experiment="default")
    style = BASELINE if name == "source_only" else method_style(0)
    return Contender(method, spelt(name), style, trainings)


def setting(contenders: Sequence[Contender], best: str = "mmd", filters: str = "two") -> Setting:
    """A setting from pristine to noisy images, in which the validator ranks the adaptation `best` first."""
    scores = {one.method.title: 0.1 for one in contenders if not one.is_oracle} | {best: 0.2}
    return Setting(filters, "pristine", "noisy", tuple(contenders), "target_entropy", scores)


def results(
    settings: Sequence[Setting],
    compared: Mapping[str, Compared],
    metrics: Mapping[tuple[str, str], float] | None = None,
    loss: tuple[float, float, float] = LOSS,
) -> tuple[Direction, StudyResults]:
    """A study of these settings.

    Args:
        settings: The settings, all of one direction.
        compared: Comparison of each adaptation with source-only, the same in all settings.
        metrics: Values on the target by title of the method and metric, with intervals of 0.02.
        loss: Loss of source-only, the same in all settings.
    """
    comparison = [
        {
            **_names(one, own),
            **dict(zip(("drop", "drop_low", "drop_high"), loss, strict=True)),
            **dict(zip(("difference", "low", "high", "p_holm"), compared[own.method.title], strict=True)),
            "p": 0.001,
            **{"won_back": 0.5, "won_back_low": 0.2, "won_back_high": 0.8},
        }
        for one in settings
        for own in one.contenders
        if own.method.title in compared
    ]
    transfer = [
        {
            **_names(one, own),
            **{"role": "target", "choice": "label_free", "rows": "unique", "metric": metric},
            **{"value": value, "low": value - 0.01, "high": value + 0.01},
        }
        for one in settings
        for own in one.contenders
        for (title, metric), value in (metrics or {}).items()
        if title == own.method.title
    ]
    study = Study(
        network="deepmerge",
        training="demo",
        trainer="cpu",
        split="by_galaxy",
        selection="label_free",
        tune=(),
        filters=tuple(one.filters for one in settings),
        methods=tuple(own.method for own in settings[0].contenders),
        seeds=(0,),
    )
    columns = [*_names(settings[0], settings[0].contenders[0]), "role", "choice", "rows", "metric"]
    tables = pd.DataFrame(transfer, columns=[*columns, "value", "low", "high"]), pd.DataFrame(comparison)
    gathered = StudyResults(study, tuple(settings), *tables, pd.DataFrame())
    return gathered.directions[0], gathered


def _names(one: Setting, own: Contender) -> dict[str, str]:
    return {"filters": one.filters, "source": one.source, "target": one.target, **own.method.model_dump()}
