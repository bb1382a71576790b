"""What a run shows in MLflow's pages, derived from the facts that its training recorded.

A name, a few parameters and tags by which runs are compared, metrics in groups, and a description. The facts
themselves, with the whole configuration and all metrics, are files of the run.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from typing import Any, Literal, overload

from mergershift.cells.layout import PAGE_NAME
from mergershift.cells.records import STARTED_FROM, VARIED, RunSpec
from mergershift.config.schema import ORACLE_PREFIX
from mergershift.config.study import PLAIN, Method
from mergershift.core.nesting import flattened
from mergershift.evaluation import DOMAIN_DISTANCE, JUDGED, ORACLE, SOURCE_ACCURACY, VALIDATORS
from mergershift.tracking.colours import method_colour
from mergershift.tracking.settings import settings_name
from mergershift.tracking.target_use import (
    choices_of,
    trained_on_labels_of_target,
    tuned_on_labels_of_target,
    tuning_of,
)

Kind = Literal["training", "trial", "search", "study"]

COLOUR, PARENT_TAG = "mlflow.runColor", "mlflow.parentRunId"
TRAINING_TAG = "mergershift.training"
"""Tag with the training's own id, by which its run is found on any server."""
TARGET_SCORE = "target.unique.balanced_accuracy"
"""Name of the metric that every evaluation of a training gives."""
STUDY_PAGE = f"report/{PAGE_NAME}"
"""Path of the study's page within the study's run."""
FINAL_GROUPS = ("source/", "target/", "uncertainty/", "validators/")
"""Groups of the final metrics of a training."""
SYSTEM = "system/"
"""Beginning of the names that MLflow gives to metrics of the machine."""
TARGET_TAG = "target_95"
"""Tag with that metric and its 95 % interval."""
USUAL = {"network": "deepmerge", "split": "by_galaxy"}
"""Choices that a run's name leaves out."""
MOST_SETTINGS = 3
"""Number of varied settings that a run's name gives."""
OBJECTIVES = (*VALIDATORS, SOURCE_ACCURACY, DOMAIN_DISTANCE, ORACLE)

SEPARATOR = " · "
_EPOCH_METRICS = {
    "penalty_weight": "train/penalty_weight",
    "learning_rate": "train/learning_rate",
    "source_val_loss": "validation/source_loss",
    "source_val_accuracy": "validation/source_accuracy",
    "source_val_balanced_accuracy": "validation/source_balanced_accuracy",
}
_FINAL_METRICS = {
    "selected_epoch": "validators/epoch",
    "threshold": "validators/threshold",
    "completed": "search/completed",
    "pruned": "search/pruned",
    "failed": "search/failed",
    **{name: f"validators/{name}" for name in OBJECTIVES},
    **{f"{name}{JUDGED}": f"validators/{name}{JUDGED}" for name in (*VALIDATORS, ORACLE)},
    **{f"best_{name}": f"validators/{name}" for name in OBJECTIVES},
}
_SCORES = {
    "source.unique.balanced_accuracy": "source/balanced_accuracy",
    "source.unique.auc": "source/auc",
    "target.unique.balanced_accuracy": "target/balanced_accuracy",
    "target.unique.auc": "target/auc",
    "gain": "target/gain",
}
_RANGE = ("low", "high", "log", "choices")
"""Keys of a search range in conf/tuning/."""
_SHOWN_TAGS = ("dvc_stage", "dvc_experiment", "search", *STARTED_FROM)
_ALWAYS = ("network", "split", "data")
"""Parameters that every run has, because MLflow's pages group only runs that have the parameter."""
PARAMETERS = {
    "adaptation": "choices.adaptation",
    "network": "choices.network",
    "trade_off": "adaptation.weighting.trade_off",
    "learning_rate": "training.optimizer.lr",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "seed": "seed",
    "experiment": "choices.experiment",
    "training": "choices.training",
    "split": "choices.split",
}
"""Parameter -> setting."""
_NEEDED = (
    *("seed", "filters.name", "transfer.source", "transfer.target"),
    *("choices.transfer", "choices.adaptation"),
)


