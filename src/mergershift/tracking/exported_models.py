"""Save and load MLflow models that hold an exported program and need no pickle."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import mlflow.pytorch
import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from torch import Tensor, nn

from mergershift.core.errors import UserError, first_line
from mergershift.tracking import named_columns
from mergershift.tracking.named_columns import SYMMETRIES
from mergershift.tracking.server import set_defaults

CODE = "code"
"""Folder of a model with the Python file that MLflow loads it by."""
REQUIRED = ("mlflow", "numpy", "torch")
"""Packages that a served model needs; mergershift is not one of them."""


def save_program(
    program: nn.Module, example: np.ndarray, columns: Sequence[str], folder: Path, files: Iterable[Path]
) -> None:
    """Export a program and save it as an MLflow model that any MLflow server can serve.

    Args:
        program: maps `(N, C, H, H)` float32 to the answers that `named_columns.predicted` takes, for any N.
        example: input `(N, ...)`, float32, of at least two images: with a single one, the export would fix the
            batch size at 1.
        columns: names of the columns that it makes of them, by which a server's answers give them.
        folder: folder of the model; it must not exist yet.
        files: further files, copied into the folder under their own names; a server reads what was fitted to the
            numbers of views from facts.json (`registry.ModelFacts`).

    Raises ValueError if the example has fewer than two images.
    """
    if len(example) < 2:
        raise ValueError(f"the example has {len(example)} images, expected at least two")
    set_defaults()
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, *example.shape[1:]))]),
        Schema([ColSpec(DataType.double, name) for name in columns]),
        ParamSchema([ParamSpec("views", DataType.long, SYMMETRIES)]),
    )
    with warnings.catch_warnings():
        # Weights in channels-last memory format are complete; the warning takes their order for a gap.
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")
        mlflow.pytorch.save_model(
            program,
            folder,
            signature=signature,
            input_example=example,
            serialization_format="pt2",
            pip_requirements=[_requirement(name) for name in REQUIRED],
        )
    model = Model.load(folder)
    served = model.flavors["python_function"]
    # The program was exported on the CPU; on a machine with a GPU, MLflow would default to the GPU and fail.
    served["config"] = {"device": "cpu"}
    # MLflow's own loader returns the program's answers. This one, which the model carries with it, makes
    # columns of them.
    loader = Path(named_columns.__file__)
    (folder / CODE).mkdir()
    shutil.copy(loader, folder / CODE)
    served |= {"loader_module": loader.stem, "code": CODE}
    model.save(folder / "MLmodel")
    for path in files:
        shutil.copy(path, folder)


def load_program(folder: Path) -> Callable[[Tensor], Tensor]:
    """Load the program of the MLflow model in `folder`; raises UserError if it is missing or damaged."""
    set_defaults()
    logger = logging.getLogger("mlflow.pytorch")
    before = logger.level
    logger.setLevel(logging.ERROR)  # it warns of other PyTorch versions, which run the program too
    try:
        program: Callable[[Tensor], Tensor] = mlflow.pytorch.load_model(str(folder))
    except Exception as error:  # MLflow and PyTorch raise many kinds of exceptions on damaged files
        raise UserError(
            f"{folder}: not an MLflow model that can be loaded without pickle ({first_line(error)}).\n"
            "Fetch it again, or register it again with `mergershift register`."
        ) from error
    finally:
        logger.setLevel(before)
    return program


def _requirement(name: str) -> str:
    return f"{name}=={version(name).partition('+')[0]}"
