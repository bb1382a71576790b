"""Predict from the views of images, here and on MLflow's servers, whose answers then name the columns.

A copy of this file is part of each registered model, which has to load without mergershift: it imports only packages
that MLflow installs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SYMMETRIES = 8
"""Number of views of an image: four turns, and those of its mirror image."""
VIEWS = (SYMMETRIES, 1)
"""Numbers of views that can be averaged."""


def turned(images: NDArray[Any], view: int) -> NDArray[Any]:
    """Return one of the eight views of square images `(..., H, H)`, of which view 0 is the images themselves."""
    result = np.rot90(images, view % 4, axes=(-2, -1))
    return np.ascontiguousarray(result[..., ::-1] if view >= SYMMETRIES // 2 else result)


def predicted(
    program: Callable[[NDArray[Any]], Floats],
    images: NDArray[Any],
    views: int,
    temperature: float,
    distance_unit: float,
) -> Floats:
    """Compute the columns of images `(N, C, H, H)`: see `combined`.

    Args:
        program: maps images to the log odds of M networks, followed by their M distances, `(N, 2 M)`.
        images: the images.
        views: number of views to average, one of `VIEWS`.
        temperature: divides the log odds for the calibrated probability.
        distance_unit: distance that is scaled to 1.
    """
    outputs = np.stack([program(turned(images, view)) for view in range(views)])
    networks = outputs.shape[2] // 2
    return combined(outputs[..., :networks], outputs[..., networks:], temperature, distance_unit)


def combined(log_odds: Floats, distances: Floats, temperature: float, distance_unit: float) -> Floats:
    """Average the log odds and distances `(V, N, M)` of N images in V views by M networks.

    Returns `(N, 4)`, or `(N, 5)` of several networks: the mean probability; its standard deviation over the views (NaN
    of a single view); of several networks, the sample standard deviation over the networks; the calibrated
    probability, whose log odds are those of the mean divided by the temperature; and the mean distance.
    """
    with np.errstate(over="ignore"):
        chance = 1 / (1 + np.exp(-log_odds))
        calibrated = 1 / (1 + np.exp(-mean_log_odds(log_odds) / temperature))
    mean = chance.mean(axis=(0, 2))
    of_views = chance.mean(axis=2)
    columns = [mean, of_views.std(axis=0) if len(of_views) > 1 else np.full_like(mean, np.nan)]
    if chance.shape[2] > 1:
        columns.append(chance.mean(axis=0).std(axis=1, ddof=1))
    columns += [calibrated, distances.mean(axis=(0, 2)) / distance_unit]
    return np.stack(columns, axis=1)


def mean_log_odds(log_odds: Floats) -> Floats:
    """Return the log odds `(N,)` of the mean probability over views and networks, from theirs `(V, N, M)`."""
    with np.errstate(over="ignore", divide="ignore"):
        chance, opposite = ((1 / (1 + np.exp(sign * log_odds))).mean(axis=(0, 2)) for sign in (-1, 1))
        odds: Floats = np.log(chance) - np.log(opposite)
    return odds


class NamedColumns:
    """A model whose predictions are a table.

    Args:
        program: MLflow's wrapper of the PyTorch program.
        names: names of the columns.
        fitted: temperature and unit of distance by the number of views.
    """

    def __init__(self, program: Any, names: list[str], fitted: dict[int, tuple[float, float]]) -> None:
        self._program, self._names, self._fitted = program, names, fitted

    def predict(self, images: NDArray[Any], params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Predict each image; the row of an image with NaN or infinite pixels holds None, which JSON has.

        The parameter `views` is the number of views to average.
        """
        views = int((params or {}).get("views", SYMMETRIES))
        if views not in self._fitted:
            raise ValueError(f"views: found {views}, expected {' or '.join(map(str, self._fitted))}")
        columns = predicted(self._program.predict, images, views, *self._fitted[views])
        table = pd.DataFrame(columns, columns=self._names)
        return table.astype(object).where(table.notna(), None) if table.isna().any(axis=None) else table


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> NamedColumns:
    """Load the model whose data are in `path`; MLflow calls this function by its name."""
    import mlflow.pytorch
    from mlflow.models import Model

    folder = Path(path).parent
    facts = json.loads((folder / "facts.json").read_text())
    fitted = {
        count: (values["temperature"], values["distance_unit"])
        for count, values in zip(VIEWS, (facts, facts["one_view"]), strict=True)
    }
    names = Model.load(folder).signature.outputs.input_names()
    return NamedColumns(mlflow.pytorch._load_pyfunc(path, model_config), names, fitted)
