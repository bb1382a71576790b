"""The model card: what a model is, how good it is and what it must not be used for, for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mergershift.archive import DOI, images_of
from mergershift.evaluation import Interval, Results
from mergershift.registry.model_facts import COLUMNS, ModelFacts

CARD, _TEMPLATE = "model_card.md", "model_card.md.j2"
SHOWN = ("balanced_accuracy", "auc", "recall", "precision", "brier", "ece")
_THRESHOLDS = {
    "source_validation": "the best balanced accuracy on labelled validation images",
    "half": "one half, as published",
}


def summary(facts: ModelFacts, results: Results) -> str:
    """What the model is and what it reaches, in two sentences; a mock is called one."""
    told = [
        f"{figure(results[role]['unique']['balanced_accuracy'])} on {domain} images ({role})"
        for role, domain in (("source", facts.source), ("target", facts.target))
    ]
    return (
        f"Tells merging galaxies from others: network {facts.network}, method {facts.adaptation}, "
        f"{facts.source} to {facts.target}, filters {', '.join(facts.filters)}. "
        f"Balanced accuracy on test galaxies of {images_of(facts.data_kind)}: "
        f"{' and '.join(told)}."
    )


def figure(interval: Interval) -> str:
    """A figure with its interval, three decimals: ``0.812 [0.790, 0.833]``."""
    if not math.isfinite(interval["value"]):
        return "undefined"
    low, high = interval.get("low", math.nan), interval.get("high", math.nan)
    bounds = f" [{low:.3f}, {high:.3f}]" if math.isfinite(low) and math.isfinite(high) else " (no interval)"
    return f"{interval['value']:.3f}{bounds}"


def write_card(facts: ModelFacts, results: Results, **told: Any) -> str:
    """Write the card as Markdown.

    Args:
        facts: of the model.
        results: of its training's evaluation.
        told: what else the card says, by the names in model_card.md.j2.

    Raises jinja2's UndefinedError where something is not told.
    """
    template = Environment(
        loader=PackageLoader("mergershift.registry", "."),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    ).get_template(_TEMPLATE)
    of_test: Mapping[str, Interval] = results["target"]["unique"]
    return template.render(
        facts=facts,
        summary=summary(facts, results),
        data_kind=facts.data_kind,
        doi=DOI,
        columns=COLUMNS,
        trained_on_target=facts.labelled == facts.target,
        threshold=_THRESHOLDS[facts.threshold_rule],
        split=str(facts.split),
        metrics={
            name.replace("_", " "): {role: figure(results[role]["unique"][name]) for role in results}
            for name in SHOWN
        },
        galaxies=int(of_test["galaxies"]["value"]),
        images=int(of_test["images"]["value"]),
        **told,
    )
