"""Adaptive batch normalisation: the target's own statistics in a network trained on the source."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mergershift.adaptation.base import Adaptation
from mergershift.core.errors import UserError
from mergershift.networks import Activations, Network


class AdaBN(Adaptation):
    """No penalty; afterwards every batch normalisation gets the mean and variance of the target's images.

    Li et al. 2016 (arXiv:1603.04779). The weights stay as the source trained them, and each domain has statistics
    of its own. The network that is kept belongs to the target; to choose an epoch and to test on the source, the
    evaluation fits a copy to source images in the same way.

    All target training images pass the network once, in batches; a layer's statistics are the averages of the
    batches' means and unbiased variances, each weighted by its number of images, and what a layer sees is
    normalised by its batch's own statistics in the layers before it. The spread of the means between batches
    is not counted: use batches of a hundred images rather than of ten.
    """

    uses_target = False

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return 0 (scalar): training is that of the source alone."""
        return source.features.new_zeros(())

    def after_training(self, network: Network, batches: Iterable[Tensor]) -> None:
        """Replace the running statistics of every batch normalisation in `network`, in place.

        Args:
            network: any network that normalises by batches; modes and momenta are afterwards as before.
            batches: the target's training images `(M, C, H, W)` as the network takes them, each once.

        Raises UserError where the network has no such layer, ValueError where there is no image.
        """
        norms = [
            module
            for module in network.modules()
            if isinstance(module, _BatchNorm) and module.track_running_stats
        ]
        if not norms:
            raise UserError(
                f"adabn re-estimates batch normalisation, but {type(network).__name__} has none.\n"
                "Take a network with batch normalisation (conf/network/) or another method."
            )
        modes = {module: module.training for module in network.modules()}
        momenta = {norm: norm.momentum for norm in norms}
        try:
            # Only the normalisations learn: dropout would change what the layers behind it see.
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
            raise ValueError("no target images to estimate statistics from")


def _pass_through(network: Network, norms: list[_BatchNorm], batches: Iterable[Tensor]) -> int:
    """Average the statistics over `batches`, all images alike; return their number."""
    seen = 0
    with torch.no_grad():
        for images in batches:
            seen += len(images)
            for norm in norms:
                norm.momentum = len(images) / seen
            network(images)
    return seen
