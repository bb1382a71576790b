"""The model card, which describes for its users what a model is, how well it performs and what its limits are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from mergershift.archive import DOI, images_of, terms_of
from mergershift.evaluation import Interval, Results
from mergershift.registry.model_facts import COLUMNS, ModelFacts

CARD, _TEMPLATE = "model_card.md", "model_card.md.j2"
CARD_METRICS = ("balanced_accuracy", "auc", "recall", "precision", "brier", "ece")
_THRESHOLDS = {
    "source_validation": "the best balanced accuracy on labelled validation images",
    "half": "one half, as published",
}


def summary(facts: ModelFacts, results: Results) -> str:
    """Describe the model and its balanced accuracy in a few sentences, which name oracles and mock images as such."""
    accuracies = [
        f"{with_interval(results[role]['unique']['balanced_accuracy'])} on {domain} images ({role})"
        for role, domain in (("source", facts.source), ("target", facts.target))
    ]
    if facts.labelled == facts.target:
        trained = f"trained with labels of {facts.target} images, which makes it an oracle"
    elif facts.oracle:
        trained = (
            f"trained with labels of {facts.labelled} images, and tuned with labels of {facts.target} ones, "
            "which makes it an oracle"
        )
    else:
        trained = f"trained with labels of {facts.labelled} images, for {facts.target} ones"
    return (
        f"Classifies galaxies as mergers or non-mergers in filters {', '.join(facts.filters)}: network "
        f"{facts.network}, method {facts.adaptation}, {trained}. Balanced accuracy on test galaxies "
        f"({images_of(facts.data_kind)}): {' and '.join(accuracies)}."
    )


def with_interval(interval: Interval) -> str:
    """Format a metric and its interval with three decimals: ``0.812 [0.790, 0.833]``."""
    if not math.isfinite(interval["value"]):
        return "undefined"
    low, high = interval.get("low", math.nan), interval.get("high", math.nan)
    bounds = f" [{low:.3f}, {high:.3f}]" if math.isfinite(low) and math.isfinite(high) else " (no interval)"
    return f"{interval['value']:.3f}{bounds}"


def write_card(facts: ModelFacts, results: Results, **values: Any) -> str:
    """Render the model card as Markdown.

    Args:
        facts: facts of the model.
        results: metrics from the evaluation of its training.
        values: all other values of the card, by their names in model_card.md.j2.

    Raises jinja2's UndefinedError if one of these values is missing.
    """
    template = Environment(
        loader=PackageLoader("mergershift.registry", "."),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    ).get_template(_TEMPLATE)
    target: Mapping[str, Interval] = results["target"]["unique"]
    return template.render(
        facts=facts,
        summary=summary(facts, results),
        data_kind=facts.data_kind,
        doi=DOI,
        terms=terms_of(facts.data_kind),
        columns=COLUMNS,
        trained_on_target=facts.labelled == facts.target,
        threshold=_THRESHOLDS[facts.threshold_rule],
        split=str(facts.split),
        metrics={
            name.replace("_", " "): {role: with_interval(results[role]["unique"][name]) for role in results}
            for name in CARD_METRICS
        },
        galaxies=int(target["galaxies"]["value"]),
        images=int(target["images"]["value"]),
        **values,
    )
