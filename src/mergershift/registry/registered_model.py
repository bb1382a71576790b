"""A registered model on disk, which is loaded without pickle and without the code that trained it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mergershift.registry.model_facts import COLUMNS, ModelFacts

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

    def predict(self, images: NDArray[np.generic] | Tensor) -> NDArray[np.float64]:
        """Compute the probability, calibrated probability and out-of-domain score of each image, `(N, 3)`.

        Args:
            images: `(N, C, H, W)` in the unit that the facts name, of any numeric type; converted to single
                precision. The row of an image with NaN or infinite pixels is NaN.

        Raises ValueError if the shape is not the one that the facts name.
        """
        facts = self.facts
        expected = (len(facts.filters), facts.image_size, facts.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(f"images of shape {tuple(images.shape)}, expected (N, *{expected})")
        columns = np.empty((len(images), len(COLUMNS)))
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            if not isinstance(batch, Tensor):
                with np.errstate(over="ignore"):  # values beyond single precision become infinite
                    batch = torch.from_numpy(np.array(batch, dtype=np.float32))
            with torch.inference_mode():
                columns[start : start + _BATCH] = self.program(batch.float()).numpy()
        return columns
