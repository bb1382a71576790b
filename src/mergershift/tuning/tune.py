"""The tuning step: starts workers on one study, waits for them and makes an experiment of the winner."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import yaml
from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console

from mergershift import tracking
from mergershift.cells.code_version import code_hash
from mergershift.cells.finished import run_files
from mergershift.cells.layout import ARTIFACTS, CONFIG, FIGURES, RUN
from mergershift.cells.records import RunSpec
from mergershift.config import compose, compose_selection
from mergershift.config.study import PLAIN
from mergershift.core.checkout import root
from mergershift.core.errors import UserError, nearest
from mergershift.core.files import atomic_directory
from mergershift.images import Prepared
from mergershift.images.locate import prepared_images
from mergershift.tuning import outcome
from mergershift.tuning.launcher import run_workers
from mergershift.tuning.objective import FINISHED, original_number, study_folder, training_id, trial_folder
from mergershift.tuning.space import Values, current, resolved
from mergershift.tuning.storage import STARTED, TRAINING, Search, address, answering, open_study, shown
from mergershift.tuning.worker import work


def read_search(overrides: Sequence[str]) -> tuple[Search, Prepared]:
    """What `overrides` ask to search, and on which images.

    Trials take one thread each unless `overrides` name another trainer.
    """
    chosen = ["trainer=cpu_one_thread", *overrides]
    method = compose([each for each in chosen if not each.startswith("tuning")]).choices["adaptation"]
    if not any(each.startswith("tuning=") for each in overrides):
        known = sorted(path.stem for path in (root() / "conf" / "tuning").glob("[!_]*.yaml"))
        if method not in known:
            raise UserError(
                f"conf/tuning/{method}.yaml: missing, so nothing says what to search for adaptation={method}.\n"
                f"Write it (like {nearest(method, known)}), or take tuning=NAME."
            )
        chosen.append(f"tuning={method}")
    config = compose(chosen)
    selection = compose_selection([each for each in overrides if each.startswith("selection")])
    assert config.tuning is not None
    if config.choices["experiment"] != PLAIN:
        raise UserError(
            f"experiment={config.choices['experiment']}: a search starts from the plain configuration.\n"
            "Leave it out, and give what it changes as overrides."
        )
    prepared = prepared_images(config)
    plain = config.model_copy(update={"tuning": None})
    code = code_hash("tuning/objective.py")
    search = Search(plain, config.tuning, prepared.facts["data_hash"], code, selection.best_by)
    current(plain, search.tuning.ranges)  # refuses a key that the configuration lacks
    return search, prepared


def worker_step(overrides: Sequence[str]) -> None:
    """Work on the study until it is finished; `tune_step` starts this in processes of its own."""
    search, prepared = read_search(overrides)
    with answering(search):
        work(search, prepared)


def tune_step(overrides: Sequence[str], workers: int) -> str:
    """Bring the study to its number of trials with `workers` processes; returns lines to print.

    Given again after any interruption, it goes on with what is missing. Every machine that gives the same
    command with the same storage joins the same study.
    """
    search, _ = read_search(overrides)
    with answering(search):
        study = open_study(search)
        _begin_with_default(study, search)
        run = _parent_run(search, study)
        Console(stderr=True).print(
            f"[bold]{search.name}[/] in {shown(address(search.tuning))}", highlight=False, soft_wrap=True
        )
        run_workers(search, study, list(overrides), workers)
        # Machines that share the folder all come here with the last trial.
        with FileLock(study_folder(study) / "outcome.lock"):
            _give_up_lost(search, study)
            best = outcome.winner(study, search)
            facts = outcome.summary(search, study, best)
            path = _leave(search, study, run, best, facts)
    values = resolved(best.params, search.tuning.ranges)
    return "\n".join(
        [
            f"{search.name}: {facts['completed']} trials completed, {facts['pruned']} pruned; the best is "
            f"{best.number}, "
            + ", ".join(f"{name} {value:.4f}" for name, value in facts["best"]["values"].items()),
            *(f"  {key}: {_short(value)}" for key, value in values.items()),
            f"{path.relative_to(root())} holds it: `mergershift train experiment={search.experiment}`",
        ]
    )


def _leave(
    search: Search, study: optuna.Study, run: tracking.Run, best: FrozenTrial, facts: dict[str, Any]
) -> Path:
    """Write what the study has come to, also to its run; returns the experiment's file."""
    path = outcome.write_experiment(search, study, best)
    figures = {f"best_{name}": value for name, value in facts["best"]["values"].items()}
    figures |= {"completed": facts["completed"], "pruned": facts["pruned"]}
    # Beside the trials' records: DVC takes the folder of outputs away before it runs the stage again.
    record = study_folder(study) / "record"
    with atomic_directory(root() / "outputs" / "tuning" / search.experiment) as folder:
        outcome.write_outcome(folder, facts, outcome.table(search, study), outcome.figures(search, study))
        with atomic_directory(record) as partial:
            run.record(figures).write(partial / RUN)
            (partial / CONFIG).write_text(yaml.safe_dump(_told(search), sort_keys=False))
            for each in [*folder.iterdir(), path]:
                artifact = partial / ARTIFACTS / (FIGURES if each.suffix == ".png" else "") / each.name
                artifact.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(each, artifact)
    run.log_results(figures)
    run.log_files(run_files(record))
    run.finish([])
    return path


def _give_up_lost(search: Search, study: optuna.Study) -> None:
    """Close the runs of trials that no worker will take up any more, and drop their checkpoints."""
    trials = study.get_trials(deepcopy=False)
    finished = {original_number(each) for each in trials if each.state in FINISHED}
    tracked = search.config.tracking
    for number in {original_number(each) for each in trials if each.state == TrialState.FAIL} - finished:
        shutil.rmtree(trial_folder(study, number), ignore_errors=True)
        tracking.abandon(
            tracking.tracking_address(tracked.uri), training_id(study, number), tracked.experiment
        )


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _begin_with_default(study: optuna.Study, search: Search) -> None:
    """Make the present configuration the first trial, where its values lie within the ranges."""
    values: Values | None = current(search.config, search.tuning.ranges)
    if values is not None:
        study.enqueue_trial(values, skip_if_exists=True)


def _told(search: Search) -> dict[str, Any]:
    """What the study's run says that it was told; an address may hold a password."""
    return search.config.dump() | {"tuning": search.tuning.model_dump(mode="json", exclude={"storage"})}


def _parent_run(search: Search, study: optuna.Study) -> tracking.Run:
    config = search.config
    spec = RunSpec(
        training=study.user_attrs[TRAINING],
        experiment=config.tracking.experiment,
        name=search.name,
        config=_told(search),
        tags={"study": search.name, "data_hash": search.data_hash, "config_hash": config.digest()},
        started=study.user_attrs[STARTED],
    )
    return tracking.open_run(tracking.tracking_address(config.tracking.uri), spec)
