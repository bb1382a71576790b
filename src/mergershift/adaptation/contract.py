"""What every adaptation method takes and returns."""

from __future__ import annotations

from torch import Tensor, nn

from mergershift.networks import Activations


class Adaptation(nn.Module):
    """A penalty on the difference between a labelled source batch and an unlabelled target batch.

    A method may hold weights of its own (a domain classifier, class centres): they are trained with the
    network's. It never sees a target label.
    """

    uses_target: bool = True
    """Whether the penalty depends on the target; where it does not, training need not run it at all."""

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the penalty (scalar, before any weighting).

        Args:
            source: activations of N labelled images: features `(N, F)`, logits `(N, K)`.
            target: activations of M unlabelled images: features `(M, F)`, logits `(M, K)`.
            source_labels: `(N,)` class numbers of the source.

        Raises ValueError where the shapes do not fit each other.
        """
        raise NotImplementedError
