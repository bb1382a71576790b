"""Training without adaptation, the baseline that every method has to beat."""

from __future__ import annotations

from torch import Tensor

from mergershift.adaptation.base import Adaptation
from mergershift.networks import Activations


class SourceOnly(Adaptation):
    """A penalty of zero, so that the network learns from the labelled source alone."""

    uses_target = False

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return 0 (scalar), whatever the activations are."""
        return source.features.new_zeros(())
