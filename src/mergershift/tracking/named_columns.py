"""Load a registered model for MLflow's servers, whose answers then name the columns.

A copy of this file is part of each registered model, which has to load without mergershift: it imports MLflow's
packages alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow.pytorch
import numpy as np
import pandas as pd
from mlflow.models import Model


class NamedColumns:
    """A model whose predictions are a table.

    Args:
        program: MLflow's wrapper of the PyTorch program.
        names: names of the program's columns.
    """

    def __init__(self, program: Any, names: list[str]) -> None:
        self._program, self._names = program, names

    def predict(self, images: np.ndarray, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Predict each image; the row of an image with NaN or infinite pixels holds None, which JSON has."""
        table = pd.DataFrame(self._program.predict(images, params), columns=self._names)
        return table.astype(object).where(table.notna(), None) if table.isna().any(axis=None) else table


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> NamedColumns:
    """Load the model whose data are in `path`; MLflow calls this function by its name."""
    outputs = Model.load(Path(path).parent).signature.outputs
    return NamedColumns(mlflow.pytorch._load_pyfunc(path, model_config), outputs.input_names())
