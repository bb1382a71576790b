"""The steps of the corridor on disk: each reads what the one before wrote and leaves a whole folder or none.

What only one step needs is imported in it, so that preparing stays light and quick to start.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mergershift.cells.state import Identity, cell_state
from mergershift.config import Config, SplitConfig
from mergershift.config.study import PLAIN
from mergershift.core import checkout
from mergershift.core.errors import UserError
from mergershift.core.files import CONFIG, RUN, writing
from mergershift.images import Prepared, origin, prepare

GIT_DIFF = "git.diff"
DATA = "data"
# What a training computes with; an interrupted one is not gone on with by other code.
TRAINING_CODE = ("adaptation", "classifier", "evaluation", "images", "networks", "training")


def prepared_folder(config: Config) -> Path:
    """Where the prepared images of this filter set and split lie."""
    name = f"{config.filters.name}-{config.choices['split']}"
    return checkout.root() / "outputs" / "prepared" / name


def prepare_step(config: Config) -> str:
    """Prepare the configured filter set; returns a line to print."""
    root = checkout.root()
    output = prepared_folder(config)
    started = time.monotonic()
    bar = Progress(
        TextColumn("preparing"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} images"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task("", total=None)
        prepare(
            root / DATA,
            config.filters.name,
            config.split,
            output,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    rows = Prepared(output).facts["rows"]
    return f"{output.relative_to(root)}: {rows} rows in two domains, {time.monotonic() - started:.0f} s"


def prepared_images(config: Config) -> Prepared:
    """The images that `prepare_step` left; raises UserError where they are of another archive or split."""
    prepared = Prepared(prepared_folder(config))
    folder = checkout.root() / DATA
    if folder.is_dir() and prepared.facts["provenance"] != origin(folder):
        raise UserError(
            f"{prepared.folder}: prepared from another archive than the one in {DATA}/ now.\n"
            "Run `mergershift prepare` again, or the pipeline with `mergershift repro`."
        )
    if prepared.facts["split"] != config.split.model_dump(mode="json"):
        raise UserError(
            f"{prepared.folder}: prepared with another split ({prepared.facts['split']}).\n"
            "Run `mergershift prepare` with the overrides of this training first."
        )
    return prepared


def default_output(config: Config) -> Path:
    """Folder of a training outside the pipeline: readable, and one for each configuration."""
    names = [config.choices[group] for group in ("filters", "transfer", "adaptation", "network")]
    if config.choices["experiment"] != PLAIN:
        names.append(config.choices["experiment"])
    folder = "-".join([*names, f"seed{config.seed}", config.digest()[:8]])
    return checkout.root() / "outputs" / "runs" / folder


class _Provenance(BaseModel):
    kind: str


class _Recorded(BaseModel):
    """What the later steps need of run.json."""

    training: str
    experiment: str
    data_hash: str
    provenance: _Provenance
    split: SplitConfig
    config_hash: str
    git_commit: str | None
    git_dirty: bool
    best_epoch: int


def read_run(cell: Path) -> dict[str, Any]:
    """The record of the finished training in `cell`; raises UserError where there is none or it is torn or foreign."""
    path = cell / "train" / RUN
    try:
        record: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: missing, so no finished training.\nTrain first: `mergershift train --output {cell}`, "
            "or run the pipeline with `mergershift repro`."
        ) from error
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}).\nTrain again.") from error
    try:
        _Recorded.model_validate(record)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"]) or "the whole"
        raise UserError(
            f"{path}: not of a training by `mergershift train` ({where}: {problem['msg']}).\n"
            f"Move it elsewhere and train: `mergershift train --output {cell}`."
        ) from error
    return record


def cell_name(cell: Path) -> str:
    """Name of a cell by its folder, for instance cells/two/pristine_to_noisy/mmd/default/seed0."""
    root = checkout.root()
    if root not in cell.parents:
        raise UserError(f"{cell}: outside the project {root}.\nName a folder inside it.")
    outputs = root / "outputs"
    return cell.relative_to(outputs if outputs in cell.parents else root).as_posix()


def code_hash(*further: str) -> str:
    """Hash of all code that a training computes with, and of `further` files of the package."""
    package = Path(__file__).parents[1]
    files = sorted(path for folder in TRAINING_CODE for path in (package / folder).rglob("*.py"))
    files += [package / name for name in further]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a user id that has no name
        return str(os.getuid())


def train_step(config: Config, output: Path) -> str:
    """Train into `output`/train, as one MLflow run; returns a line to print.

    Interrupted at any moment, the same call goes on where it was.
    """
    from mergershift import tracking
    from mergershift.cells import records
    from mergershift.evaluation.figures import learning_curves
    from mergershift.training.fit import train

    root = checkout.root()
    output = output.resolve()
    cell = cell_name(output)
    prepared = prepared_images(config)
    address = tracking.tracking_address(config.tracking.uri)
    code = tracking.lineage(root)
    started = time.monotonic()

    def supersede(identity: Identity) -> None:
        tracking.abandon(address, identity.training, config.tracking.experiment)

    with cell_state(cell, config.digest(), prepared.facts["data_hash"], code_hash(), supersede) as state:
        tags = {
            "cell": cell,
            "data_hash": prepared.facts["data_hash"],
            "data_kind": prepared.facts["provenance"]["kind"],
            "config_hash": config.digest(),
            "split": config.split.kind,
            "disjoint_domains": str(config.split.disjoint_domains).lower(),
            "git_commit": code.commit,
            "git_dirty": str(code.dirty).lower(),
            "mlflow.source.git.commit": code.commit,
            "mlflow.source.name": "mergershift train",
            "mlflow.user": _user(),
            **{f"choice.{group}": name for group, name in config.choices.items()},
        }
        run = tracking.open_run(
            address,
            tracking.Opening(
                training=state.identity.training,
                experiment=config.tracking.experiment,
                name=cell,
                config=config.dump(),
                tags=tags,
                started=state.began,
            ),
        )
        if code.diff:
            run.log_text(code.diff, GIT_DIFF)

        def on_epoch(epochs: list[dict[str, float]], _classifier: object) -> None:
            state.tell_progress(len(epochs), config.training.epochs)
            run.log_epochs(epochs)

        result = train(config, prepared, state.checkpoints, on_epoch)
        metrics = {
            "best_epoch": float(result.best_epoch),
            f"best_{config.training.keep_best}": result.best_score,
        }
        record = run.record(metrics) | {
            "cell": cell,
            "data_hash": prepared.facts["data_hash"],
            "provenance": prepared.facts["provenance"],
            "split": config.split.model_dump(mode="json"),
            "config_hash": config.digest(),
            "git_commit": code.commit,
            "git_dirty": code.dirty,
            "best_epoch": result.best_epoch,
            "epochs": len(result.epochs),
            config.training.keep_best: result.best_score,
        }
        with writing(output / "train") as folder:
            result.write(folder)
            config.write(folder / CONFIG)
            (folder / RUN).write_text(json.dumps(record, indent=2) + "\n")
            artifacts = folder / records.ARTIFACTS
            (artifacts / records.FIGURES).mkdir(parents=True)
            curves = learning_curves(result.table, result.best_epoch)
            curves.savefig(artifacts / records.FIGURES / "learning_curves.png")
            shutil.copyfile(prepared.folder / "statistics.json", artifacts / "statistics.json")
            if code.diff:
                (artifacts / GIT_DIFF).write_text(code.diff)
        run.log_results(metrics)
        run.log_files(records.training_files(output / "train"))
        run.finish(result.epochs)
    # The state stays until the evaluation: a kill before DVC has stored this result costs seconds, not a training.
    seconds = time.monotonic() - started
    return (
        f"{cell}: {len(result.epochs)} epochs in {seconds:.0f} s, kept epoch {result.best_epoch} "
        f"with {config.training.keep_best} {result.best_score:.3f}"
    )
