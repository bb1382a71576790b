"""The result of the study: how methods perform on the target against source-only, and how well validators choose."""

from __future__ import annotations

import json
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from mergershift import evaluation
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import BEST, EVALUATED, PREDICTIONS, SUMMARY
from mergershift.cells.summary_files import BestMethod, predictions_digest
from mergershift.config import Config
from mergershift.config.study import Method, Study, read_study
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.core.files import atomic_directory
from mergershift.core.forked import forked
from mergershift.evaluation import ORACLE
from mergershift.evaluation.significance import holm
from mergershift.stages import at_a_glance


@dataclass(frozen=True, eq=False)
class _MethodResults:
    """Results of one method on one filter set, of all seeds."""

    filters: str
    method: Method
    config: Config
    trainings: list[FinishedTraining]
    """One for each seed of the study."""
    predictions: pd.DataFrame
    """Test predictions of the label-free choice, with a column `seed`."""
    scores: list[pd.DataFrame]
    """Scores of the pooled seeds, a table for each choice of the epoch."""
    validators: pd.DataFrame
    """Scores of the validators on the half of the validation galaxies that chose the epochs, one row per epoch and
    seed; the column `chosen` marks the chosen epoch."""
    judged: pd.DataFrame
    """Like `validators`, on the other half."""
    best_by: set[str]
    """Validators that the evaluations name for the comparison of methods."""
    data: set[str]
    """Kinds of images used in the trainings: mock, archive or unknown."""
    split: set[str]
    """Rules by which the rows were split into training, validation and test."""

    @property
    def names(self) -> dict[str, str]:
        """Values that identify the method in a table: filters, method, source and target."""
        return _names(self.filters, self.method, self.config)

    @property
    def label_free(self) -> bool:
        """Whether the method was trained and tuned without target labels."""
        return not self.method.is_oracle

    @property
    def one_test(self) -> bool:
        """Whether source and target are tested on the same galaxies, so that they can be compared."""
        return not any(training.trained.split.independent_domains for training in self.trainings)

    @property
    def title(self) -> str:
        """Short name, unique within a filter set and direction."""
        return self.method.title


def write_summary() -> None:
    """Pool the seeds of every method and write outputs/summary/; raises UserError if a cell's result is missing."""
    study = read_study()
    pairs = [(filters, method) for filters in study.filters for method in study.methods]
    methods = list(forked([partial(_gather, study, *pair) for pair in pairs], batches=False))
    transfer = pd.concat(
        [table for results in methods for table in results.scores], ignore_index=True
    ).assign(
        data="+".join(sorted(set().union(*(results.data for results in methods)))),
        split="+".join(sorted(set().union(*(results.split for results in methods)))),
    )
    groups: dict[tuple[str, str, str], list[_MethodResults]] = {}
    for results in methods:
        names = results.names
        groups.setdefault((names["filters"], names["source"], names["target"]), []).append(results)
    tables_of = (_compared, partial(_trainings, study.seeds), _validators)
    jobs = [partial(table_of, group) for table_of in tables_of for group in groups.values()]
    made, count = list(forked(jobs, batches=False)), len(groups)
    compared, of_trainings, validators = (made[start : start + count] for start in range(0, len(made), count))
    comparison, trainings = _corrected(compared), pd.concat(of_trainings, ignore_index=True)
    with atomic_directory(root() / SUMMARY) as folder:
        for name, table in {
            "transfer": transfer,
            "comparison": comparison,
            "trainings": trainings,
            "validators": pd.concat(validators, ignore_index=True),
        }.items():
            table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
        best = [_best(group).model_dump(mode="json") for group in groups.values()]
        (folder / BEST).write_text(json.dumps(best, indent=2) + "\n")
    finished = dict(
        zip(study.cells(), (one for results in methods for one in results.trainings), strict=True)
    )
    columns = (trainings[name] for name in ("training", "gain"))
    gains = {str(training): float(gain) for training, gain in zip(*columns, strict=True)}
    at_a_glance.write_metrics(finished, gains)
    at_a_glance.write_plots(finished, transfer)


