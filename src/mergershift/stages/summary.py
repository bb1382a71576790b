"""The study's result: what each method keeps on the target, beside source-only, and how well validators chose."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mergershift import evaluation
from mergershift.archive import images_of
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import BEST, PREDICTIONS, SUMMARY
from mergershift.config import Config
from mergershift.config.study import Method, Study, read_study
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.core.files import atomic_directory
from mergershift.evaluation import ORACLE

SHOWN = ("balanced_accuracy", "auc", "ece")


@dataclass(frozen=True, eq=False)
class _MethodResults:
    """One method on one filter set, all its seeds."""

    filters: str
    method: Method
    config: Config
    predictions: dict[str, pd.DataFrame]
    """By choice, with a column seed."""
    validators: pd.DataFrame
    """One row for each epoch and seed; `chosen` marks the epoch that was taken."""
    best_by: set[str]
    """Validators that the evaluations name to compare methods by."""
    data: set[str]
    """Kinds of images that the trainings saw: mock, archive or unknown."""
    split: set[str]
    """Rules by which rows were split."""

    @property
    def names(self) -> dict[str, str]:
        """What tells its rows from others'."""
        transfer = self.config.transfer
        ends = {"source": str(transfer.source), "target": str(transfer.target)}
        return {"filters": self.filters, **self.method.model_dump(), **ends}

    @property
    def honest(self) -> bool:
        """Whether it was trained without target labels."""
        return not self.method.is_oracle

    @property
    def title(self) -> str:
        """Short name within a direction."""
        return self.method.title


def write_summary() -> None:
    """Pool each method's seeds and write the tables in outputs/summary/; raises UserError for a gap."""
    study = read_study()
    methods = [_gather(study, filters, method) for filters in study.filters for method in study.methods]
    transfer = pd.concat(
        [
            evaluation.table(evaluation.evaluate(predictions)).assign(choice=choice, **each.names)
            for each in methods
            for choice, predictions in each.predictions.items()
        ],
        ignore_index=True,
    ).assign(
        data="+".join(sorted(set().union(*(each.data for each in methods)))),
        split="+".join(sorted(set().union(*(each.split for each in methods)))),
    )
    groups: dict[tuple[str, str, str], list[_MethodResults]] = {}
    for each in methods:
        names = each.names
        groups.setdefault((names["filters"], names["source"], names["target"]), []).append(each)
    comparison = [_compared(group) for group in groups.values()]
    chosen = transfer[(transfer["choice"] == "label_free") & (transfer["metric"].isin(SHOWN))]
    bars = chosen[(chosen["role"] == "target") & (chosen["metric"] == "balanced_accuracy")]
    with atomic_directory(root() / SUMMARY) as folder:
        for name, table in {
            "transfer": transfer,
            "comparison": pd.concat(comparison, ignore_index=True),
            "validators": pd.concat([_validators(group) for group in groups.values()], ignore_index=True),
            "target": pd.DataFrame(
                {
                    "method": bars[["filters", "transfer", "adaptation", "experiment"]].agg(" ".join, axis=1),
                    "balanced_accuracy": bars["value"],
                }
            ),
        }.items():
            table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        best = [_best(group) for group in groups.values()]
        (folder / BEST).write_text(json.dumps(best, indent=2) + "\n")
        (folder / "transfer.json").write_text(json.dumps(_nested(chosen), indent=2) + "\n")


def _gather(study: Study, filters: str, method: Method) -> _MethodResults:
    cells = [cell for cell in study.cells() if (cell.filters, cell.method) == (filters, method)]
    trainings = [FinishedTraining.read(root() / cell.folder) for cell in cells]
    seeds = [cell.seed for cell in cells]
    return _MethodResults(
        filters,
        method,
        trainings[0].config,
        predictions={
            choice: _stacked([run.test_predictions(choice) for run in trainings], seeds)
            for choice in PREDICTIONS
        },
        validators=_stacked([run.validators for run in trainings], seeds),
        best_by={run.selection.best_by for run in trainings},
        data={run.trained.provenance.kind for run in trainings},
        split={run.trained.split.rule for run in trainings},
    )


def _stacked(tables: list[pd.DataFrame], seeds: list[int]) -> pd.DataFrame:
    """The tables below one another, with a column that says whose they are."""
    parts = [table.assign(seed=seed) for table, seed in zip(tables, seeds, strict=True)]
    return pd.concat(parts, ignore_index=True)


def _compared(group: list[_MethodResults]) -> pd.DataFrame:
    """Each method of a filter set and direction beside source-only; no rows where that was not trained."""
    baseline = next((each for each in group if each.method.is_baseline), None)
    if baseline is None:
        return pd.DataFrame()
    # The oracle is no method in the competition: it bounds what is left to win, and takes no part in Holm's.
    tables = []
    for part in ([each for each in group if each.honest], [baseline, *(e for e in group if not e.honest)]):
        predictions = {each.title: each.predictions["label_free"] for each in part}
        if len(predictions) < 2:
            continue
        table = evaluation.compare(predictions, baseline.title).set_index("method")
        back = evaluation.won_back(predictions, baseline.title)
        shares = back.shares.set_index("method").add_prefix("won_back_")
        table = table.join(shares.rename(columns={"won_back_share": "won_back"}))
        drop = {"drop": back.drop["value"], "drop_low": back.drop["low"], "drop_high": back.drop["high"]}
        named = {each.title: each.names for each in part}
        for title in table.index:
            tables.append({**named[title], **table.loc[title].to_dict(), **drop})
    return pd.DataFrame(tables)


