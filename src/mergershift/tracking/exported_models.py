"""Models as MLflow keeps them: an exported program that loads without pickle."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path

import mlflow.pytorch
import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from torch import Tensor, nn

from mergershift.core.errors import UserError, first_line
from mergershift.tracking.server import set_defaults

REQUIRED = ("mlflow", "numpy", "torch")
"""All that a served model needs; mergershift is not among it."""


def save_program(program: nn.Module, example: np.ndarray, folder: Path, files: Iterable[Path]) -> None:
    """Export a program and write it, with `files` beside, as an MLflow model that any MLflow server serves.

    Args:
        program: `(N, ...)` float32 to `(N, M)` float64, for any N.
        example: `(N, ...)` float32 of two images or more: a single one would make its number a constant.
        folder: must not exist.
        files: written into the folder under their names.

    Raises ValueError on an example of fewer than two images.
    """
    if len(example) < 2:
        raise ValueError(f"example of {len(example)} images, expected two or more")
    set_defaults()
    with torch.inference_mode():
        columns = program(torch.from_numpy(example)).shape[1]
    signature = ModelSignature(
        Schema([TensorSpec(np.dtype(np.float32), (-1, *example.shape[1:]))]),
        Schema([TensorSpec(np.dtype(np.float64), (-1, columns))]),
    )
    with warnings.catch_warnings():
        # Weights that lie channels last are whole, only in another order.
        warnings.filterwarnings("ignore", message="No complete tensor found in the group")
        mlflow.pytorch.save_model(
            program,
            folder,
            signature=signature,
            input_example=example,
            serialization_format="pt2",
            pip_requirements=[_requirement(name) for name in REQUIRED],
        )
    # The program's tensors are a processor's: on a machine with a GPU MLflow would ask for that and refuse.
    model = Model.load(folder)
    model.flavors["python_function"]["config"] = {"device": "cpu"}
    model.save(folder / "MLmodel")
    for path in files:
        shutil.copy(path, folder)


def load_program(folder: Path) -> Callable[[Tensor], Tensor]:
    """The program in the folder of an MLflow model; raises UserError where it is missing or damaged."""
    set_defaults()
    logger = logging.getLogger("mlflow.pytorch")
    before = logger.level
    logger.setLevel(logging.ERROR)  # an exported program runs on other versions of PyTorch
    try:
        program: Callable[[Tensor], Tensor] = mlflow.pytorch.load_model(str(folder))
    except (MlflowException, OSError, RuntimeError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder}: not a model that loads without pickle ({first_line(error)}).\n"
            "Fetch it again, or register it again with `mergershift register`."
        ) from error
    finally:
        logger.setLevel(before)
    return program


def _requirement(name: str) -> str:
    return f"{name}=={version(name).partition('+')[0]}"
