"""Fisher loss, which draws images to the centre of their class and pushes the centres away from each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mergershift.adaptation.base import Adaptation, checked_rate
from mergershift.core.errors import UserError
from mergershift.networks import Activations

_LARGEST_RATIO = 1e6
"""Upper limit of the ratio of the scatter within classes to that between centres, for centres that coincide."""


class Fisher(Adaptation):
    """The trace ratio of the scatter within the source's classes to the scatter between their centres.

    The penalty is w_intra sum_i |x_i - c_y(i)|² / (w_inter sum_k |c_k - mean c|²), over the N images of a batch
    and the K classes. The centres c are weights of the method; they are drawn from a standard normal distribution
    and trained together with the network. The loss is that of Ćiprijanović et al. 2021 (arXiv:2103.01373) after
    Zhang et al. 2020 (arXiv:2003.05636), in the form of the released code: it takes sums rather than means, so its
    value grows with N; every class has the same weight in the mean of the centres; and no target image is used.
    The authors' trace difference (w_intra sum - w_inter sum) is a different loss and has no lower bound.

    The loss is invariant under translation, rotation and scaling of features and centres together. If the centres
    coincide, the ratio of the two sums is limited to 1e6, so that the loss and its gradient stay finite.

    Args:
        w_intra: weight of the scatter within classes.
        w_inter: weight of the scatter between centres, in the denominator.
        rate: factor on the learning rate of the centres. In the code released with arXiv:2103.01373, it is 10 with MMD,
            and 0 in the adversarial script, where the optimiser never receives them.

    Raises UserError unless both weights are positive and finite, and the rate is at least 0 and finite.
    """

    uses_target = False
    centres: nn.Parameter
    """Class centres `(K, F)`, created by `build`."""

    def __init__(self, w_intra: float, w_inter: float, rate: float = 1.0) -> None:
        super().__init__()
        for name, value in {"w_intra": w_intra, "w_inter": w_inter}.items():
            if not 0 < value < math.inf:
                raise UserError(f"{name} is {value}, expected a finite positive number (conf/adaptation/)")
        self.weight, self.rate = w_intra / w_inter, checked_rate(rate)

    def learning_rate_factor(self, name: str) -> float:
        """Return `rate`, for the centres."""
        return self.rate

    def build(self, feature_size: int, classes: int) -> None:
        """Draw the centres `(K, F)` for F = `feature_size` and K = `classes`."""
        self.centres = nn.Parameter(torch.randn(classes, feature_size))

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the weighted ratio (scalar) of features `(N, F)` and labels `(N,)`; the target is not used.

        Raises ValueError if the shapes do not match each other or the centres.
        """
        return self.weight * trace_ratio(source.features, source_labels, self.centres)


def trace_ratio(features: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Compute the unweighted ratio (scalar) of features `(N, F)`, labels `(N,)` and centres `(K, F)`; see `Fisher`.

    The result has at least float32 precision. Raises ValueError if the shapes do not match.
    """
    matrices = features.ndim == centres.ndim == 2 and features.shape[1] == centres.shape[1]
    if not matrices or labels.shape != features.shape[:1] or not len(features):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in (features, labels, centres))
        raise ValueError(
            f"features, labels and centres have shapes {shapes}, expected (N, F), (N,) and (K, F)"
        )
    wide = torch.promote_types(torch.promote_types(features.dtype, centres.dtype), torch.float32)
    features, centres = features.to(wide), centres.to(wide)
    within = (features - centres[labels]).square().sum()
    between = (centres - centres.mean(0)).square().sum()
    floor = (within.detach() / _LARGEST_RATIO).clamp_min(torch.finfo(wide).tiny)
    return within / torch.maximum(between, floor)
