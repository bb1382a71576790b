"""Names of the files and folders that a training writes, and of those that a study derives from all its trainings.

A cell's folder contains `TRAINED` and, once the training has been evaluated, `EVALUATED`. Each trial of a search, and
the search itself, writes a folder like `TRAINED`, but without weights.
"""

from __future__ import annotations

from pathlib import Path

from mergershift.config import Config
from mergershift.config.study import PLAIN
from mergershift.core.checkout import root
from mergershift.core.errors import UserError

TRAINED, EVALUATED = "train", "evaluation"

RUN, CONFIG, EPOCHS = "run.json", "config.yaml", "epochs.csv"
"""Files of a training: its record (`records.RunRecord`), its configuration, and its metrics, a row per epoch."""
MODELS = "models"
"""Folder with the classifiers of the kept epochs."""
CHECKPOINTS = "checkpoints"
"""Folder with what a longer training resumes from; the trainings of a study, which are many, do not have it."""
ARTIFACTS, FIGURES = "artifacts", "figures"
"""Folder with further files of the MLflow run, and the folder for figures inside it and inside the run."""
GIT_DIFF = "git.diff"
"""Artifact with the uncommitted changes to the code."""
PRETRAINED, PRETRAINING = "pretrained.safetensors", "pretraining.json"
"""Files of a pre-training: the classifier, and its record (`stages.pretrain.Pretraining`)."""

SELECTION, VALIDATORS = "selection.json", "validators.csv"
"""Files of an evaluation: its choices (`records.Selection`), and the scores of all epochs on which they are based."""
SHIFT = "shift.json"
"""File of an evaluation with the shift between the domains in the features of its chosen classifier."""
PREDICTIONS = {"label_free": "predictions.csv", "oracle": "oracle_predictions.csv"}
"""File with the predictions on test images, by how the epoch was chosen."""

SUMMARY, REPORT, CODE = Path("outputs/summary"), Path("outputs/report"), Path("outputs/code")
PAGE_NAME = "index.html"
"""In `REPORT`: the page of the study."""
METRICS, PLOTS = Path("outputs/metrics"), Path("outputs/plots")
"""Folders of what `dvc metrics` and `dvc plots` show."""
BEST = "best.json"
"""In `SUMMARY`: the method that the validator named beforehand ranks first, for each filter set and direction."""


def model_file(trained: Path, epoch: int) -> Path:
    """Path of the classifier of an epoch of the training in the folder `trained`."""
    return trained / MODELS / f"epoch{epoch:03d}.safetensors"


def model_epochs(trained: Path) -> list[int]:
    """List the epochs whose classifiers a training kept, in ascending order; raises UserError if there is none."""
    numbers = (path.stem.removeprefix("epoch") for path in (trained / MODELS).glob("epoch*.safetensors"))
    epochs = sorted(int(number) for number in numbers if number.isdecimal())
    if not epochs:
        raise UserError(f"{trained / MODELS}: contains no model.\nTrain again.")
    return epochs


def cell_name(cell: Path) -> str:
    """Name a cell after its folder, for instance cells/two/pristine_to_noisy/mmd/default/seed0.

    Raises UserError if the folder is outside the project.
    """
    project = root()
    if project not in cell.parents:
        raise UserError(f"{cell}: outside the project {project}.\nName a folder inside the project.")
    outputs = project / "outputs"
    return cell.relative_to(outputs if outputs in cell.parents else project).as_posix()


def default_output(config: Config) -> Path:
    """Folder of a training outside the pipeline, with a readable name that is unique to the configuration."""
    names = [config.choices[group] for group in ("filters", "transfer", "adaptation", "network")]
    if config.choices["experiment"] != PLAIN:
        names.append(config.choices["experiment"])
    folder = "-".join([*names, f"seed{config.seed}", config.digest()[:8]])
    return root() / "outputs" / "runs" / folder
