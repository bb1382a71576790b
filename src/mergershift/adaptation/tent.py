"""Test-time entropy minimisation: a trained network tunes its normalisations on target images, without the source."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from mergershift.adaptation.adabn import AdaBN
from mergershift.adaptation.prior import divergence, entropy, expected_log_probabilities
from mergershift.adaptation.source_free import (
    Mixed,
    batch_norms,
    batch_statistics,
    check_passes,
    check_weight,
    step,
)
from mergershift.adaptation.source_only import SourceOnly
from mergershift.networks import Network


class Tent(SourceOnly):
    """Training without a penalty, after which scales and shifts of the normalisations minimise the target's entropy.

    In the method of Wang et al. 2021 (arXiv:2006.10726), every batch of target images is normalised by its own
    statistics, and a step of Adam lowers the mean entropy of its predictions; all other weights stay as trained on
    the source. The authors predict each batch as it comes; here, `epochs` passes over the training images are
    followed by one of `AdaBN`, so that the saved network predicts images one by one.

    Entropy alone is lowest if all images are in one class, and drifts there where the classes are not equally
    frequent. The predictions are therefore those for the class shares of the source (see `ClassShares`), and the loss
    is entropy + balance x KL(these shares | mean prediction of the batch); published are a balance of 0 and no
    shares. A target whose classes have other shares is pulled towards the source's. Entropy minimisation helps only
    if most target images are already classified correctly after `AdaBN`.

    Args:
        epochs: number of passes over the target's training images; with few images, few passes change nothing.
        lr: learning rate of Adam.
        balance: weight of the divergence from the source's class shares.

    Raises UserError if `epochs` is below 1, `lr` not positive, `balance` negative, or one of them not finite.
    """

    def __init__(self, epochs: int = 10, lr: float = 1e-2, balance: float = 1.0) -> None:
        super().__init__()
        check_passes(epochs, lr)
        self.epochs, self.lr, self.balance = epochs, lr, check_weight("balance", balance)

    def loss(self, logits: Tensor) -> Tensor:
        """Return the loss (scalar) of a batch with logits `(M, K)`; see the class."""
        log_p = expected_log_probabilities(logits, self.shares)
        return entropy(log_p) + self.balance * divergence(log_p, self.shares)

    def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Tune scales and shifts of every batch normalisation in `network`, in place, then its statistics.

        Args:
            network: any network with batch normalisation; its modes are restored afterwards.
            batches: batches of the target's training images `(M, C, H, W)`, preprocessed for the network, each
                image once. All are held in memory.

        Raises UserError if the network has no batch normalisation, and ValueError if there is no image.
        """
        images = Mixed(batches)
        AdaBN().after_training(network, images)
        affine = [weight for norm in batch_norms(network) for weight in norm.parameters()]
        optimiser = torch.optim.Adam(affine, lr=self.lr)
        with batch_statistics(network), torch.enable_grad():
            for _ in range(self.epochs):
                for batch in images:
                    step(optimiser, self.loss(network(batch).logits), affine)
        AdaBN().after_training(network, images)

    def fit_to_source(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Give a copy of the adapted network the source's statistics; its scales and shifts stay the target's."""
        AdaBN().after_training(network, Mixed(batches))
