"""The step that registers a training: which one it is, and its lineage."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from mergershift import tracking
from mergershift.cells import ledger
from mergershift.cells.finished import FinishedTraining
from mergershift.cells.layout import BEST, EVALUATED, SUMMARY
from mergershift.cells.records import STARTED_FROM
from mergershift.cells.summary_files import read_best
from mergershift.config import Config, compose
from mergershift.config.schema import ORACLE_PREFIX, sees_target_labels
from mergershift.config.study import read_study
from mergershift.core.checkout import root
from mergershift.core.citation import references
from mergershift.core.errors import UserError
from mergershift.core.reading import LARGEST
from mergershift.core.yaml_files import read_yaml
from mergershift.images.locate import prepared_images
from mergershift.registry.candidate import Candidate
from mergershift.tracking.exported_models import save_program
from mergershift.tracking.model_registry import FINGERPRINT, Registry

CANDIDATES = "_candidates"


def register_step(overrides: tuple[str, ...], cell: Path | None) -> str:
    """Register a training as a candidate; returns up to two lines to print.

    Without `cell` it is the study's best training for the filters and domains in `overrides`: among the seeds of the
    method that outputs/summary/best.json names, the one whose chosen epoch has the highest score by the same
    validator. No target label is used. Registering the same model again returns the existing version.
    """
    config = compose(overrides)
    name = config.tracking.model
    folder, choice = (cell.resolve(), "no others: named by hand") if cell else _best_cell(config)
    candidate = _read(folder)
    training = candidate.training
    if training.config.is_oracle and not sees_target_labels(name):
        raise UserError(
            f"{training.name}: trained or tuned with labels of the target.\n"
            f"Register it under a name that marks it as an oracle: tracking.model={ORACLE_PREFIX}{name}."
        )
    address = tracking.tracking_address(config.tracking.uri)
    registry = Registry(address)
    record = training.record
    run_id = registry.run_of(record.training, record.experiment)
    if run_id is None:
        raise UserError(
            f"{training.name}: {tracking.public(address)} has no run of this training, or the run was deleted.\n"
            "Publish it with `mergershift sync` (or restore it there), then register the training again."
        )
    registered = f"{name}{CANDIDATES}"
    known = registry.same(registered, candidate.fingerprint)
    if known is not None:
        return f"{training.name}: this model is already registered as {known.uri}"
    lineage = _lineage(training, run_id)
    # Computing the features of thousands of images takes a while, so a terminal shows a spinner.
    spinner = Console(stderr=True).status(f"{training.name}: computing features and exporting the model")
    with spinner, TemporaryDirectory() as temporary:
        staged, model = Path(temporary) / "files", Path(temporary) / "model"
        staged.mkdir()
        files = candidate.write(
            staged,
            choice=choice,
            lineage=lineage,
            evaluations=ledger.count(
                training.trained.data_hash, training.trained.split.model_dump(mode="json")
            ),
            references=references(),
        )
        save_program(candidate.program, candidate.example, model, files)
        tags = {FINGERPRINT: candidate.fingerprint, **lineage}
        version, new = registry.publish(model, registered, run_id, tags, candidate.summary)
    if not new:
        return f"{training.name}: this model is already registered as {version.uri}"
    return (
        f"{training.name}: registered as {version.uri}, seed {candidate.facts.seed}, epoch {candidate.facts.epoch}.\n"
        f"Let it challenge the champion of '{name}' with `mergershift promote {version.number}`."
    )


def _read(cell: Path) -> Candidate:
    training = FinishedTraining.read(cell)
    prepared = prepared_images(training.config)
    training.require_data(prepared.facts["data_hash"], prepared.folder)
    return Candidate(training, prepared)


def _best_cell(config: Config) -> tuple[Path, str]:
    """Find the study's best training for these filters and domains, and describe what it was chosen from."""
    path = root() / SUMMARY / BEST
    wanted = config.filters.name, str(config.transfer.source), str(config.transfer.target)
    remedy = "Run `mergershift repro` first, or name a training with --cell."
    settings = {(entry.filters, entry.source, entry.target): entry for entry in read_best(remedy)}
    entry = settings.get(wanted)
    if entry is None or entry.method is None:
        available = "; ".join(
            f"filters={filters} {source} to {target}" for filters, source, target in settings
        )
        raise UserError(
            f"{path}: no best method for filters={wanted[0]}, {wanted[1]} to {wanted[2]}.\n"
            f"It contains {available or 'none'}. Choose one of these with filters=... and transfer=..."
        )
    validator, scores = entry.validator, {}
    for cell in read_study().cells():
        if cell.filters == entry.filters and cell.method == entry.method:
            scores[root() / cell.folder] = FinishedTraining.read(root() / cell.folder).score(validator)
    if not scores:
        raise UserError(f"{path}: its best method is no longer in the study.\nRun `mergershift repro`.")
    best = max(scores, key=lambda folder: scores[folder])
    methods = len(entry.scores)
    return best, (
        f"{methods} method{'s' * (methods > 1)} by the mean of {validator} over seeds, then {len(scores)} "
        f"seed{'s' * (len(scores) > 1)} by the same validator, on validation images"
    )


def _lineage(training: FinishedTraining, run_id: str) -> dict[str, str]:
    """Collect the lineage of a model, for the tags of its version and for its card."""
    trained = training.trained
    return {
        "run_id": run_id,
        "training": training.record.training,
        "dvc_stage": _stage(training.folder),
        "data_kind": trained.provenance.kind,
        "data_hash": trained.data_hash,
        "split": json.dumps(trained.split.model_dump(mode="json"), sort_keys=True),
        "git_commit": trained.git_commit or "none",
        "git_dirty": str(trained.git_dirty).lower(),
        "config_hash": trained.config_hash,
        **{key: value for key, value in training.record.tags.items() if key in STARTED_FROM},
    }


class _LockedStage(BaseModel):
    outs: list[dict[str, Any]] = []


class _Lock(BaseModel):
    """The part of dvc.lock that names stages and their outputs."""

    stages: dict[str, _LockedStage] = {}


def _stage(cell: Path) -> str:
    """Name of the pipeline stage that evaluated the cell; "none" outside the pipeline."""
    lock = root() / "dvc.lock"
    if not lock.exists():
        return "none"
    output = (cell / EVALUATED).relative_to(root()).as_posix()
    content = read_yaml(lock, _Lock, "Restore the file, or run `mergershift repro`.", LARGEST)
    names = [
        name for name, stage in content.stages.items() if output in [out.get("path") for out in stage.outs]
    ]
    return names[-1] if names else "none"  # DVC keeps the entry of a stage under the name that it had before
