"""The typed and validated settings of a pre-training, in conf/experiment/."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from mergershift.config.schema import Section
from mergershift.config.targets import Target


class PretrainingConfig(Section):
    """Self-supervised pre-training on unlabelled images of both domains, before the training."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    optimizer: Target
    projector: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    """Widths of the layers between the features and the loss."""
    shift: int = Field(ge=0)
    """Largest shift of a view in pixels."""
    brightness: float = Field(ge=0)
    """Standard deviation of the logarithm of a view's brightness."""
    noise: float = Field(ge=0)
    """Largest deviation of a view's noise, in units of the source pixels' standard deviation."""
