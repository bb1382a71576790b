"""A registered model on disk, which is loaded without pickle and without the code that trained it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergershift.registry.model_facts import ModelFacts
from mergershift.tracking.named_columns import predicted

_BATCH = 256


@dataclass(frozen=True)
class RegisteredModel:
    """A registered model: its facts and its program."""

    facts: ModelFacts
    program: Callable[[Tensor], Tensor]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Load the model in `folder`; raises UserError if there is none or its program is damaged."""
        from mergershift.tracking.exported_models import load_program

        facts = ModelFacts.read(folder)
        return cls(facts, load_program(folder))

    def with_views(self, views: int) -> Self:
        """Return the model as it predicts from this number of views of an image, 8 or 1."""
        return replace(self, facts=self.facts.for_views(views))

    def predict(self, images: NDArray[np.generic] | Tensor) -> NDArray[np.float64]:
        """Compute the columns `facts.columns` of each image, `(N, 4)`, or `(N, 5)` for an ensemble.

        Args:
            images: `(N, C, H, W)` in the unit that the facts name, of any numeric type; converted to single
                precision. The row of an image with NaN or infinite pixels is NaN.

        Raises ValueError if the shape is not the one that the facts name.
        """
        facts = self.facts
        expected = (len(facts.filters), facts.image_size, facts.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(f"images of shape {tuple(images.shape)}, expected (N, *{expected})")
        columns = np.empty((len(images), len(facts.columns)))
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            with np.errstate(over="ignore"):  # values beyond single precision become infinite
                array = np.array(batch.numpy() if isinstance(batch, Tensor) else batch, dtype=np.float32)
            columns[start : start + _BATCH] = predicted(
                self._answers, array, facts.views, facts.temperature, facts.distance_unit
            )
        return columns

    def _answers(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Return what `ExportableModel` computes."""
        with torch.inference_mode():
            answers: NDArray[np.float64] = self.program(torch.from_numpy(images)).numpy()
        if self.facts.members:
            return answers
        # The program of an earlier version gives the probability, the calibrated one and the distance of one view.
        # The calibrated one is farther from 0 and 1 if the temperature is above 1, and then keeps more digits.
        calibrated = self.facts.temperature > 1
        chance = answers[:, 1 if calibrated else 0]
        with np.errstate(divide="ignore"):
            odds = np.log(chance) - np.log1p(-chance)
        return np.stack([odds * (self.facts.temperature if calibrated else 1), answers[:, 2]], axis=1)
