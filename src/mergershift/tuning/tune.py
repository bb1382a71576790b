"""The tuning step: start workers on one study, wait for them, and turn the best trial into an experiment."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import optuna
import yaml
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from mergershift import tracking
from mergershift.archive import Origin
from mergershift.cells.code_version import code_hash, read_code_version, source_tags
from mergershift.cells.layout import ARTIFACTS, CONFIG, FIGURES, RUN
from mergershift.cells.records import VARIED, RunSpec, data_tags
from mergershift.cells.run_content import run_files
from mergershift.classifier.requirements import require_trainable
from mergershift.config import compose, compose_selection, varied
from mergershift.config.study import PLAIN
from mergershift.core.checkout import root
from mergershift.core.errors import UserError, nearest
from mergershift.core.files import atomic_directory
from mergershift.core.processes import Hangup
from mergershift.core.words import counted
from mergershift.images import Prepared
from mergershift.images.locate import prepared_images
from mergershift.tracking.missed import publish_missed
from mergershift.tuning import outcome
from mergershift.tuning.clusters import followed, launcher_for
from mergershift.tuning.endings import is_finished, original_number
from mergershift.tuning.launcher import SEARCH, run_workers
from mergershift.tuning.objective import study_folder, training_id, trial_folder
from mergershift.tuning.space import Values, current, resolved
from mergershift.tuning.storage import STARTED, TRAINING, Search, address, answering, open_study, printable
from mergershift.tuning.worker import work


def read_search(overrides: Sequence[str]) -> tuple[Search, Prepared]:
    """Read the search that `overrides` describe, and the prepared images that it runs on.

    A trial uses one thread unless `overrides` choose another trainer.

    Raises UserError if the method has no ranges in conf/tuning/, if `overrides` choose an experiment, if a searched
    key does not exist in the configuration, and if the images have not been prepared.
    """
    chosen = ["trainer=cpu_one_thread", *overrides]
    method = compose([override for override in chosen if not override.startswith("tuning")]).choices[
        "adaptation"
    ]
    if not any(override.startswith("tuning=") for override in overrides):
        known = sorted(path.stem for path in (root() / "conf" / "tuning").glob("[!_]*.yaml"))
        if method not in known:
            raise UserError(
                f"conf/tuning/{method}.yaml does not exist, so adaptation={method} has no ranges to search.\n"
                f"Write it (compare {nearest(method, known)}), or choose other ranges with tuning=NAME."
            )
        chosen.append(f"tuning={method}")
    config = compose(chosen)
    selection = compose_selection([override for override in overrides if override.startswith("selection")])
    assert config.tuning is not None
    if config.choices["experiment"] != PLAIN:
        raise UserError(
            f"experiment={config.choices['experiment']}: a search starts from experiment={PLAIN}.\n"
            "Leave it out, and pass the experiment's settings as overrides."
        )
    prepared = prepared_images(config)
    require_trainable(config, prepared)
    plain = config.model_copy(update={"tuning": None})
    code = code_hash("tuning/objective.py")
    data_hash = prepared.facts["data_hash"]
    tags = {
        **data_tags(data_hash, Origin.model_validate(prepared.facts["provenance"])),
        **source_tags(read_code_version(root()), "tune"),
    }
    search = Search(plain, config.tuning, data_hash, code, selection.best_by, tags)
    current(plain, search.tuning.ranges)  # raises UserError for a key that the configuration lacks
    return search, prepared


def worker_step(first: int) -> None:
    """Work on the study that the environment names until it is finished; `tune_step` runs this in other processes.

    Args:
        first: number of the first trial whose failure may end the search.
    """
    search, prepared = read_search(json.loads(os.environ[SEARCH]))
    with answering(search):
        work(search, prepared, first)


def tune_step(overrides: Sequence[str], workers: int, on: str | None = None, *, attach: bool = False) -> str:
    """Run the missing trials of the study in `workers` processes and return a summary to print.

    Called again after an interruption, it resumes with the trials that are still missing. Every machine that runs
    the same command with the same storage joins the same study.

    Args:
        overrides: what is searched, as overrides of the configuration.
        workers: number of workers.
        on: name of the cluster in conf/launcher/ that runs the workers; by default, this machine does.
        attach: whether only the workers of an earlier command on the cluster are followed.

    Raises UserError if the database does not answer or is MLflow's, if the cluster cannot run workers or is followed
    already, if a worker or several trials in a row fail, and if no trial is completed.
    """
    search, _ = read_search(overrides)
    launcher = launcher_for(search, on) if on is not None else None
    with answering(search), ExitStack() as stack:
        study = open_study(search)
        cluster = None
        if on is not None and launcher is not None:
            cluster = stack.enter_context(followed(study, on, launcher, attach=attach))
        _begin_with_default(study, search)
        run = _parent_run(search, study)
        Console(stderr=True).print(
            f"[bold]{search.name}[/]: {_budget(search, workers)}; in {printable(address(search.tuning))}",
            highlight=False,
            soft_wrap=True,
        )
        with run.stopped_by_errors():
            if run_workers(search, study, list(overrides), workers, cluster):
                return _conclude(search, study, run)
    raise Hangup


def _conclude(search: Search, study: optuna.Study, run: tracking.Run) -> str:
    """Write the results of a study whose workers have ended, and return a summary to print."""
    # All machines that share the folder get here after the last trial.
    with FileLock(study_folder(study) / "outcome.lock"):
        _abandon_lost_trials(search, study)
        best = outcome.winner(study, search)
        facts = outcome.summary(search, study, best)
        path = _write_results(search, study, run, best, facts)
    publish_missed()
    values = resolved(best.params, search.tuning.ranges)
    return "\n".join(
        [
            f"{search.name}: {counted(facts['completed'], 'trial')} completed, {facts['pruned']} pruned, "
            f"{facts['failed']} failed; the best is trial {best.number}, "
            + ", ".join(f"{name} {value:.4f}" for name, value in facts["best"]["values"].items()),
            *(f"  {key}: {_short(value)}" for key, value in values.items()),
            f"Saved in {path.relative_to(root())}; train with `mergershift train experiment={search.experiment}`",
        ]
    )


def _write_results(
    search: Search, study: optuna.Study, run: tracking.Run, best: FrozenTrial, facts: dict[str, Any]
) -> Path:
    """Write the results of the study to outputs/ and to its run; returns the path of the experiment file."""
    path = outcome.write_experiment(search, study, best)
    metrics = {f"best_{name}": value for name, value in facts["best"]["values"].items()}
    metrics |= {name: facts[name] for name in ("completed", "pruned", "failed")}
    # The record is kept next to those of the trials: DVC deletes a stage's outputs before it runs the stage again.
    record = study_folder(study) / "record"
    with atomic_directory(root() / "outputs" / "tuning" / search.experiment) as folder:
        outcome.write_outcome(folder, facts, outcome.table(search, study), outcome.figures(search, study))
        with atomic_directory(record) as partial:
            run.record(metrics).write(partial / RUN)
            (partial / CONFIG).write_text(yaml.safe_dump(_run_config(search), sort_keys=False))
            for file in [*folder.iterdir(), path]:
                artifact = partial / ARTIFACTS / (FIGURES if file.suffix == ".png" else "") / file.name
                artifact.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, artifact)
    run.log_results(metrics)
    run.log_files(run_files(record))
    run.finish([])
    return path


def _abandon_lost_trials(search: Search, study: optuna.Study) -> None:
    """Close the runs of failed trials that no worker will retry, and delete their checkpoints."""
    trials = study.get_trials(deepcopy=False)
    finished = {original_number(trial) for trial in trials if is_finished(trial)}
    tracked = search.config.tracking
    for number in {original_number(trial) for trial in trials if trial.state == TrialState.FAIL} - finished:
        shutil.rmtree(trial_folder(study, number), ignore_errors=True)
        tracking.abandon(
            tracking.tracking_address(tracked.uri), training_id(study, number), tracked.experiment
        )


def _budget(search: Search, workers: int) -> str:
    trials, epochs = counted(search.tuning.trials, "trial"), counted(search.config.training.epochs, "epoch")
    pruned = ", fewer for those that lag behind" * search.tuning.pruning
    return f"{trials} of {epochs}{pruned}, {workers} at a time"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _begin_with_default(study: optuna.Study, search: Search) -> None:
    """Make the current configuration the first trial if all its values are within the ranges."""
    values: Values | None = current(search.config, search.tuning.ranges)
    if values is not None:
        study.enqueue_trial(values, skip_if_exists=True)


def _run_config(search: Search) -> dict[str, Any]:
    """Configuration that the study's run records, without the storage address: it may contain a password."""
    return search.config.dump() | {"tuning": search.tuning.model_dump(mode="json", exclude={"storage"})}


def _parent_run(search: Search, study: optuna.Study) -> tracking.Run:
    config = search.config
    spec = RunSpec(
        training=study.user_attrs[TRAINING],
        experiment=config.tracking.experiment,
        name=search.name,
        config=_run_config(search),
        tags={
            **search.tags,
            "study": search.name,
            "config_hash": config.digest(),
            VARIED: json.dumps(varied(config)),
        },
        started=study.user_attrs[STARTED],
    )
    return tracking.open_run(tracking.tracking_address(config.tracking.uri), spec)