def _gather(study: Study, filters: str, method: Method) -> _MethodResults:
    """Read the trainings of a method and score their pooled seeds."""
    cells = [cell for cell in study.cells() if (cell.filters, cell.method) == (filters, method)]
    trainings = [FinishedTraining.read(root() / cell.folder) for cell in cells]
    for training in trainings:  # read here, in the process that gathers this method
        training.load()
    seeds = [cell.seed for cell in cells]
    predictions = {
        choice: _stacked([training.test_predictions(choice) for training in trainings], seeds)
        for choice in PREDICTIONS
    }
    # The evaluations score all test rows in addition where that can be compared with published scores.
    all_rows = all("all_rows" in training.results["target"] for training in trainings)
    names = _names(filters, method, trainings[0].config)
    return _MethodResults(
        filters,
        method,
        trainings[0].config,
        trainings,
        predictions["label_free"],
        scores=[
            evaluation.table(evaluation.evaluate(table, all_rows=all_rows)).assign(choice=choice, **names)
            for choice, table in predictions.items()
        ],
        validators=_stacked([training.validators for training in trainings], seeds),
        judged=_stacked([training.judged for training in trainings], seeds),
        best_by={training.selection.best_by for training in trainings},
        data={training.trained.provenance.kind for training in trainings},
        split={training.trained.split.rule for training in trainings},
    )


def _names(filters: str, method: Method, config: Config) -> dict[str, str]:
    domains = {"source": str(config.transfer.source), "target": str(config.transfer.target)}
    return {"filters": filters, **method.model_dump(), **domains}


def _stacked(tables: list[pd.DataFrame], seeds: list[int]) -> pd.DataFrame:
    """Return the concatenated tables of the seeds, with a column `seed`."""
    parts = [table.assign(seed=seed) for table, seed in zip(tables, seeds, strict=True)]
    return pd.concat(parts, ignore_index=True)


def _compared(group: list[_MethodResults]) -> pd.DataFrame:
    """Compare all methods of a filter set and direction with source-only; no rows if that was not trained.

    Oracles come last. The one that was trained on target labels is the reference for what can be recovered.
    """
    baseline = next((results for results in group if results.method.is_baseline), None)
    ordered = sorted(group, key=lambda results: not results.label_free)
    predictions = {results.title: results.predictions for results in ordered}
    if baseline is None or len(predictions) < 2:
        return pd.DataFrame()
    title = next((one.title for one in ordered if one.title == one.method.transfer), None)
    reference = None if title is None else predictions[title]
    table = evaluation.compare(predictions, baseline.title).drop(columns="p_holm").set_index("method")
    back = (
        evaluation.won_back(predictions, baseline.title, reference)
        if baseline.one_test
        else evaluation.no_drop(table.index)
    )
    shares = back.shares.set_index("method")
    if title is not None:  # the reference's share of its own gain is 1, and says nothing
        shares.loc[title, [str(name) for name in shares if "recovered" in str(name)]] = math.nan
    table = table.join(shares)
    for name, drop in (("drop", back.drop), ("auc_drop", back.auc_drop)):
        table[name], table[f"{name}_low"], table[f"{name}_high"] = drop["value"], drop["low"], drop["high"]
    table["drop_p"] = back.p
    names = {results.title: results.names for results in group}
    return pd.DataFrame([{**names[str(method)], **row.to_dict()} for method, row in table.iterrows()])


def _corrected(settings: list[pd.DataFrame]) -> pd.DataFrame:
    """Join the comparisons of all settings and correct their p-values for everything that the study claims.

    These are the loss of source-only in every setting and the difference of every method from it, oracles included.
    """
    settings = [table for table in settings if len(table)]
    if not settings:
        return pd.DataFrame()
    claims = [p for table in settings for p in (table["drop_p"].iloc[0], *table["p"])]
    corrected = holm(claims)
    for table in settings:
        (first, *others), corrected = corrected[: len(table) + 1], corrected[len(table) + 1 :]
        table.insert(table.columns.get_loc("p") + 1, "p_holm", others)  # type: ignore[operator, arg-type]
        table["drop_p_holm"] = first
    return pd.concat(settings, ignore_index=True)


