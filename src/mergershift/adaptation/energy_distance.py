"""Energy distance between the features of two domains: a discrepancy with no width to choose."""

from __future__ import annotations

import torch
from torch import Tensor

from mergershift.adaptation.base import Adaptation, joint_rows
from mergershift.adaptation.mmd import squared_distances
from mergershift.networks import Activations


class EnergyDistance(Adaptation):
    """The energy distance 2 mean |s - t| - mean |s - s'| - mean |t - t'|: never negative, 0 for equal batches.

    This is the statistic of Székely & Rizzo 2013 (J. Stat. Plan. Inference 143:1249) with the means over all pairs,
    those of an image with itself included. It is 0 only for equal distributions. Brauer et al. 2025
    (arXiv:2511.18590) align simulated and observed galaxies with it; GeomLoss, which they use, computes half of this
    value. It is an MMD with the kernel -|x - y| (Sejdinovic et al. 2013, arXiv:1207.6076), which has no width: its
    gradient neither vanishes between distant domains, as those of Gaussian kernels do, nor grows without bound.

    Few images in thousands of dimensions are nearly equally far from each other, and then the distance is hardly more
    than the squared difference of the means, divided by a typical distance: it aligns the means first, and sees
    differences of shape late. Shrinking all features reduces it in proportion, which the classification has to resist.

    Args:
        per_feature: use the root mean square over the F features as the distance, instead of the root of the sum.
            The trade-off then has the same meaning for a network with 32 features and for one with 2592.
    """

    def __init__(self, per_feature: bool = True) -> None:
        super().__init__()
        self.per_feature = per_feature

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the distance (scalar) of features `(N, F)` and `(M, F)`; the labels are not used.

        Raises ValueError unless both are matrices of at least one row with the same F.
        """
        distance = energy_distance(source.features, target.features)
        return distance / source.features.shape[1] ** 0.5 if self.per_feature else distance


def energy_distance(source: Tensor, target: Tensor) -> Tensor:
    """Compute the energy distance (scalar) of `(N, F)` and `(M, F)`; see `EnergyDistance`.

    The result has at least float32 precision. The gradient of the distance between two equal rows is taken as 0.
    Memory grows as (N + M)² plus (N + M) F, never as their product.
    """
    rows, unit = joint_rows(source, target)
    squares = squared_distances(rows)
    # The root has an infinite slope at 0, also where `where` does not choose it.
    apart = squares > 0
    distances = torch.where(apart, torch.where(apart, squares, 1).sqrt(), 0)
    split = len(source)
    within = distances[:split, :split].mean() + distances[split:, split:].mean()
    return unit * (2 * distances[:split, split:].mean() - within)
