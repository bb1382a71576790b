"""Names of the files and folders that a training leaves, and of those that a study makes of all its trainings.

A cell's folder holds `TRAINED` and, once it is tested, `EVALUATED`. A trial of a search and the search itself leave
a folder like `TRAINED`, without weights.
"""

from __future__ import annotations

from pathlib import Path

from mergershift.config import Config
from mergershift.config.study import PLAIN
from mergershift.core.checkout import root
from mergershift.core.errors import UserError

TRAINED, EVALUATED = "train", "evaluation"

RUN, CONFIG, EPOCHS = "run.json", "config.yaml", "epochs.csv"
"""Of a training: its record (`records.RunRecord`), its configuration, and a row of figures for each epoch."""
MODELS = "models"
"""Folder with the classifiers of some epochs."""
ARTIFACTS, FIGURES = "artifacts", "figures"
"""Folder with further files of the MLflow run, and the one with pictures in it and in the run."""
GIT_DIFF = "git.diff"
"""Artifact: what the code differed by from its commit."""

SELECTION, VALIDATORS = "selection.json", "validators.csv"
"""Of an evaluation: the choices made in it (`records.Selection`), and every epoch's scores they were made by."""
PREDICTIONS = {"label_free": "predictions.csv", "oracle": "oracle_predictions.csv"}
"""Who chose the epoch -> predictions on test images."""

SUMMARY, REPORT, CODE = Path("outputs/summary"), Path("outputs/report"), Path("outputs/code")
BEST = "best.json"
"""In `SUMMARY`: the method of each filter set and direction that the validator named beforehand puts first."""


def model_file(trained: Path, epoch: int) -> Path:
    """Where a training in the folder `trained` keeps the classifier of an epoch."""
    return trained / MODELS / f"epoch{epoch:03d}.safetensors"


def model_epochs(trained: Path) -> list[int]:
    """The epochs whose classifiers a training kept, in order; raises UserError where there is none."""
    files = (trained / MODELS).glob("epoch*.safetensors")
    epochs = sorted(int(path.stem.removeprefix("epoch")) for path in files)
    if not epochs:
        raise UserError(f"{trained / MODELS}: no model here.\nTrain again.")
    return epochs


def cell_name(cell: Path) -> str:
    """Name of a cell by its folder, for instance cells/two/pristine_to_noisy/mmd/default/seed0."""
    here = root()
    if here not in cell.parents:
        raise UserError(f"{cell}: outside the project {here}.\nName a folder inside it.")
    outputs = here / "outputs"
    return cell.relative_to(outputs if outputs in cell.parents else here).as_posix()


def default_output(config: Config) -> Path:
    """Folder of a training outside the pipeline: readable, and one for each configuration."""
    names = [config.choices[group] for group in ("filters", "transfer", "adaptation", "network")]
    if config.choices["experiment"] != PLAIN:
        names.append(config.choices["experiment"])
    folder = "-".join([*names, f"seed{config.seed}", config.digest()[:8]])
    return root() / "outputs" / "runs" / folder
