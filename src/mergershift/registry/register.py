"""The step that hands a training to the registry: which one, and where it comes from."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import yaml
from rich.console import Console

from mergershift import tracking
from mergershift.cells import ledger
from mergershift.config import Config, compose
from mergershift.config.study import read_study
from mergershift.core.checkout import root
from mergershift.core.errors import UserError
from mergershift.core.files import CONFIG, SELECTION, VALIDATORS
from mergershift.registry.candidate import Training
from mergershift.report.lineage import references
from mergershift.stages.summary import FOLDER
from mergershift.stages.train import cell_name, prepared_images, read_run
from mergershift.tracking.exported_models import save_program
from mergershift.tracking.model_registry import FINGERPRINT, Registry

CANDIDATES = "_candidates"
ORACLE = "oracle_"


def register_step(overrides: tuple[str, ...], cell: Path | None) -> str:
    """Register a training as a candidate; returns a line to print.

    Without `cell` it is the best one of the study for the filters and domains that `overrides` say: of the method
    that outputs/summary/best.json names, the seed whose chosen epoch is best by the same validator. No target label
    takes part. The same model again is the same version.
    """
    config = compose(overrides)
    name = config.tracking.model
    place, choice = (cell.resolve(), "nothing: named by hand") if cell else _best_cell(config)
    training = _read(place)
    if training.config.is_oracle and not name.startswith(ORACLE):
        raise UserError(
            f"{training.name}: trained or tuned on the target's labels.\n"
            f"Register it under a name that says so: tracking.model={ORACLE}{name}."
        )
    address = tracking.tracking_address(config.tracking.uri)
    registry = Registry(address)
    record = training.record
    run_id = registry.run_of(record["training"], record["experiment"])
    if run_id is None:
        raise UserError(
            f"{training.name}: {tracking.public(address)} has no run of this training, or somebody deleted it.\n"
            "Publish it with `mergershift sync` (or restore it there), then register it again."
        )
    candidates = f"{name}{CANDIDATES}"
    known = registry.same(candidates, training.fingerprint)
    if known is not None:
        return f"{training.name}: the same model is {known.uri} already"
    lineage = _lineage(training, run_id)
    # A spinner on a terminal: thousands of images take a while to pass the network.
    doing = Console(stderr=True).status(f"{training.name}: measuring features, exporting")
    with doing, TemporaryDirectory() as temporary:
        staged, folder = Path(temporary) / "files", Path(temporary) / "model"
        staged.mkdir()
        files = training.write(
            staged,
            choice=choice,
            lineage=lineage,
            openings=ledger.count(record["data_hash"], record["split"]),
            references=references(),
        )
        save_program(training.program, training.example, folder, files)
        tags = {FINGERPRINT: training.fingerprint, **lineage}
        version, new = registry.publish(folder, candidates, run_id, tags, training.summary)
    if not new:
        return f"{training.name}: the same model is {version.uri} already"
    return (
        f"{training.name}: registered as {version.uri}, seed {training.facts.seed}, epoch {training.facts.epoch}.\n"
        f"`mergershift promote {version.number}` lets it challenge the champion of '{name}'."
    )


def _read(cell: Path) -> Training:
    name, record = cell_name(cell), read_run(cell)
    path = cell / "evaluation" / SELECTION
    try:
        selection: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: missing, so not evaluated.\nEvaluate it first: `mergershift evaluate {cell}`."
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}).\nEvaluate the training again.") from error
    if not isinstance(selection, dict) or selection.get("training") != record["training"]:
        raise UserError(
            f"{path}: of another training than the one in {cell / 'train'}.\n"
            f"Evaluate it again: `mergershift evaluate {cell}`."
        )
    config = Config.read(cell / "train" / CONFIG)
    prepared = prepared_images(config)
    if record["data_hash"] != prepared.facts["data_hash"]:
        raise UserError(
            f"{cell / 'train'}: trained on other images than those in {prepared.folder}.\n"
            "Train again, or run the pipeline with `mergershift repro`."
        )
    return Training(cell, name, config, prepared, record, selection)


def _best_cell(config: Config) -> tuple[Path, str]:
    """The study's best training for these filters and domains, and in words what it was chosen from."""
    path = root() / FOLDER / "best.json"
    if not path.is_file():
        raise UserError(f"{path}: missing.\nRun `mergershift repro` first, or name a training with --cell.")
    wanted = {
        "filters": config.filters.name,
        "source": config.transfer.source,
        "target": config.transfer.target,
    }
    known = json.loads(path.read_text())
    entry = next((each for each in known if wanted.items() <= each.items()), None)
    if entry is None or entry["method"] is None:
        there = "; ".join(f"filters={each['filters']} {each['source']} to {each['target']}" for each in known)
        raise UserError(
            f"{path}: no best method for filters={wanted['filters']}, {wanted['source']} to {wanted['target']}.\n"
            f"It has {there}. Say which with filters=... and transfer=..."
        )
    validator, scores = entry["validator"], {}
    for cell in read_study().cells():
        if cell.filters == wanted["filters"] and cell.method.model_dump() == entry["method"]:
            scores[root() / cell.folder] = _score(root() / cell.folder, validator)
    if not scores:
        raise UserError(f"{path}: its best method is not in the study any more.\nRun `mergershift repro`.")
    best = max(scores, key=lambda folder: scores[folder])
    methods = len(entry["scores"])
    return best, (
        f"{methods} method{'s' * (methods > 1)} by the mean of {validator} over seeds, then {len(scores)} "
        f"seed{'s' * (len(scores) > 1)} by the same validator, on validation images"
    )


def _score(cell: Path, validator: str) -> float:
    """What the validator makes of the cell's chosen epoch."""
    folder = cell / "evaluation"
    try:
        epoch = json.loads((folder / SELECTION).read_text())["epoch"]
        table = pd.read_csv(folder / VALIDATORS).set_index("epoch")
        return float(table.loc[epoch, validator])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder}: no evaluation that says {validator} ({type(error).__name__}).\nRun `mergershift repro`."
        ) from error


def _lineage(training: Training, run_id: str) -> dict[str, str]:
    """Where a model comes from, as tags of its version and rows of its card."""
    record = training.record
    return {
        "run_id": run_id,
        "training": record["training"],
        "dvc_stage": _stage(training.cell),
        "data_kind": record["provenance"]["kind"],
        "data_hash": record["data_hash"],
        "split": json.dumps(record["split"], sort_keys=True),
        "git_commit": record["git_commit"] or "none",
        "git_dirty": str(record["git_dirty"]).lower(),
        "config_hash": record["config_hash"],
    }


def _stage(cell: Path) -> str:
    """Name of the pipeline's stage whose output the cell's evaluation is; none outside the pipeline."""
    lock = root() / "dvc.lock"
    if not lock.is_file():
        return "none"
    output = (cell / "evaluation").relative_to(root()).as_posix()
    stages = (yaml.safe_load(lock.read_text()) or {}).get("stages", {})
    found = (
        name for name, stage in stages.items() if output in [out["path"] for out in stage.get("outs", [])]
    )
    return next(found, "none")
