"""Convolution, batch normalisation, ReLU and max-pooling by 2 in few passes over the memory.

At the size of the images of galaxies, the arithmetic of these layers is small, and most of a training step on a CPU
goes into reading and writing activations. Three identities save most of it, and leave the result as it is:

- Max-pooling and ReLU commute, so ReLU sees a quarter of the values.
- With a weight that is not negative, normalisation is monotonic and commutes with max-pooling too. A negative one is
  made positive by changing the sign of the filter that precedes it.
- The gradient of the convolution's output x is a + b x in each channel, which flows through the batch statistics, plus
  the pooled values' gradient at the maxima (Ioffe & Szegedy 2015, arXiv:1502.03167, section 3, in another order). The
  sums from which a and b are computed run over a quarter of the values.

The full-size values are dealt with a few images at a time, so that they stay in the processor's cache. A pixel has too
few channels for the processor's vectors, so values are normalised as rows of all columns and channels. For the same
reason, images of a few channels are convolved as images of half the width and twice the channels, with filters that
yield both columns of a pair.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import has_torch_function

from mergershift.networks.paired_columns import in_pairs, out_of_pairs, paired, unpaired

_CACHED = 1_500_000
"""Number of values of a convolution's output that are dealt with at a time."""
_FEW_CHANNELS = 4
"""Largest number of channels with which images are convolved by pairs of columns."""
_POOL: tuple[list[int], list[int], list[int], list[int], bool] = ([2, 2], [2, 2], [0, 0], [1, 1], False)
"""Arguments of PyTorch's max-pooling: kernel, stride, padding, dilation, ceil_mode."""