def _trainings(seeds: Sequence[int], group: list[_MethodResults]) -> pd.DataFrame:
    """List all trainings of a filter set and direction, with their gains over source-only with the same seed."""
    baseline = next((results for results in group if results.method.is_baseline), None)
    # What a comparison uses, selected here once and not for every seed.
    predictions = {results.title: results.predictions.query("role == 'target'") for results in group}
    tested = {title: evaluation.unique_renderings(table) for title, table in predictions.items()}
    rows = []
    for index, seed in enumerate(seeds):
        tables = {title: table[table["seed"] == seed] for title, table in tested.items()}
        gains: dict[str, dict[Hashable, Any]] = {}
        if baseline is not None and len(tables) > 1:
            compared = evaluation.compare(tables, baseline.title)
            gains = {row["method"]: row for row in compared.to_dict("records")}
        for results in group:
            training, gain = results.trainings[index], gains.get(results.title, {})
            file = training.folder / EVALUATED / PREDICTIONS["label_free"]
            rows.append(
                {
                    "filters": results.filters,
                    **results.method.model_dump(),
                    "seed": seed,
                    "training": training.record.training,
                    "predictions": predictions_digest(file.read_bytes()),
                    "baseline": "" if baseline is None else baseline.trainings[index].record.training,
                    "gain": gain.get("difference", math.nan),
                    "gain_low": gain.get("low", math.nan),
                    "gain_high": gain.get("high", math.nan),
                }
            )
    return pd.DataFrame(rows)


def _validators(group: list[_MethodResults]) -> pd.DataFrame:
    """Compare how every validator ranks networks with the oracle's ranking, on validation images.

    Column `among`: "epochs" ranks the epochs of one training, on the half of the galaxies that epochs are chosen on,
    mean over trainings; "networks" ranks all epochs of all label-free methods trained with one seed, on the half that
    judges them, mean over seeds. A validator that no evaluation has scores of, because an earlier version made them,
    is left out. `regret` is how much lower the validator's choice
    scores than the oracle's own choice, by the oracle's score.
    """
    label_free = [results for results in group if results.label_free]
    if not label_free:
        return pd.DataFrame()
    choosing, judging = (
        pd.concat([getattr(results, name).assign(method=results.title) for results in label_free])
        for name in ("validators", "judged")
    )
    filters, source, target = (group[0].names[name] for name in ("filters", "source", "target"))
    rows = []
    for among, table, keys in (("epochs", choosing, ["method", "seed"]), ("networks", judging, ["seed"])):
        parts = [part for _, part in table.groupby(keys, sort=False)]
        for validator in (name for name in evaluation.VALIDATORS if name in table):
            agreements = [evaluation.agreement(part[validator], part[ORACLE]) for part in parts]
            regrets = [evaluation.regret(part[validator], part[ORACLE]) for part in parts]
            known = [value for value in agreements if math.isfinite(value)]
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


def _best(group: list[_MethodResults]) -> BestMethod:
    """Return the method with the highest mean score by the validator that conf/selection/ named beforehand."""
    named = set().union(*(results.best_by for results in group))
    if len(named) > 1:
        raise UserError(
            f"outputs/cells: the evaluations name different validators to compare methods by "
            f"({', '.join(sorted(named))}), expected the same one.\n"
            "Run `mergershift repro`, which evaluates all cells by the study's selection."
        )
    (validator,) = named
    scores = {
        results.title: float(results.judged.loc[results.judged["chosen"], validator].mean(skipna=False))
        for results in group
        if results.label_free and not results.method.is_control
    }
    names = {name: group[0].names[name] for name in ("filters", "source", "target")}
    # If a training of a method diverged, the method's score is NaN, which JSON cannot represent.
    finite = {title: score for title, score in scores.items() if math.isfinite(score)}
    best = max(finite, key=lambda title: finite[title], default=None)
    method = next(
        (results.method for results in group if results.title == best),
        None,
    )
    return BestMethod(**names, validator=validator, best=best, method=method, scores=finite)
