"""The results of a finished study: its best trial as an experiment file, a table of trials, and figures."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib
import optuna
import pandas as pd
import yaml
from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from mergershift.config import compose
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.core.files import write_text
from mergershift.core.nesting import flattened, nested
from mergershift.core.words import counted
from mergershift.tuning.endings import REASON, WHY, finished, numbers_of, original_number
from mergershift.tuning.space import resolved
from mergershift.tuning.storage import Search

WRITTEN = "# Written by `mergershift tune`"
_GROUPS = ("network", "adaptation", "training")
_DPI = 150


def winner(study: optuna.Study, search: Search) -> FrozenTrial:
    """Best trial of the study; of a Pareto front, the trial that scores highest by the validator `search.best_by`.

    Raises UserError if no trial was completed.
    """
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        ends = [
            (trial.user_attrs.get(WHY, "pruned"), trial.user_attrs.get(REASON))
            for trial in finished(study.trials)
        ]
        counts = ", ".join(f"{number} {why}" for why, number in Counter(why for why, _ in ends).items())
        last = next((f", the last with {reason}" for _, reason in reversed(ends) if reason), "")
        raise UserError(
            f"{search.name}: none of {counted(len(ends), 'trial')} was completed ({counts}{last}).\n"
            "Narrow the ranges in conf/tuning/, or set tuning.pruning=false, and choose another tuning.name."
        )
    if len(search.tuning.objectives) == 1:
        return study.best_trial
    return max(study.best_trials, key=lambda trial: (trial.user_attrs[search.best_by], -trial.number))


def write_experiment(search: Search, study: optuna.Study, best: FrozenTrial) -> Path:
    """Write the best trial to conf/experiment/<name>.yaml and return that path.

    A file of that name that `mergershift tune` did not write is first renamed to <name>.yaml.bak.
    """
    path = root() / "conf" / "experiment" / f"{search.experiment}.yaml"
    if path.is_file() and not path.read_bytes().partition(b"\n")[2].startswith(WRITTEN.encode()):
        os.replace(path, path.with_name(f"{path.name}.bak"))
    scores = ", ".join(
        f"{name} {value:.4f}" for name, value in zip(search.tuning.objectives, best.values, strict=True)
    )
    done = len(finished(study.get_trials(deepcopy=False)))
    labels = "oracle: target labels were used" if search.oracle else "no target label was used"
    lines = [
        "# @package _global_",
        f"{WRITTEN}: trial {best.number} of {done} in the study {search.name}, {scores} ({labels}).",
        f"# Data {search.data_hash[:16]}, {counted(search.config.training.epochs, 'epoch')} per trial, "
        f"split={search.config.choices['split']}, seed {search.config.seed}.",
    ]
    defaults = [{f"override /{group}": search.config.choices[group]} for group in _GROUPS]
    values = nested(_overridden(search) | resolved(best.params, search.tuning.ranges))
    text = "\n".join(lines) + "\n" + yaml.safe_dump({"defaults": defaults} | values, sort_keys=False)
    path.parent.mkdir(exist_ok=True)
    write_text(path, text)
    return path


def _overridden(search: Search) -> dict[str, Any]:
    """Values by key that overrides of single keys made differ from the files of the configuration groups."""
    groups = [f"{group}={search.config.choices[group]}" for group in ("filters", "transfer", *_GROUPS)]
    searched, plain = (
        dict(flattened(config.model_dump(mode="json", include=set(_GROUPS))))
        for config in (search.config, compose(groups))
    )
    return {key: value for key, value in searched.items() if key not in plain or plain[key] != value}


def summary(search: Search, study: optuna.Study, best: FrozenTrial) -> dict[str, Any]:
    """Facts about the study that are written to study.json."""
    return {
        "study": search.name,
        "experiment": search.experiment,
        "objectives": list(search.tuning.objectives),
        "best_by": search.best_by,
        "data": search.images,
        "data_hash": search.data_hash,
        "config_hash": search.config.digest(),
        "seed": search.tuning.seed,
        **numbers_of(study),
        "retried": sum(original_number(trial) != trial.number for trial in study.trials),
        "best": {
            "trial": best.number,
            "values": dict(zip(search.tuning.objectives, best.values, strict=True)),
            "params": best.params,
        },
    }


def table(search: Search, study: optuna.Study) -> pd.DataFrame:
    """One row per trial: its number, the trial that it retries, state, seconds, objectives, searched values, data."""
    rows = []
    for trial in study.trials:
        values = trial.values or [float("nan")] * len(search.tuning.objectives)
        rows.append(
            {
                "trial": trial.number,
                "takes_up": original_number(trial) if original_number(trial) != trial.number else pd.NA,
                "state": trial.user_attrs.get(WHY, trial.state.name.lower()),
                "reason": trial.user_attrs.get(REASON, ""),
                "seconds": trial.duration.total_seconds() if trial.duration else float("nan"),
                **dict(zip(search.tuning.objectives, values, strict=True)),
                **trial.params,
                "data": search.images,
            }
        )
    return pd.DataFrame(rows).astype({"takes_up": "Int64"})


def figures(search: Search, study: optuna.Study) -> dict[str, Figure]:
    """Draw the figures of the study: history, parallel coordinates and importances of each objective.

    A search by one objective also gets the learning curves, one by two objectives the Pareto front. Parallel
    coordinates and importances are omitted unless at least two completed trials differ in the objective.
    """
    matplotlib.use("Agg")
    plots = optuna.visualization.matplotlib
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    drawings: dict[str, Callable[..., Any]] = {}
    names = search.tuning.objectives
    if len(names) > 1:
        drawings["pareto_front"] = partial(plots.plot_pareto_front, target_names=list(names))
    else:
        drawings["intermediate_values"] = plots.plot_intermediate_values
    for index, name in enumerate(names):
        suffix = f"_{name}" * (len(names) > 1)
        target = partial(_value, index)
        # Given an explicit target, Optuna assumes that low values are good.
        options: dict[str, Any] = {"target": target if suffix else None, "target_name": name}
        drawings[f"history{suffix}"] = partial(plots.plot_optimization_history, **options)
        if len({target(trial) for trial in completed}) > 1:
            drawings[f"parallel_coordinates{suffix}"] = partial(_parallel_coordinates, **options)
            # The importance evaluator assumes minimisation.
            low = target if search.directions[index] == "minimize" else partial(_negative, index)
            drawings[f"importances{suffix}"] = partial(
                plots.plot_param_importances, target=low, target_name=name
            )
    return {name: _figure(draw(study), search) for name, draw in drawings.items()}


def _value(index: int, trial: FrozenTrial) -> float:
    return float(trial.values[index])


def _negative(index: int, trial: FrozenTrial) -> float:
    return -_value(index, trial)


def _parallel_coordinates(study: optuna.Study, **options: Any) -> Any:
    axes = optuna.visualization.matplotlib.plot_parallel_coordinate(study, **options)
    keys = sorted({key for trial in study.get_trials(deepcopy=False) for key in trial.params})
    names = [options["target_name"], *(key.rpartition(".")[2] for key in keys)]
    if len(axes.get_xticks()) == len(names):  # Optuna truncates the keys to 20 characters
        axes.set_xticks(axes.get_xticks(), names, rotation=20)
    return axes


def _figure(axes: Any, search: Search) -> Figure:
    figure: Figure = axes.figure
    figure.set_size_inches(11, 6)
    axes.set_title(f"{axes.get_title()}\n{search.name}: {search.images}", fontsize=10)
    return figure


def write_outcome(
    folder: Path, facts: dict[str, Any], trials: pd.DataFrame, drawings: dict[str, Figure]
) -> None:
    """Write study.json, trials.csv and the figures (as PNG files) into an existing folder."""
    (folder / "study.json").write_text(json.dumps(facts, indent=2) + "\n")
    trials.to_csv(folder / "trials.csv", index=False, lineterminator="\n")
    for name, figure in drawings.items():
        figure.savefig(folder / f"{name}.png", dpi=_DPI, bbox_inches="tight")
