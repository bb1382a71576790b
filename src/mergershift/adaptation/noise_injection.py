"""The known noise added to pristine images: what adaptation has to be better than."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from mergershift.adaptation.base import Adaptation
from mergershift.core.errors import UserError
from mergershift.networks import Activations


class NoiseInjection(Adaptation):
    """No penalty; labelled images get fresh Gaussian noise, independent in every pixel, whenever they are seen.

    The control for all methods that learn from target images: it sees none, but knows how the target was made.
    Bottrell et al. 2019 (arXiv:1910.07031) train this way instead of adapting. Made for a source without
    noise; a noisy source would get it twice.

    Args:
        deviations: of the noise in each filter, in the order of the images' filters, µJy/arcsec²; images with
            fewer filters take the first ones.

    Raises UserError unless there is at least one deviation and all are finite and not negative.
    """

    uses_target = False

    def __init__(self, deviations: Sequence[float]) -> None:
        super().__init__()
        if not len(deviations) or not all(0 <= each < math.inf for each in deviations):
            raise UserError(
                f"deviations are {list(deviations)}, expected one finite number of at least 0 a filter"
                " (conf/adaptation/)"
            )
        self.deviations = tuple(float(each) for each in deviations)

    def labelled_images(self, images: Tensor, generator: Generator) -> Tensor:
        """Return images `(N, C, H, W)`, µJy/arcsec², with noise drawn from `generator`, on the images' device.

        Raises ValueError on images of another shape and UserError where C exceeds the number of deviations.
        """
        if images.ndim != 4:
            raise ValueError(f"images of shape {tuple(images.shape)}, expected (N, C, H, W)")
        channels = images.shape[1]
        if channels > len(self.deviations):
            raise UserError(
                f"deviations are {len(self.deviations)}, but the images have {channels} filters.\n"
                "Name one deviation a filter (conf/adaptation/)."
            )
        deviations = images.new_tensor(self.deviations[:channels])[:, None, None]
        noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
        return images + deviations * noise

    def forward(self, source: Activations, target: Activations, source_labels: Tensor) -> Tensor:
        """Return 0 (scalar): the noise is all there is."""
        return source.features.new_zeros(())
