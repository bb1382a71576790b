"""A registered model on disk: read back without pickle and without the code that trained it."""

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
    """The folder of a registered model."""

    facts: ModelFacts
    program: Callable[[Tensor], Tensor]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Load the model in `folder`; raises UserError where there is none or its program is damaged."""
        from mergershift.tracking.exported_models import load_program

        facts = ModelFacts.read(folder)
        return cls(facts, load_program(folder))

    def predict(self, images: NDArray[np.generic] | Tensor) -> NDArray[np.float64]:
        """Probability, calibrated probability and out-of-domain score of each image, `(N, 3)`.

        Args:
            images: `(N, C, H, W)` in the facts' unit, of any type of number; computed in single precision. A row
                is NaN where a pixel is not finite.

        Raises ValueError on a shape that is not the facts'.
        """
        facts = self.facts
        expected = (len(facts.filters), facts.image_size, facts.image_size)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise ValueError(f"images of shape {tuple(images.shape)}, expected (N, *{expected})")
        made = np.empty((len(images), len(COLUMNS)))
        for start in range(0, len(images), _BATCH):
            part = images[start : start + _BATCH]
            if not isinstance(part, Tensor):
                with np.errstate(over="ignore"):  # what single precision can't hold is not finite
                    part = torch.from_numpy(np.array(part, dtype=np.float32))
            with torch.inference_mode():
                made[start : start + _BATCH] = self.program(part.float()).numpy()
        return made
