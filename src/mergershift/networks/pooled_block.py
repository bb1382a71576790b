"""Convolution, batch normalisation, ReLU and max-pooling by 2 in few passes over the memory.

At the size of the images of galaxies, the arithmetic of these layers is small, and most of a training step on a CPU
goes into reading and writing activations. Three identities save most of it, and leave the result as it is:

- Max-pooling and ReLU commute, so ReLU sees a quarter of the values.
- With a weight that is not negative, normalisation is monotonic and commutes with max-pooling too. A negative one is
  made positive by changing the sign of the filter that precedes it.
- The gradient of the convolution's output x is a + b x in each channel, which flows through the batch statistics, plus
  the pooled values' gradient at the maxima (Ioffe & Szegedy 2015, arXiv:1502.03167, section 3, in another order). The
  sums from which a and b are computed run over a quarter of the values.

The full-size values are dealt with a few images at a time, so that they stay in the processor's cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import has_torch_function

_CACHED = 1_500_000
"""Number of values of a convolution's output that are dealt with at a time."""
_POOL: tuple[list[int], list[int], list[int], list[int], bool] = ([2, 2], [2, 2], [0, 0], [1, 1], False)
"""Arguments of PyTorch's max-pooling: kernel, stride, padding, dilation, ceil_mode."""


def pooled_block(images: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Convolve `(B, C, H, W)`, normalise, apply ReLU and pool to `(B, K, H // 2, W // 2)`.

    The convolution has stride 1 and keeps the image size. In training on a CPU, the result of the modules one after the
    other is computed in few passes over the memory. Its second derivatives are not available.
    """
    if _in_few_passes(images, norm):
        return _trained_on_cpu(images, convolution, norm)
    return functional.relu(functional.max_pool2d(norm(convolution(images)), 2))


def _in_few_passes(images: Tensor, norm: nn.BatchNorm2d) -> bool:
    # Several processes replace the function that normalises, to share its statistics.
    plain = images.device.type != "cpu" or has_torch_function((images,)) or not torch.is_grad_enabled()
    return norm.training and norm.momentum is not None and norm.track_running_stats and not plain


def _trained_on_cpu(images: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    mixed = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if mixed else images.dtype
    with torch.autocast("cpu", enabled=False):
        pooled, mean, variance = _Block.apply(
            images.to(dtype), convolution.weight, convolution.bias, norm.weight, norm.bias, norm.eps
        )
    assert norm.running_mean is not None
    assert norm.running_var is not None
    assert norm.momentum is not None
    assert norm.num_batches_tracked is not None
    count = len(images) * images.shape[2] * images.shape[3]
    with torch.no_grad():
        # The filter's bias moves the mean alone, so that the block computes without it.
        shift = 0 if convolution.bias is None else convolution.bias
        norm.running_mean.lerp_(mean + shift, norm.momentum)
        norm.running_var.lerp_(variance * (count / (count - 1)), norm.momentum)
        norm.num_batches_tracked += 1
    return pooled


class _Block(torch.autograd.Function):
    """The block, and the mean and biased variance `(K,)` of the convolution's output without its bias.

    Normalisation removes the bias, whose gradient is 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        scale: Tensor,
        shift: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        sign = torch.where(scale < 0, -1.0, 1.0)
        filters = (weight * sign.view(-1, 1, 1, 1)).to(images.dtype, memory_format=torch.channels_last)
        padding = [size // 2 for size in weight.shape[2:]]
        step = max(1, _CACHED // (len(weight) * images.shape[2] * images.shape[3]))
        # Their type is that of the moments, which without them would be rounded to 16 bits if the images are.
        unused = torch.zeros(len(weight), dtype=weight.dtype)
        full, maxima, places, moments = [], [], [], []
        for part in images.split(step):
            convolved = functional.conv2d(part, filters, padding=padding)
            full.append(convolved)
            moments.append(torch.batch_norm_update_stats(convolved, unused, unused, 0.0))
            maximum, place = torch.ops.aten.max_pool2d_with_indices(convolved, *_POOL)
            maxima.append(maximum)
            places.append(place)
        means, variances = (torch.stack(values).double() for values in zip(*moments, strict=True))
        counts = torch.tensor([[len(part)] for part in full], dtype=torch.float64)
        mean, variance = (value.to(unused.dtype) for value in joined_moments(means, variances, counts))
        pooled = torch.cat(maxima)
        result = functional.batch_norm(
            pooled, mean, variance, scale.abs(), shift, False, 0.0, eps
        ).clamp_min_(0)
        ctx.save_for_backward(images, filters, scale, sign, mean, variance, pooled, result, *full, *places)
        ctx.eps, ctx.padding, ctx.step = eps, padding, step
        ctx.mark_non_differentiable(mean, variance)
        return result, mean * sign, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, filters, scale, sign, mean, variance, pooled, result, *parts = ctx.saved_tensors
        full, places = parts[: len(parts) // 2], parts[len(parts) // 2 :]
        after = torch.ops.aten.threshold_backward(gradients[0], result, 0)
        # That of the maxima at constant statistics; the sums of `after` and of its product with the normalised ones.
        before, of_scale, of_shift = torch.ops.aten.native_batch_norm_backward(
            after, pooled, scale.abs(), mean, variance, None, None, False, ctx.eps, [True, True, True]
        )
        height, width = images.shape[2:]
        count = len(images) * height * width
        inverse = (variance + ctx.eps).rsqrt()
        slope = -scale.abs() * inverse.square() * of_scale / count
        constant = -scale.abs() * inverse * of_shift / count - slope * mean
        # Rows of all columns and channels, along which arithmetic is fast.
        slope, constant = (row.to(images.dtype).repeat(width) for row in (slope, constant))
        of_filters = torch.zeros(filters.shape, dtype=scale.dtype)
        of_images = []
        steps = zip(images.split(ctx.step), full, before.split(ctx.step), places, strict=True)
        for part, convolved, gradient, place in steps:
            whole = torch.ops.aten.max_pool2d_with_indices_backward(gradient, convolved, *_POOL, place)
            _rows(whole).add_(torch.addcmul(constant, _rows(convolved), slope))
            of_part, of_weight, _ = torch.ops.aten.convolution_backward(
                *(whole, part, filters, None, [1, 1], ctx.padding, [1, 1], False, [0, 0], 1),
                [ctx.needs_input_grad[0], True, False],
            )
            of_filters += of_weight
            of_images.append(of_part)
        return (
            torch.cat(of_images) if ctx.needs_input_grad[0] else None,
            of_filters * sign.view(-1, 1, 1, 1),
            torch.zeros_like(of_shift) if ctx.needs_input_grad[2] else None,
            of_scale * sign,
            of_shift,
            None,
        )


def _rows(values: Tensor) -> Tensor:
    """View `(B, K, H, W)` in the channels-last layout as `(B H, W K)`."""
    batch, channels, height, width = values.shape
    return values.permute(0, 2, 3, 1).view(batch * height, width * channels)


def joined_moments(means: Tensor, variances: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and biased variance `(K,)` of all values from those of their parts (Chan et al. 1979).

    The variances within the parts and those between their means are added, which loses no digits as a difference of
    large sums would.

    Args:
        means: means of the parts `(P, K)`.
        variances: their biased variances `(P, K)`.
        counts: numbers of values, or numbers in proportion to them, `(P, 1)`.
    """
    shares = counts / counts.sum()
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean).square())).sum(0)
