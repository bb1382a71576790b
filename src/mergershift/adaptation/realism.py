"""Training on pristine images as they could have been observed, with noise, PSF and depth around the known ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.nn import functional

from mergershift.adaptation.noise_injection import checked_deviations, noise_of
from mergershift.adaptation.source_only import SourceOnly
from mergershift.core.errors import UserError

FWHM = 2 * math.sqrt(2 * math.log(2))
"""Full width at half maximum of a Gaussian in standard deviations."""
_RADIUS = 6
"""Radius of the blurring kernel in pixels."""
_WIDEST = 1.5
"""Largest standard deviation of the blur in pixels, of which less than 1e-4 lies outside the kernel."""


class Realism(SourceOnly):
    """Training without a penalty, on labelled images that are blurred and get noise, differently each time.

    `NoiseInjection` adds the one noise that is known; here an image is shown as it could have been observed, after
    Bottrell et al. 2019 (arXiv:1910.07031) and Ćiprijanović et al. 2023 (arXiv:2302.02005), who draw the conditions
    at random. For every image:

    - PSF: the width is drawn uniformly between the known one and `psf` times it, as the same factor in all filters,
      and the image is convolved with the Gaussian that makes up the difference. The source has the known PSF, and
      cannot be sharpened.
    - depth: the limiting surface brightness is drawn uniformly within `depth` magnitudes of the known one, for all
      filters together, which scales the known `deviations` by 10^(-0.4 dm).
    - noise: each filter's deviation is scaled by another factor, drawn uniformly within a share `noise` of 1.

    With psf 1, depth 0 and noise 0, the method is `NoiseInjection`. It sees no target image, but knows roughly how they
    were made; it is meant for a source without noise. The noise is independent in every pixel, whereas that of
    resampled images is correlated. Conditions that are drawn too widely cost accuracy on every single one.

    Args:
        deviations: known standard deviations of the noise in µJy/arcsec², one per filter in the order of the images'
            filters; for images with fewer filters the first ones are used.
        fwhm: known full widths at half maximum of the PSF in arcsec, one per filter.
        pixel: size of a pixel in arcsec.
        psf: largest width of the PSF in units of the known one.
        depth: largest difference of the depth in magnitudes.
        noise: largest relative difference of a filter's deviation.

    Raises UserError if a value is out of range, or if the blur would be wider than 1.5 pixels.
    """

    def __init__(
        self,
        deviations: Sequence[float],
        fwhm: Sequence[float],
        pixel: float,
        psf: float = 1.5,
        depth: float = 0.5,
        noise: float = 0.2,
    ) -> None:
        super().__init__()
        self.deviations = checked_deviations(deviations)
        if len(fwhm) != len(deviations) or not all(0 < width < math.inf for width in fwhm):
            raise UserError(
                f"fwhm are {list(fwhm)}, expected a positive number for each of {len(deviations)} deviations"
                " (conf/adaptation/)"
            )
        for name, value, low, high in (
            ("pixel", pixel, 1e-9, math.inf),
            ("psf", psf, 1, math.inf),
            ("depth", depth, 0, 5),
            ("noise", noise, 0, 1),
        ):
            if not low <= value <= high or value == math.inf:
                raise UserError(f"{name} is {value}, expected {low:g} to {high:g} (conf/adaptation/)")
        self.sigmas = tuple(float(width) / FWHM / pixel for width in fwhm)
        """Standard deviations of the known PSF in pixels."""
        widest = max(self.sigmas) * math.sqrt(psf**2 - 1)
        if widest > _WIDEST:
            raise UserError(
                f"psf {psf} blurs by a Gaussian of {widest:.2f} pixels, expected at most {_WIDEST} (conf/adaptation/)"
            )
        self.psf, self.depth, self.noise = psf, depth, noise

    def labelled_images(self, images: Tensor, generator: Generator) -> Tensor:
        """Return images `(N, C, H, W)` in µJy/arcsec² as they could have been observed, on the images' device.

        Raises ValueError if the images have another shape, and UserError if C exceeds the number of filters.
        """
        noise = noise_of(images, self.deviations, generator)
        count, channels = images.shape[:2]

        def drawn(filters: int, low: float, high: float) -> Tensor:
            unit = torch.rand(count, filters, generator=generator, device=images.device, dtype=images.dtype)
            return low + (high - low) * unit

        width = drawn(1, 1, self.psf)
        variances = (width.square() - 1) * images.new_tensor(self.sigmas[:channels]).square()
        depths = 10 ** (-0.4 * drawn(1, -self.depth, self.depth))
        factors = depths * drawn(channels, 1 - self.noise, 1 + self.noise)
        blurred = images if self.psf == 1 else blur(images, variances)
        return blurred + factors[:, :, None, None] * noise


def blur(images: Tensor, variances: Tensor) -> Tensor:
    """Convolve images `(N, C, H, W)` with Gaussians of `variances` `(N, C)` in square pixels; edges are repeated.

    The kernel is the discrete analogue of a Gaussian (Lindeberg 1990, IEEE TPAMI 12, 234), exp(-t) I_n(t), whose
    variance is t however small it is; a sampled Gaussian has none below half a pixel.
    """
    count, channels, height, width = images.shape
    # The kernel's Fourier transform is exp(t (cos w - 1)), of which these frequencies give the exact series.
    offsets = torch.arange(-_RADIUS, _RADIUS + 1, device=images.device, dtype=images.dtype)
    angles = 2 * math.pi * torch.arange(32, device=images.device, dtype=images.dtype) / 32
    spectrum = (variances.reshape(-1, 1) * (angles.cos() - 1)).exp()
    kernels = spectrum @ (angles[:, None] * offsets).cos() / len(angles)
    kernels = kernels / kernels.sum(1, keepdim=True)
    stacked = images.reshape(1, count * channels, height, width)
    for shape, edges in (
        ((-1, 1, 2 * _RADIUS + 1, 1), (0, 0, 1, 1)),
        ((-1, 1, 1, 2 * _RADIUS + 1), (1, 1, 0, 0)),
    ):
        padded = functional.pad(stacked, [_RADIUS * edge for edge in edges], mode="replicate")
        stacked = functional.conv2d(padded, kernels.view(shape), groups=count * channels)
    return stacked.view(count, channels, height, width)