def _validators(group: list[_MethodResults]) -> pd.DataFrame:
    """How each validator ranks networks, beside the oracle, on validation images.

    `epochs`: the epochs of one training, mean over trainings; `networks`: all epochs of all methods trained
    with one seed, mean over seeds. `regret` is what the oracle's pick has more of the oracle's figure.
    """
    honest = [each.validators.assign(method=each.title) for each in group if each.honest]
    if not honest:
        return pd.DataFrame()
    networks = pd.concat(honest, ignore_index=True)
    filters, source, target = (group[0].names[name] for name in ("filters", "source", "target"))
    rows = []
    for among, keys in (("epochs", ["method", "seed"]), ("networks", ["seed"])):
        parts = [part for _, part in networks.groupby(keys, sort=False)]
        for validator in evaluation.VALIDATORS:
            agreed = [evaluation.agreement(part[validator], part[ORACLE]) for part in parts]
            regrets = [evaluation.regret(part[validator], part[ORACLE]) for part in parts]
            known = [value for value in agreed if math.isfinite(value)]
            rows.append(
                {
                    "filters": filters,
                    "source": source,
                    "target": target,
                    "among": among,
                    "validator": validator,
                    "agreement": float(np.mean(known)) if known else math.nan,
                    "agreement_std": float(np.std(known, ddof=1)) if len(known) > 1 else math.nan,
                    "regret": float(np.mean(regrets)),
                    "rankings": len(parts),
                }
            )
    return pd.DataFrame(rows)


def _best(group: list[_MethodResults]) -> dict[str, Any]:
    """The method with the highest mean score of the validator that conf/selection/ named beforehand."""
    named = set().union(*(each.best_by for each in group))
    if len(named) > 1:
        raise UserError(
            f"outputs/cells: evaluated with different validators to compare methods by ({', '.join(sorted(named))}).\n"
            "Run `mergershift repro`, which evaluates all cells by the study's selection."
        )
    (validator,) = named
    scores = {
        each.title: float(each.validators.loc[each.validators["chosen"], validator].mean(skipna=False))
        for each in group
        if each.honest
    }
    names = {name: group[0].names[name] for name in ("filters", "source", "target")}
    # A method one of whose trainings diverged has no score, and JSON no NaN.
    sound = {title: score for title, score in scores.items() if math.isfinite(score)}
    best = max(sound, key=lambda title: sound[title], default=None)
    method = next((each.method.model_dump() for each in group if each.honest and each.title == best), None)
    return {**names, "validator": validator, "best": best, "method": method, "scores": sound}


def _nested(chosen: pd.DataFrame) -> dict[str, Any]:
    """The figures that `dvc metrics` shows; JSON has no NaN, so an undefined one is null."""
    nested: dict[str, Any] = {}
    for row in chosen.to_dict("records"):
        method = nested.setdefault(
            f"{row['filters']}/{row['transfer']}/{row['adaptation']}/{row['experiment']}", {}
        )
        bounds = {name: row[name] if math.isfinite(row[name]) else None for name in ("value", "low", "high")}
        method.setdefault(row["role"], {})[row["metric"]] = bounds
    return nested


def print_summary() -> None:
    """Print the transfer table that `write_summary` wrote."""
    path = root() / SUMMARY / "transfer.csv"
    if not path.is_file():
        raise UserError(f"{path}: missing.\nRun `mergershift repro` first.")
    table = pd.read_csv(path)
    table = table[table["choice"] == "label_free"]
    data = str(table["data"].iloc[0])
    seeds, galaxies = int(table["seeds"].max()), int(table["galaxies"].max())
    page = Table(
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=f"Transfer on {images_of(data)}",
        caption=f"Balanced accuracy and AUC on test images, one a rendering: {galaxies} galaxies, {seeds} training "
        f"seed{'s' * (seeds > 1)}; 95 % intervals from resampling galaxies"
        + (" and seeds" if seeds > 1 else ", without the scatter between trainings")
        + f". Epochs and thresholds chosen without target labels. Split: {table['split'].iloc[0]}.",
    )
    for name in ("filters", "method", "source", "target", "target AUC"):
        page.add_column(name, no_wrap=True, justify="left" if name in ("filters", "method") else "right")
    names = ["transfer", "adaptation", "experiment"]
    for (filters, *method), part in table.groupby(["filters", *names], sort=False):
        page.add_row(
            str(filters),
            Method.model_validate(dict(zip(names, method, strict=True))).title,
            _figure(part, "source", "balanced_accuracy"),
            _figure(part, "target", "balanced_accuracy"),
            _figure(part, "target", "auc"),
        )
    Console().print(page)


def _figure(part: pd.DataFrame, role: str, metric: str) -> str:
    chosen = part[(part["role"] == role) & (part["metric"] == metric)].iloc[0]
    value, low, high = (f"{chosen[name]:.2f}" for name in ("value", "low", "high"))
    # Without the leading zeros of the bounds the table fits 80 columns.
    return f"{value} ({low.removeprefix('0')}-{high.removeprefix('0')})"
