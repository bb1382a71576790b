"""SIDDA: a Sinkhorn divergence whose blur follows the scale of the features."""

from __future__ import annotations

import torch
from torch import Tensor

from mergershift.adaptation.base import Adaptation, check_features
from mergershift.adaptation.sinkhorn import checked_scaling, sinkhorn
from mergershift.core.errors import UserError
from mergershift.networks import Activations


class SIDDA(Adaptation):
    """The debiased Sinkhorn divergence with a blur of 0.05 x the largest distance between the domains.

    This is the penalty of Pandya et al. 2025 (arXiv:2501.14048), with the divergence of `Sinkhorn`. The other half
    of the method, its learned weights, is the weighting `Learned`.

    The authors use plain Euclidean distances, `per_feature: false`. Their learned weights absorb the factor F
    between the two forms, but only once e2 has reached the square root of a few thousand; with the mean over the
    features, e2 starts at the right scale.

    Args:
        blur_share: blur as a share of the batch's largest distance between a source and a target image.
        least_blur: lower limit of the blur, in units of the distances.
        scaling: see `Sinkhorn`.
        per_feature: see `Sinkhorn`.

    Raises UserError unless `blur_share` and `least_blur` are positive and `scaling` is between 0 and 1.
    """

    def __init__(
        self,
        blur_share: float = 0.05,
        least_blur: float = 0.01,
        scaling: float = 0.5,
        per_feature: bool = True,
    ) -> None:
        super().__init__()
        for name, value in (("blur_share", blur_share), ("least_blur", least_blur)):
            if not 0 < value < float("inf"):
                raise UserError(f"{name} is {value}, expected a positive number (conf/adaptation/)")
        self.blur_share, self.least_blur = blur_share, least_blur
        self.scaling, self.per_feature = checked_scaling(scaling), per_feature

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the divergence (scalar) of features `(N, F)` and `(M, F)`; the labels are not used.

        Raises ValueError unless both are matrices of at least one row with the same F.
        """
        check_features(source.features, target.features)
        unit = source.features.shape[1] ** 0.5 if self.per_feature else 1.0
        x, y = source.features / unit, target.features / unit
        return sinkhorn(x, y, self.blur(x, y), self.scaling)

    def blur(self, source: Tensor, target: Tensor) -> float:
        """Return the blur for rows `(N, F)` and `(M, F)`; no gradient flows through it."""
        with torch.no_grad():
            largest = float(torch.cdist(source.float(), target.float()).max())
        return max(self.blur_share * largest, self.least_blur)
