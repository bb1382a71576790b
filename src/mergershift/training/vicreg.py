"""Variance-invariance-covariance regularisation, a loss for features that are learned without labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_EPSILON = 1e-4


def vicreg(
    first: Tensor, second: Tensor, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0
) -> Tensor:
    """Compute the loss (scalar) of embeddings `(N, D)` of two views of the same N images.

    The loss of Bardes et al. 2022 (arXiv:2105.04906), eqs. 1-6, with their weights, is the sum of: the mean squared
    difference of the views; max(0, 1 - standard deviation), averaged over dimensions and views, without which all
    embeddings would be equal; and the squared covariances between dimensions over D, added over the views, without
    which all dimensions would. The result has at least float32 precision.

    Raises ValueError unless both are matrices of the same shape with at least two rows.
    """
    if first.shape != second.shape or first.ndim != 2 or len(first) < 2:
        raise ValueError(
            f"embeddings have shapes {tuple(first.shape)} and {tuple(second.shape)}, expected (N, D), N at least 2"
        )
    wide = torch.promote_types(first.dtype, torch.float32)
    views = (first.to(wide), second.to(wide))
    loss = invariance * functional.mse_loss(views[0], views[1])
    for view in views:
        centred = view - view.mean(0)
        squares = centred.T @ centred / (len(view) - 1)
        spread = (squares.diagonal() + _EPSILON).sqrt()
        loss = loss + variance * functional.relu(1 - spread).mean() / 2
        between = squares.square().sum() - squares.diagonal().square().sum()
        loss = loss + covariance * between / view.shape[1]
    return loss