def pooled_block(images: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Convolve `(B, C, H, W)`, normalise, apply ReLU and pool to `(B, K, H // 2, W // 2)`.

    The convolution has stride 1 and keeps the image size. In training on a CPU, the result of the modules one after the
    other is computed in few passes over the memory. Its second derivatives are not available. In evaluation, the
    filters contain the normalisation.
    """
    if _in_few_passes(images, norm):
        return _trained_on_cpu(images, convolution, norm)
    if norm.training or norm.running_mean is None:
        return functional.relu(functional.max_pool2d(norm(convolution(images)), 2))
    return functional.relu(functional.max_pool2d(_evaluated(images, convolution, norm), 2))


def _in_few_passes(images: Tensor, norm: nn.BatchNorm2d) -> bool:
    # Several processes replace the function that normalises, to share its statistics.
    plain = images.device.type != "cpu" or has_torch_function((images,)) or not torch.is_grad_enabled()
    return norm.training and norm.momentum is not None and norm.track_running_stats and not plain


def _evaluated(images: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Convolve and normalise by the running statistics in one convolution."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.running_mean if convolution.bias is None else norm.running_mean - convolution.bias
    filters = (convolution.weight * scale.view(-1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
    return functional.conv2d(images, filters, norm.bias - shift * scale, padding=convolution.padding)


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
        filters = weight * sign.view(-1, 1, 1, 1)
        in_two = not ctx.needs_input_grad[0] and images.shape[1] <= _FEW_CHANNELS
        width = images.shape[3]
        if in_two:
            images = in_pairs(functional.pad(images, (0, width % 2)))
            filters = paired(filters)
        filters = filters.to(images.dtype, memory_format=torch.channels_last)
        padding = [size // 2 for size in filters.shape[2:]]
        step = max(1, _CACHED // (len(filters) * images.shape[2] * images.shape[3]))
        # Their type is that of the moments, which without them would be rounded to 16 bits if the images are.
        unused = torch.zeros(images.shape[3] * len(filters), dtype=weight.dtype)
        full, maxima, places, moments = [], [], [], []
        for part in images.split(step):
            convolved = functional.conv2d(part, filters, padding=padding)
            moments.append(torch.batch_norm_update_stats(_rows(convolved), unused, unused, 0.0))
            if in_two:
                convolved = out_of_pairs(convolved)
            full.append(convolved)
            maximum, place = torch.ops.aten.max_pool2d_with_indices(convolved, *_POOL)
            maxima.append(maximum)
            places.append(place)
        # Without the column that completes the last pair.
        means, variances = (
            torch.stack(values).view(len(full), -1, len(weight))[:, :width].double().flatten(0, 1)
            for values in zip(*moments, strict=True)
        )
        counts = torch.tensor([[len(part)] for part in full for _ in range(width)], dtype=torch.float64)
        mean, variance = (value.to(unused.dtype) for value in joined_moments(means, variances, counts))
        pooled = torch.cat(maxima)[..., : width // 2].contiguous(memory_format=torch.channels_last)
        means, variances, scales, shifts = (
            value.repeat(pooled.shape[3]) for value in (mean, variance, scale.abs(), shift)
        )
        normalised = functional.batch_norm(_rows(pooled), means, variances, scales, shifts, False, 0.0, eps)
        result = _images(normalised.clamp_min_(0), pooled)
        ctx.save_for_backward(images, filters, scale, sign, mean, variance, pooled, result, *full, *places)
        ctx.eps, ctx.padding, ctx.step, ctx.width, ctx.kernel = eps, padding, step, width, weight.shape[3]
        ctx.in_two = in_two
        ctx.mark_non_differentiable(mean, variance)
        return result, mean * sign, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, filters, scale, sign, mean, variance, pooled, result, *parts = ctx.saved_tensors
        full, places = parts[: len(parts) // 2], parts[len(parts) // 2 :]
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        after = torch.ops.aten.threshold_backward(_rows(gradient), _rows(result), 0)
        # That of the maxima at constant statistics; the sums of `after` and of its product with the normalised ones.
        settings = (value.repeat(pooled.shape[3]) for value in (scale.abs(), mean, variance))
        rows, *sums = torch.ops.aten.native_batch_norm_backward(
            after, _rows(pooled), *settings, None, None, False, ctx.eps, [True, True, True]
        )
        before = _images(rows, pooled)
        of_scale, of_shift = (values.view(-1, len(scale)).sum(0) for values in sums)
        count = len(images) * images.shape[2] * ctx.width
        inverse = (variance + ctx.eps).rsqrt()
        slope = -scale.abs() * inverse.square() * of_scale / count
        constant = -scale.abs() * inverse * of_shift / count - slope * mean
        # Rows of all columns and channels, along which arithmetic is fast, with 0 for a column that completes a pair.
        more = full[0].shape[3] - ctx.width
        slope, constant = (
            functional.pad(row.to(images.dtype).repeat(ctx.width), (0, more * len(scale)))
            for row in (slope, constant)
        )
        before = functional.pad(before, (0, full[0].shape[3] // 2 - before.shape[3]))
        of_filters = torch.zeros(filters.shape, dtype=scale.dtype)
        of_images = []
        steps = zip(images.split(ctx.step), full, before.split(ctx.step), places, strict=True)
        for part, convolved, gradient, place in steps:
            whole = torch.ops.aten.max_pool2d_with_indices_backward(gradient, convolved, *_POOL, place)
            _rows(whole).add_(torch.addcmul(constant, _rows(convolved), slope))
            of_part, of_weight, _ = torch.ops.aten.convolution_backward(
                *(in_pairs(whole) if ctx.in_two else whole, part, filters, None),
                *([1, 1], ctx.padding, [1, 1], False, [0, 0], 1),
                [ctx.needs_input_grad[0], True, False],
            )
            of_filters += of_weight
            of_images.append(of_part)
        if ctx.in_two:
            of_filters = unpaired(of_filters, ctx.kernel)
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


def _images(rows: Tensor, like: Tensor) -> Tensor:
    """View `(B H, W K)` as `(B, K, H, W)` in the channels-last layout, with the sizes of `like`."""
    batch, channels, height, width = like.shape
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


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
