"""Fisher loss: images close to the centre of their class, the centres far from each other."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mergershift.adaptation.base import Adaptation
from mergershift.core.errors import UserError
from mergershift.networks import Activations

_LARGEST_RATIO = 1e6
"""Where the centres nearly coincide, the distance between them counts as the distances within over this."""


class Fisher(Adaptation):
    """The trace ratio of the scatter within the source's classes and that between their centres.

    w_intra sum_i |x_i - c_y(i)|² / (w_inter sum_k |c_k - mean c|²), over the N images of a batch and the K
    classes. The centres c are weights of the method, drawn from a standard normal distribution and trained with
    the network's. Ćiprijanović et al. 2021 (arXiv:2103.01373) after Zhang et al. 2020 (arXiv:2003.05636),
    in the form of the released code: both sums are sums, not means, so that the value grows with N; the mean
    of the centres counts every class the same; no target image enters. Their trace difference
    (w_intra sum - w_inter sum) is another loss, without a bound below.

    Moving, turning or scaling features and centres together changes nothing. Where the centres coincide, the
    ratio of the two sums is held at 1e6, so that value and gradient stay finite.

    Args:
        w_intra: weight of the scatter within classes.
        w_inter: weight of the scatter between centres; it divides.

    Raises UserError unless both weights are positive.
    """

    uses_target = False
    centres: nn.Parameter
    """`(K, F)`, there from `build` on."""

    def __init__(self, w_intra: float, w_inter: float) -> None:
        super().__init__()
        for name, value in {"w_intra": w_intra, "w_inter": w_inter}.items():
            if not 0 < value < math.inf:
                raise UserError(f"{name} is {value}, expected a finite positive number (conf/adaptation/)")
        self.weight = w_intra / w_inter

    def build(self, feature_size: int, classes: int) -> None:
        """Draw the centres `(classes, feature_size)`."""
        self.centres = nn.Parameter(torch.randn(classes, feature_size))

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the weighted ratio (scalar) of features `(N, F)` and labels `(N,)`; the target is not used.

        Raises ValueError where the shapes do not fit each other or the centres.
        """
        return self.weight * trace_ratio(source.features, source_labels, self.centres)


def trace_ratio(features: Tensor, labels: Tensor, centres: Tensor) -> Tensor:
    """Compute the unweighted ratio (scalar) of `(N, F)`, `(N,)` and `(K, F)`; see `Fisher`.

    At least float32 in the result. Raises ValueError where the shapes do not fit each other.
    """
    matrices = features.ndim == centres.ndim == 2 and features.shape[1] == centres.shape[1]
    if not matrices or labels.shape != features.shape[:1] or not len(features):
        shapes = ", ".join(str(tuple(each.shape)) for each in (features, labels, centres))
        raise ValueError(f"features, labels and centres of shapes {shapes}, expected (N, F), (N,) and (K, F)")
    wide = torch.promote_types(torch.promote_types(features.dtype, centres.dtype), torch.float32)
    features, centres = features.to(wide), centres.to(wide)
    within = (features - centres[labels]).square().sum()
    between = (centres - centres.mean(0)).square().sum()
    floor = (within.detach() / _LARGEST_RATIO).clamp_min(torch.finfo(wide).tiny)
    return within / torch.maximum(between, floor)
