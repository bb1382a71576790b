"""Training on pristine images with the known noise added, the control that adaptation has to beat."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from mergershift.adaptation.source_only import SourceOnly
from mergershift.core.errors import UserError


class NoiseInjection(SourceOnly):
    """Training without a penalty, on labelled images to which fresh Gaussian noise is added each time.

    The noise is independent in every pixel. This is the control for all methods that learn from target images: it
    sees none, but it knows how the target images were made. Bottrell et al. 2019 (arXiv:1910.07031) train in this
    way instead of adapting. It is meant for a source without noise; a noisy source would get the noise twice.

    Args:
        deviations: standard deviations of the noise in µJy/arcsec², one per filter in the order of the images'
            filters; for images with fewer filters the first ones are used.

    Raises UserError unless there is at least one deviation and all are finite and not negative.
    """

    def __init__(self, deviations: Sequence[float]) -> None:
        super().__init__()
        self.deviations = checked_deviations(deviations)

    def labelled_images(self, images: Tensor, generator: Generator) -> Tensor:
        """Return images `(N, C, H, W)` in µJy/arcsec² with noise from `generator` added, on the images' device.

        Raises ValueError if the images have another shape, and UserError if C exceeds the number of deviations.
        """
        return images + noise_of(images, self.deviations, generator)


def checked_deviations(deviations: Sequence[float]) -> tuple[float, ...]:
    """Return the deviations; raises UserError unless there is at least one and all are finite and not negative."""
    if not len(deviations) or not all(0 <= deviation < math.inf for deviation in deviations):
        raise UserError(
            f"deviations are {list(deviations)}, expected one finite number of at least 0 per filter"
            " (conf/adaptation/)"
        )
    return tuple(float(deviation) for deviation in deviations)


def noise_of(images: Tensor, deviations: tuple[float, ...], generator: Generator) -> Tensor:
    """Draw Gaussian noise `(N, C, H, W)` for images of that shape, with the first C of the deviations.

    Raises ValueError if the images have another shape, and UserError if C exceeds the number of deviations.
    """
    if images.ndim != 4:
        raise ValueError(f"images have shape {tuple(images.shape)}, expected (N, C, H, W)")
    channels = images.shape[1]
    if channels > len(deviations):
        raise UserError(
            f"there are {len(deviations)} deviations, but the images have {channels} filters.\n"
            "Give one deviation per filter (conf/adaptation/)."
        )
    noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
    return images.new_tensor(deviations[:channels])[:, None, None] * noise
