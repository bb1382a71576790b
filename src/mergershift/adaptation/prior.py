"""Predictions under other class shares than those that a network was trained with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mergershift.adaptation.base import ClassShares
from mergershift.core.errors import UserError


def expected_log_probabilities(logits: Tensor, shares: ClassShares | None) -> Tensor:
    """Return log p `(M, K)` of a network with `logits` `(M, K)`, were the classes as frequent as expected.

    By Bayes' theorem, p is in proportion to the softmax times expected / trained shares (Saerens et al. 2002, Neural
    Computation 14, 21, eq. 2.4). The result has at least float32 precision. Raises ValueError unless the logits are a
    matrix of at least one row, with as many columns as there are shares.
    """
    classes = None if shares is None else len(shares.expected)
    if logits.ndim != 2 or not logits.numel() or classes not in (None, logits.shape[1]):
        raise ValueError(f"logits have shape {tuple(logits.shape)}, expected (M, {classes or 'K'})")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (wide + share_ratios(wide, shares).log()).log_softmax(1)


def share_ratios(like: Tensor, shares: ClassShares | None) -> Tensor:
    """Return expected / trained shares `(K,)`, in the type and on the device of `like` `(M, K)`.

    Raises UserError if a class has no share, since nothing is known of it then.
    """
    if shares is None:
        return like.new_ones(like.shape[1])
    if not all((*shares.trained, *shares.expected)):
        raise UserError(
            f"the shares of the classes are {shares.expected} among the source's training images, expected images of "
            "every class.\nPrepare another split (split=...)."
        )
    return like.new_tensor(shares.expected) / like.new_tensor(shares.trained)


def expected_shares(like: Tensor, shares: ClassShares | None) -> Tensor:
    """Return the expected shares `(K,)`, equal ones if they are not known; type and device as in `share_ratios`."""
    if shares is None:
        return like.new_full((like.shape[1],), 1 / like.shape[1])
    return like.new_tensor(shares.expected)


def entropy(log_probabilities: Tensor) -> Tensor:
    """Return the mean entropy (scalar) of predictions with log p `(M, K)`, in nats."""
    return -(log_probabilities.exp() * log_probabilities).sum(1).mean()


def divergence(log_probabilities: Tensor, shares: ClassShares | None) -> Tensor:
    """Return KL(expected shares | mean of p) (scalar) in nats, for log p `(M, K)`.

    In this direction, a class that vanishes from the predictions costs without limit. In the other one it costs a
    fraction of a nat, which certain predictions of a single class make up for.
    """
    log_mean = log_probabilities.logsumexp(0) - math.log(len(log_probabilities))
    expected = expected_shares(log_mean[None], shares)
    return (torch.special.xlogy(expected, expected) - expected * log_mean).sum()