@overload
def metric_name(name: str, *, epoch: Literal[True]) -> str: ...
@overload
def metric_name(name: str, *, epoch: Literal[False] = False) -> str | None: ...
def metric_name(name: str, *, epoch: bool = False) -> str | None:
    """Name a metric as MLflow shows it; None for one that it does not show.

    Args:
        name: name in the training's record, evaluation or table of epochs.
        epoch: whether it is a column of the table of epochs, rather than a final metric.
    """
    if epoch:
        if name.startswith(SYSTEM):
            return name
        group = "train/" if name.startswith("train_") else "validation/"
        return _EPOCH_METRICS.get(name, group + name.removeprefix("train_"))
    score, _, bound = name.rpartition(".")
    if bound in ("low", "high") and score in _SCORES:
        return f"uncertainty/{_SCORES[score].replace('/', '_')}_{bound}"
    return _FINAL_METRICS.get(name, _SCORES.get(name))


def kind_of(spec: RunSpec) -> Kind:
    """Return what a run records; the run of a study says so itself."""
    if spec.tags.get("kind") == "study":
        return "study"
    if spec.parent is not None:
        return "trial"
    return "search" if "tuning" in spec.config else "training"


def method_title(spec: RunSpec) -> str:
    """Short name of the method: `oracle` for a training on target labels, the experiment's for a tuned method."""
    choices = choices_of(spec)
    if trained_on_labels_of_target(spec):
        return "oracle"
    return Method.model_construct(
        transfer=choices.get("transfer", ""),
        adaptation=choices.get("adaptation", ""),
        experiment=choices.get("experiment", PLAIN),
    ).title


def method_parts(spec: RunSpec) -> list[str]:
    """Return the method's title, and its adaptation where the title is an experiment's that hides it."""
    title, adaptation = method_title(spec), choices_of(spec).get("adaptation", "")
    named = title in ("oracle", adaptation) or title.removeprefix(ORACLE_PREFIX) == f"tuned_{adaptation}"
    return [title] if named else [title, adaptation]


def direction(spec: RunSpec) -> str:
    """Return source and target, for instance ``pristine→noisy``."""
    transfer = spec.config.get("transfer", {})
    return f"{transfer.get('source', '?')}→{transfer.get('target', '?')}"


def run_name(spec: RunSpec) -> str:
    """Name the run by what distinguishes it from others; a study names itself."""
    kind, choices = kind_of(spec), choices_of(spec)
    if kind == "study" or not is_described(spec):
        return spec.name
    settings = [f"{key.rpartition('.')[2]}={shown(value)}" for key, value in varied(spec).items()]
    # A training's title says so itself.
    oracle = "oracle " * (trained_on_labels_of_target(spec) or tuned_on_labels_of_target(spec))
    if kind == "trial":
        return SEPARATOR.join([f"{oracle}trial {spec.tags.get('trial', '?')}", *settings])
    parts = [*method_parts(spec), spec.config["filters"]["name"], direction(spec)]
    if kind == "search":
        parts = [f"{oracle}search", *parts]
        parts += [name] if (name := tuning_of(spec).get("name")) else []
    else:
        parts.append(f"s{spec.config['seed']}")
    parts += [choices[group] for group, usual in USUAL.items() if choices.get(group, usual) != usual]
    parts += settings[:MOST_SETTINGS]
    if experiment := spec.tags.get("dvc_experiment"):
        parts.append(experiment)
    return SEPARATOR.join(parts)


