"""The steps of the corridor on disk: each reads what the one before wrote and leaves a whole folder or none.

What only one step needs is imported in it, so that preparing stays light and quick to start.
"""

from __future__ import annotations

import getpass
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from mergershift import project
from mergershift.config import Config
from mergershift.errors import UserError
from mergershift.images import Prepared, prepare
from mergershift.state import cell_state

RUN, CONFIG = "run.json", "config.yaml"


@contextmanager
def writing(output: Path) -> Iterator[Path]:
    """A folder beside `output` that takes its place when the block ends without an error."""
    partial = output.with_name(output.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(output, ignore_errors=True)
    partial.rename(output)


def prepared_folder(config: Config) -> Path:
    """Where the prepared images of this filter set and split lie."""
    name = f"{config.filters.name}-{config.choices['split']}"
    return project.root() / "outputs" / "prepared" / name


def prepare_step(config: Config) -> str:
    """Prepare the configured filter set; returns a line to print."""
    root = project.root()
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
            root / config.archive.folder,
            config.filters.name,
            config.split,
            output,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    rows = Prepared(output).facts["rows"]
    return f"{output.relative_to(root)}: {rows} rows in two domains, {time.monotonic() - started:.0f} s"


def _prepared(config: Config) -> Prepared:
    prepared = Prepared(prepared_folder(config))
    if prepared.facts["split"] != config.split.model_dump(mode="json"):
        raise UserError(
            f"{prepared.folder}: prepared with another split ({prepared.facts['split']}).\n"
            "Run `mergershift prepare` with the overrides of this training first."
        )
    return prepared


def default_output(config: Config) -> Path:
    """Folder of a training outside the pipeline: readable, and one for each configuration."""
    names = [config.choices[group] for group in ("filters", "transfer", "adaptation", "network")]
    return Path("outputs/runs") / "-".join([*names, f"seed{config.seed}", config.digest()[:8]])


def train_step(config: Config, output: Path) -> str:
    """Train into `output`/train, as one MLflow run; returns a line to print.

    Interrupted at any moment, the same call goes on where it was.
    """
    from mergershift import tracking
    from mergershift.report.figures import learning_curves
    from mergershift.training.fit import train

    root = project.root()
    output = (root / output).resolve()
    if root not in output.parents:
        raise UserError(f"{output}: outside the project {root}.\nGive an --output inside it.")
    cell = output.relative_to(root / "outputs" if root / "outputs" in output.parents else root).as_posix()
    prepared = _prepared(config)
    address = tracking.tracking_address(config.tracking.uri)
    code = tracking.lineage(root)
    started = time.monotonic()
    with cell_state(cell, config.digest(), prepared.facts["data_hash"]) as state:
        if state.superseded is not None:
            tracking.abandon(address, state.superseded.training, config.tracking.experiment)
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
            "mlflow.user": getpass.getuser(),
            **{f"choice.{group}": name for group, name in config.choices.items()},
        }
        run = tracking.open_run(
            address, config.tracking.experiment, state.identity.training, cell, config.dump(), tags
        )
        if code.diff:
            run.log_text(code.diff, "git.diff")
        result = train(config, prepared, state.checkpoints, run.log_epochs)
        record = {
            "run_id": run.run_id,
            "experiment": config.tracking.experiment,
            "cell": cell,
            "training": state.identity.training,
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
            run.log_figures({"learning_curves": learning_curves(result.table, result.best_epoch)})
            run.log_results(
                {"best_epoch": result.best_epoch, f"best_{config.training.keep_best}": result.best_score},
                [folder / RUN],
            )
        run.finish(result.epochs)
        state.clear()
    seconds = time.monotonic() - started
    return (
        f"{cell}: {len(result.epochs)} epochs in {seconds:.0f} s, kept epoch {result.best_epoch} "
        f"with {config.training.keep_best} {result.best_score:.3f}"
    )


def evaluate_step(cell: Path, *, all_rows: bool = False) -> str:
    """Test the training in `cell`/train and write `cell`/evaluation; returns a line to print.

    The only step that reads test rows.
    """
    from mergershift import evaluation, tracking
    from mergershift.report import figures
    from mergershift.training.classifier import load_classifier

    root = project.root()
    cell = (root / cell).resolve()
    trained = cell / "train"
    if not (trained / RUN).is_file():
        raise UserError(
            f"{trained}: no finished training here.\nTrain first: `mergershift train --output {cell}`."
        )
    config = Config.read(trained / CONFIG)
    record = json.loads((trained / RUN).read_text())
    prepared = _prepared(config)
    classifier = load_classifier(trained, config)
    rows = prepared.rows("test")
    parts = []
    for role, domain in (("source", config.transfer.source), ("target", config.transfer.target)):
        data = prepared.labelled(domain, rows)
        table = prepared.table.iloc[rows][["row", "galaxy", "camera", "block"]].reset_index(drop=True)
        table["role"], table["domain"] = role, str(domain)
        table["label"] = data.labels.numpy()
        table["probability"] = evaluation.predict(classifier, data.images, threads=config.trainer.threads)
        parts.append(table)
    predictions = evaluation.join(parts)
    results = evaluation.evaluate(predictions, all_rows=all_rows)
    with writing(cell / "evaluation") as folder:
        evaluation.write_predictions(predictions, folder / "predictions.csv")
        evaluation.write_results(results, folder)
        shown = evaluation.unique_renderings(predictions)
        drawn = {
            "roc": figures.roc(shown),
            "reliability": figures.reliability(shown),
            "confusion": figures.confusion(shown),
        }
        for name, figure in drawn.items():
            figure.savefig(folder / f"{name}.png", dpi=150)
        run = tracking.existing_run(tracking.tracking_address(config.tracking.uri), record["run_id"])
        if run is not None:
            run.log_figures(drawn)
            run.log_results(evaluation.flat(results), [folder / "metrics.json", folder / "predictions.csv"])
    source, target = (results[role]["unique"]["balanced_accuracy"]["value"] for role in ("source", "target"))
    return (
        f"{cell.relative_to(root)}: balanced accuracy {source:.3f} on the source, {target:.3f} on the target"
    )
