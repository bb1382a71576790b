"""The stage that trains one network and resumes if it was interrupted."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from pathlib import Path

from mergershift.archive import Origin
from mergershift.cells.code_version import code_hash, read_code_version, source_tags
from mergershift.cells.layout import ARTIFACTS, CONFIG, FIGURES, GIT_DIFF, RUN, TRAINED, cell_name
from mergershift.cells.records import VARIED, RunSpec, Trained, data_tags
from mergershift.cells.run_content import run_files
from mergershift.cells.state import Identity, cell_state
from mergershift.config import Config, varied
from mergershift.core.checkout import root, shown
from mergershift.core.files import atomic_directory
from mergershift.core.words import counted
from mergershift.images.locate import prepared_images
from mergershift.stages.headings import heading_of, labelled_domain, labelled_sizes
from mergershift.stages.start import ANEW, Start, keep_checkpoints


def train_step(config: Config, output: Path, start: Start = ANEW) -> str:
    """Train, log to one MLflow run and write `output`/train; returns lines to print.

    After an interruption at any moment, the same call resumes the training. Outside of DVC's pipeline, the checkpoints
    are kept beside the results, so that a longer training can resume from them.
    """
    from mergershift import tracking
    from mergershift.classifier.requirements import require_trainable
    from mergershift.evaluation.figures import learning_curves, save
    from mergershift.training.fit import train

    output = output.resolve()
    cell = cell_name(output)
    prepared = prepared_images(config)
    reading = prepared.facts.get("reading", {})
    require_trainable(config, prepared)
    address = tracking.tracking_address(config.tracking.uri)
    code = read_code_version(root())
    started = time.monotonic()
    in_pipeline = "DVC_STAGE" in os.environ  # DVC sets it for the commands of its stages

    def supersede(identity: Identity) -> None:
        tracking.abandon(address, identity.training, config.tracking.experiment)

    with cell_state(cell, config.digest(), prepared.facts["data_hash"], code_hash(), supersede) as state:
        tags = {
            "cell": cell,
            **data_tags(prepared.facts["data_hash"], Origin.model_validate(prepared.facts["provenance"])),
            **{f"read.{what}": how for what, how in reading.items()},
            "config_hash": config.digest(),
            "split": config.split.kind,
            "disjoint_domains": str(config.split.disjoint_domains).lower(),
            **source_tags(code, "train"),
            **{f"choice.{group}": name for group, name in config.choices.items()},
            VARIED: json.dumps(varied(config)),
            **start.tags,
        }
        run = tracking.open_run(
            address,
            RunSpec(
                training=state.identity.training,
                experiment=config.tracking.experiment,
                name=cell,
                config=config.dump(),
                tags=tags,
                started=state.began,
            ),
            monitor=config.tracking.system_metrics,
        )

        def on_epoch(epochs: list[dict[str, float]], _classifier: object) -> None:
            state.write_progress(len(epochs), config.training.epochs)
            run.log_epochs(epochs)

        with run.stopped_by_errors():
            if code.diff:
                run.log_text(code.diff, GIT_DIFF)

            start.prepare(state.checkpoints)
            result = train(config, prepared, state.checkpoints, on_epoch, start.weights)
            metrics = {
                "best_epoch": float(result.best_epoch),
                f"best_{config.training.keep_best}": result.best_score,
            }
            trained = Trained(
                cell=cell,
                data_hash=prepared.facts["data_hash"],
                provenance=prepared.facts["provenance"],
                reading=reading,
                split=config.split,
                config_hash=config.digest(),
                git_commit=code.commit,
                git_dirty=code.dirty,
                epochs=len(result.epochs),
                best_epoch=result.best_epoch,
                best_score=result.best_score,
            )
            with atomic_directory(output / TRAINED) as folder:
                result.write(folder)
                config.write(folder / CONFIG)
                run.record(metrics, trained=trained).write(folder / RUN)
                figures = folder / ARTIFACTS / FIGURES
                figures.mkdir(parents=True)
                curves = learning_curves(
                    result.table,
                    result.best_epoch,
                    heading_of(config, prepared.facts["provenance"]["kind"]),
                    labelled_domain(config),
                    labelled_sizes(config, prepared),
                )
                save(curves, figures / "learning_curves.png")
                shutil.copyfile(prepared.statistics_file, folder / ARTIFACTS / prepared.statistics_file.name)
                if not in_pipeline:
                    keep_checkpoints(state.checkpoints, folder, state.identity)
                if code.diff:
                    (folder / ARTIFACTS / GIT_DIFF).write_text(code.diff)
            run.log_results(metrics)
            run.log_files(run_files(output / TRAINED))
            run.finish(result.epochs)
    # The state is kept until the evaluation, so a kill before DVC has stored the result does not cost a training.
    seconds = time.monotonic() - started
    line = (
        f"{shown(output)}: {counted(len(result.epochs), 'epoch')} in {seconds:.0f} s, kept epoch {result.best_epoch} "
        f"with {config.training.keep_best} {result.best_score:.3f}"
    )
    return line if in_pipeline else f"{line}\nNext: mergershift evaluate {shlex.quote(shown(output))}"
