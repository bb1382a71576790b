"""Adaptive batch normalisation: a network trained on the source gets the target's statistics."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mergershift.adaptation.source_free import batch_norms
from mergershift.adaptation.source_only import SourceOnly
from mergershift.core.errors import UserError
from mergershift.networks import Network


class AdaBN(SourceOnly):
    """Training without a penalty, after which every batch normalisation gets the target's mean and variance.

    In the method of Li et al. 2016 (arXiv:1603.04779), the weights stay as trained on the source, and each domain
    has its own statistics. The saved network is the one for the target; to choose an epoch and to test on the
    source, the evaluation fits a copy to source images in the same way.

    All target training images pass through the network once, in batches. The statistics of a layer are the means
    and unbiased variances of the batches, averaged with the number of images as weight; the layers before it
    normalise each batch by its own statistics. The variance of the means between batches is not included, so
    use batches of a hundred images rather than of ten.
    """

    def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Replace the running statistics of every batch normalisation in `network`, in place.

        Args:
            network: any network with batch normalisation; its modes and momenta are restored afterwards.
            batches: batches of the target's training images `(M, C, H, W)`, preprocessed for the network, each
                image once.

        Raises UserError if the network has no batch normalisation, and ValueError if there is no image.
        """
        norms = batch_norms(network)
        if not norms:
            raise UserError(
                f"adabn re-estimates batch normalisation, but the network {type(network).__name__} has none.\n"
                "Choose a network with batch normalisation (conf/network/) or another method."
            )
        modes = {module: module.training for module in network.modules()}
        momenta = {norm: norm.momentum for norm in norms}
        try:
            # Only the normalisations are in training mode: dropout would change the input of later layers.
            network.eval()
            for norm in norms:
                norm.train()
                norm.reset_running_stats()
            seen = _pass_through(network, norms, batches)
        finally:
            for module, mode in modes.items():
                module.training = mode
            for norm, momentum in momenta.items():
                norm.momentum = momentum
        if not seen:
            raise ValueError("there are no target images, expected at least one to estimate statistics from")


def _pass_through(network: Network, norms: list[_BatchNorm], batches: Iterable[Tensor]) -> int:
    """Average the statistics over `batches`, with the same weight for all images; return the number of images."""
    seen = 0
    with torch.no_grad():
        for images in batches:
            seen += len(images)
            for norm in norms:
                norm.momentum = len(images) / seen
            network(images)
    return seen