def parameters(spec: RunSpec) -> dict[str, str]:
    """Return all that people compare runs by; the whole configuration is a file of the run."""
    if not is_described(spec):
        return {}
    settings = dict(flattened(spec.config))
    transfer = spec.config["transfer"]
    found = {
        "method": method_title(spec),
        "filters": settings["filters.name"],
        "source": transfer["source"],
        "target": transfer["target"],
        "labels": _labels(spec),
        **{
            name: settings[key]
            for name, key in PARAMETERS.items()
            if key not in _searched(spec) and key in settings
        },
        "data": data(spec),
        "settings": settings_name(spec),
        "varied": ", ".join(f"{key}={shown(value)}" for key, value in varied(spec).items()) or "none",
    }
    known = {name: shown(value) for name, value in found.items() if value not in (None, "")}
    return known | {name: "unknown" for name in _ALWAYS if name not in known}


def shown_tags(spec: RunSpec, metrics: Mapping[str, float]) -> dict[str, str]:
    """Return the tags of the run, except those with its description, parent and files.

    Args:
        spec: facts of the run.
        metrics: its final metrics, by their names in the record and the evaluation.
    """
    tags = {key: value for key, value in spec.tags.items() if value is not None}
    kind = kind_of(spec)
    found = {key: value for key, value in tags.items() if key.startswith("mlflow.") or key in _SHOWN_TAGS}
    found |= {TRAINING_TAG: spec.training, "kind": kind}
    if "data_kind" in tags:
        found["data"] = tags["data_kind"]
    if kind in ("search", "trial") and "study" in tags:
        found.setdefault("search", tags["study"])
    if TARGET_SCORE in metrics:
        found[TARGET_TAG] = with_interval(TARGET_SCORE, metrics)
    if kind != "study" and is_described(spec):
        colour = method_colour(
            choices_of(spec).get("adaptation", ""), labels_of_target=trained_on_labels_of_target(spec)
        )
        found.setdefault(COLOUR, colour)
    return found


def with_interval(name: str, metrics: Mapping[str, float], sign: str = "") -> str:
    """Write a score with its 95 % interval, for instance ``.66 [.58, .72]``."""
    bounds = [metrics.get(f"{name}.{bound}", math.nan) for bound in ("low", "high")]
    value = _decimal(metrics[name], sign)
    return (
        f"{value} [{', '.join(_decimal(bound) for bound in bounds)}]"
        if all(map(math.isfinite, bounds))
        else value
    )


def varied(spec: RunSpec) -> dict[str, Any]:
    """Return the settings that differ from those that the chosen files in conf/ compose to, by their dotted keys."""
    try:
        found = json.loads(spec.tags.get(VARIED) or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def data(spec: RunSpec) -> str | None:
    """Name the data, for instance ``mock, seed 100``; None if the record does not."""
    kind, seed = spec.tags.get("data_kind"), spec.tags.get("data_seed")
    return f"{kind}, seed {seed}" if kind and seed else kind


def shown(value: object) -> str:
    """Write the value of a setting: numbers to four digits, and truth values as in YAML."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def is_described(spec: RunSpec) -> bool:
    """Return whether the record has the configuration that names and descriptions are made from."""
    settings = dict(flattened(spec.config))
    return all(key in settings for key in _NEEDED)


def _labels(spec: RunSpec) -> str:
    """Name the domain whose labels the training used, and the target if its labels chose the hyper-parameters."""
    transfer = spec.config["transfer"]
    if trained_on_labels_of_target(spec):
        return str(transfer["target"])
    tuned = f"; tuned on {transfer['target']}" * tuned_on_labels_of_target(spec)
    return f"{transfer['source']}{tuned}"


def _searched(spec: RunSpec) -> set[str]:
    """Keys of the settings that a search tries values of, so that its own configuration does not determine them."""
    space = tuning_of(spec).get("space")
    keys = (key.split(".") for key, _ in flattened(space if isinstance(space, Mapping) else {}))
    return {".".join(itertools.takewhile(lambda part: part not in _RANGE, parts)) for parts in keys}


def _decimal(value: float, sign: str = "") -> str:
    """Write a number between -1 and 1 without the zero before the point."""
    text = format(value, f"{sign}.2f").replace("-0.00", "0.00")
    return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text
