"""Local maximum mean discrepancy: the discrepancy between the domains within each class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mergershift.adaptation.base import Adaptation, joint_rows
from mergershift.adaptation.mmd import squared_distances
from mergershift.core.errors import UserError
from mergershift.networks import Activations

PUBLISHED_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The five kernel widths of the authors' code, as multiples of the mean squared distance."""


class LMMD(Adaptation):
    """The mean over the classes of the squared MMD between the source's and the target's images of a class.

    This is the penalty of Zhu et al. 2021 (DSAN, arXiv:2106.09388). In the source, an image belongs to the
    class of its label; in the target, to every class in proportion to its predicted probability:
    w_ik = p_ik / sum_j p_jk. The penalty is the mean over classes k of
    sum_ij w_ik w_jk k(s_i, s_j) + sum_ij w_ik w_jk k(t_i, t_j) - 2 sum_ij w_ik w_jk k(s_i, t_j). Every class has the
    same weight in both domains, so that other shares of the classes in the target add nothing to the penalty.

    The kernels are those of the authors' code, sum over factors of exp(-|x - y|² / (factor d)), with the mean d of the
    squared distances between different images of the joint batch, through which no gradient flows; the penalty is
    thus invariant under scaling of all features. As in that code, the predictions weight the images but receive no
    gradient, and a class is left out unless the batch has a source image of it and a target image predicted to be one;
    the penalty is 0 if no class is left.

    The method aligns the classes that the network sees in the target: wrong predictions are confirmed, so that it
    needs a network that is mostly right before the penalty counts (`Ramp`), and a batch with several images of a class.

    Args:
        factors: kernel widths as multiples of the mean squared distance.

    Raises UserError unless there is at least one factor and all are positive.
    """

    def __init__(self, factors: Sequence[float] = PUBLISHED_FACTORS) -> None:
        super().__init__()
        if not factors or not min(factors) > 0:
            raise UserError(
                f"factors are {list(factors)}, expected one or more positive numbers (conf/adaptation/)"
            )
        self.factors = tuple(float(factor) for factor in factors)

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return the penalty (scalar) of features `(N, F)` and `(M, F)`; the source's logits are not used.

        The labels are `(N,)`, the target's logits `(M, K)`. Raises ValueError if the shapes do not match.
        """
        logits = target.logits.detach()
        if logits.ndim != 2 or len(logits) != len(target.features):
            raise ValueError(
                f"logits have shape {tuple(logits.shape)}, expected ({len(target.features)}, K) as there are "
                f"{len(target.features)} rows of features"
            )
        wide = torch.promote_types(logits.dtype, torch.float32)
        return lmmd(source.features, target.features, source_labels, logits.to(wide).softmax(1), self.factors)


def lmmd(
    source: Tensor,
    target: Tensor,
    labels: Tensor,
    probabilities: Tensor,
    factors: Sequence[float] = PUBLISHED_FACTORS,
) -> Tensor:
    """Compute the penalty (scalar) of `(N, F)` and `(M, F)`; see `LMMD`.

    The result has at least float32 precision. Memory grows as (N + M)² plus (N + M) F, never as their product.

    Args:
        source: features `(N, F)`.
        target: features `(M, F)`.
        labels: class numbers `(N,)` of the source.
        probabilities: class probabilities `(M, K)` of the target.
        factors: kernel widths as multiples of the mean squared distance.

    Raises ValueError unless the features are matrices of at least one row with the same F, and there are N labels.
    """
    rows, _ = joint_rows(source, target)
    if labels.shape != source.shape[:1]:
        raise ValueError(f"labels have shape {tuple(labels.shape)}, expected ({len(source)},)")
    weights = _class_weights(labels, probabilities).to(rows.dtype)
    squares = squared_distances(rows)
    pairs = len(rows) * (len(rows) - 1)
    mean = squares.detach().sum() / pairs
    width = torch.where(mean > 0, mean, torch.ones_like(mean))
    kernels = torch.exp(squares / (-factors[0] * width))
    for factor in factors[1:]:
        kernels = kernels + torch.exp(squares / (-factor * width))
    # Autocast would round the product to 16 bits.
    with torch.autocast(rows.device.type, enabled=False):
        return (weights * (kernels @ weights)).sum()


def _class_weights(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Return the signed weights `(N + M, K)` of the images in their classes, those of the target negative.

    The penalty is the sum over classes of wᵀ kernels w. Columns of classes that are left out are 0, and the others are
    divided by the root of their number, so that the sum is their mean.
    """
    classes = probabilities.shape[1]
    of_source = functional.one_hot(labels, classes).to(probabilities.dtype)
    predicted = functional.one_hot(probabilities.argmax(1), classes)
    kept = (of_source.sum(0) > 0) & (predicted.sum(0) > 0)
    scale = kept / kept.sum().clamp_min(1).sqrt()
    least = torch.finfo(probabilities.dtype).tiny
    shares = [part / part.sum(0).clamp_min(least) for part in (of_source, probabilities)]
    return torch.cat([shares[0] * scale, -shares[1] * scale])
