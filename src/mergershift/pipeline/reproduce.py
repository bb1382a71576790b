"""Runs a published experiment again and lays its figures beside the published ones."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from mergershift import evaluation
from mergershift.config import compose
from mergershift.core.errors import UserError, nearest
from mergershift.images import Prepared
from mergershift.stages.evaluate import evaluate_step
from mergershift.stages.train import (
    default_output,
    prepare_step,
    prepared_folder,
    read_run,
    train_step,
)

EXPERIMENTS = ("deepmerge_2020",)
"""Those of conf/experiment/ whose figures are published and stand in `evaluation.PUBLISHED`."""
# The published networks were trained and tested within one domain, noisy ones on noisy labels.
TRANSFERS = {"pristine": "pristine_to_noisy", "noisy": "oracle_target_only"}


def reproduce(experiment: str, overrides: Sequence[str] = ()) -> None:
    """Prepare, train and test `experiment` on pristine and on noisy images and print the comparison.

    What is finished already is not run again. Raises UserError for an experiment without published figures.
    """
    if experiment not in EXPERIMENTS:
        raise UserError(
            f"'{experiment}' has no published figures to compare with.\nNearest: {nearest(experiment, EXPERIMENTS)}."
        )
    ours: dict[str, evaluation.Scores] = {}
    console = Console()
    for domain, transfer in TRANSFERS.items():
        config = compose([f"experiment={experiment}", f"transfer={transfer}", *overrides])
        selection = config.selection
        assert selection is not None, "conf/config.yaml names one"
        # Cheap beside a training, and the only way to know that the images are today's archive's.
        console.print(prepare_step(config))
        prepared = Prepared(prepared_folder(config))
        cell = default_output(config)
        if not (cell / "train").is_dir() or read_run(cell)["data_hash"] != prepared.facts["data_hash"]:
            console.print(train_step(config, cell))
        console.print(evaluate_step(cell, selection, all_rows=True))
        role = "source" if config.transfer.source == domain else "target"
        ours[domain] = evaluation.read_results(cell / "evaluation")[role]["all_rows"]
    console.print(evaluation.comparison_table(ours))
    kind = prepared.facts["provenance"]["kind"]
    console.print(f"Ours: {'MOCK images, not the archive' if kind == 'mock' else kind + ' data'}.")
