"""What a finished study leaves: the winner as an experiment file, tables, figures."""

from __future__ import annotations

import json
import os
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
from mergershift.tuning.objective import FINISHED, original_number
from mergershift.tuning.space import resolved
from mergershift.tuning.storage import Search

WRITTEN = "# Written by `mergershift tune`"
_GROUPS = ("network", "adaptation", "training")
_DPI = 150


def winner(study: optuna.Study, search: Search) -> FrozenTrial:
    """The best trial; of a Pareto front the one that the validator `search.best_by` puts first.

    Raises UserError where no trial came to its end.
    """
    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        raise UserError(
            f"{search.name}: none of {len(study.trials)} trials came to its end: all were pruned or diverged.\n"
            "Narrow the ranges in conf/tuning/, or set tuning.pruning=false, and take another tuning.name."
        )
    if len(search.tuning.objectives) == 1:
        return study.best_trial
    return max(study.best_trials, key=lambda trial: (trial.user_attrs[search.best_by], -trial.number))


def write_experiment(search: Search, study: optuna.Study, best: FrozenTrial) -> Path:
    """Write the winner as conf/experiment/<name>.yaml; an own file of that name is kept beside as .bak."""
    path = root() / "conf" / "experiment" / f"{search.experiment}.yaml"
    if path.is_file() and not path.read_text().partition("\n")[2].startswith(WRITTEN):
        os.replace(path, path.with_name(f"{path.name}.bak"))
    reached = ", ".join(
        f"{name} {value:.4f}" for name, value in zip(search.tuning.objectives, best.values, strict=True)
    )
    finished = len(study.get_trials(deepcopy=False, states=FINISHED))
    seen = "target labels were seen: an oracle" if search.oracle else "no target label seen"
    lines = [
        "# @package _global_",
        f"{WRITTEN}: trial {best.number} of {finished} in the study {search.name}, {reached} ({seen}).",
        f"# Data {search.data_hash[:16]}, {search.config.training.epochs} epochs a trial, "
        f"split={search.config.choices['split']}, seed {search.config.seed}.",
    ]
    defaults = [{f"override /{group}": search.config.choices[group]} for group in _GROUPS]
    values = nested(_given(search) | resolved(best.params, search.tuning.ranges))
    text = "\n".join(lines) + "\n" + yaml.safe_dump({"defaults": defaults} | values, sort_keys=False)
    path.parent.mkdir(exist_ok=True)
    write_text(path, text)
    return path


def _given(search: Search) -> dict[str, Any]:
    """What overrides of single keys have made different from the files of the groups, by key."""
    groups = [f"{group}={search.config.choices[group]}" for group in ("filters", "transfer", *_GROUPS)]
    ours, plain = (
        dict(flattened(each.model_dump(mode="json", include=set(_GROUPS))))
        for each in (search.config, compose(groups))
    )
    return {key: value for key, value in ours.items() if key not in plain or plain[key] != value}


def summary(search: Search, study: optuna.Study, best: FrozenTrial) -> dict[str, Any]:
    """The facts of the study, as JSON takes them."""
    states = [trial.state for trial in study.get_trials(deepcopy=False)]
    return {
        "study": search.name,
        "experiment": search.experiment,
        "objectives": list(search.tuning.objectives),
        "best_by": search.best_by,
        "data_hash": search.data_hash,
        "config_hash": search.config.digest(),
        "seed": search.tuning.seed,
        "completed": states.count(TrialState.COMPLETE),
        "pruned": states.count(TrialState.PRUNED),
        "retried": sum(original_number(each) != each.number for each in study.trials),
        "best": {
            "trial": best.number,
            "values": dict(zip(search.tuning.objectives, best.values, strict=True)),
            "params": best.params,
        },
    }


def table(search: Search, study: optuna.Study) -> pd.DataFrame:
    """One row a trial: number, state, seconds, objectives, values of the searched keys."""
    rows = []
    for trial in study.trials:
        values = trial.values or [float("nan")] * len(search.tuning.objectives)
        rows.append(
            {
                "trial": trial.number,
                "takes_up": original_number(trial) if original_number(trial) != trial.number else pd.NA,
                "state": trial.user_attrs.get("why", trial.state.name.lower()),
                "seconds": trial.duration.total_seconds() if trial.duration else float("nan"),
                **dict(zip(search.tuning.objectives, values, strict=True)),
                **trial.params,
            }
        )
    return pd.DataFrame(rows).astype({"takes_up": "Int64"})


def figures(search: Search, study: optuna.Study) -> dict[str, Figure]:
    """History, parallel coordinates, importances and learning curves; the Pareto front of two objectives.

    Those that need two different completed trials are left out where there is one.
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
    for place, name in enumerate(names):
        suffix = f"_{name}" * (len(names) > 1)
        target = partial(_value, place)
        # Told a target, Optuna takes low values for good ones.
        options: dict[str, Any] = {"target": target if suffix else None, "target_name": name}
        drawings[f"history{suffix}"] = partial(plots.plot_optimization_history, **options)
        if len({target(trial) for trial in completed}) > 1:
            drawings[f"parallel_coordinates{suffix}"] = partial(_parallel_coordinates, **options)
            # The evaluator weighs what leads to low values.
            low = target if search.directions[place] == "minimize" else partial(_negative, place)
            drawings[f"importances{suffix}"] = partial(
                plots.plot_param_importances, target=low, target_name=name
            )
    return {name: _drawn(draw(study)) for name, draw in drawings.items()}


def _value(place: int, trial: FrozenTrial) -> float:
    return float(trial.values[place])


def _negative(place: int, trial: FrozenTrial) -> float:
    return -_value(place, trial)


def _parallel_coordinates(study: optuna.Study, **options: Any) -> Any:
    axes = optuna.visualization.matplotlib.plot_parallel_coordinate(study, **options)
    keys = sorted({key for trial in study.get_trials(deepcopy=False) for key in trial.params})
    names = [options["target_name"], *(key.rpartition(".")[2] for key in keys)]
    if len(axes.get_xticks()) == len(names):  # Optuna cuts the keys after twenty letters
        axes.set_xticks(axes.get_xticks(), names, rotation=20)
    return axes


def _drawn(axes: Any) -> Figure:
    figure: Figure = axes.figure
    figure.set_size_inches(11, 6)
    return figure


def write_outcome(
    folder: Path, facts: dict[str, Any], trials: pd.DataFrame, drawn: dict[str, Figure]
) -> None:
    """Write study.json, trials.csv and the figures into an existing folder."""
    (folder / "study.json").write_text(json.dumps(facts, indent=2) + "\n")
    trials.to_csv(folder / "trials.csv", index=False, lineterminator="\n")
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png", dpi=_DPI, bbox_inches="tight")
