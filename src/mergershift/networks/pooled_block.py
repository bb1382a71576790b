"""Convolution, batch normalisation, ReLU and max-pooling by 2 in few passes over the memory.

At the size of the images of galaxies, the arithmetic of these layers is small, and most of a training step on a CPU
goes into reading and writing activations. Three identities save most of it, and leave the result as it is:

- Max-pooling and ReLU commute, so ReLU sees a quarter of the values.
- With a weight that is not negative, normalisation is monotonic and commutes with max-pooling too. A negative one is
  made positive by changing the sign of the filter that precedes it.
- The gradient of the convolution's output x is a + b x in each channel, which flows through the batch statistics, plus
  the pooled values' gradient at the maxima (Ioffe & Szegedy 2015, arXiv:1502.03167, section 3, in another order). The
  sums from which a and b are computed run over a quarter of the values.

What remains are four loops (`pooling_loops`) beside the convolution. The full-size values are dealt with some images at
a time, so that they stay in the processor's cache. Images of a few channels, which are too few for the processor's
vectors, are convolved as images of half the width and twice the channels, with filters that yield both columns of a
pair.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.overrides import has_torch_function

from mergershift.networks.paired_columns import in_pairs, paired, unpaired
from mergershift.networks.pooling_loops import (
    PRECISIONS,
    Pooled,
    empty_pooled,
    gradient_sums,
    normalise,
    open_maxima,
    pool,
    unpool,
)

_CACHED = 6_000_000
"""Number of values of a convolution's output that are dealt with at a time."""
_FEW_CHANNELS = 4
"""Largest number of channels with which images are convolved by pairs of columns."""


def pooled_block(images: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    """Convolve `(B, C, H, W)`, normalise, apply ReLU and pool to `(B, K, H // 2, W // 2)`.

    The convolution has stride 1 and keeps the image size. On a CPU, the result of the modules one after the other is
    computed in few passes over the memory. In training, its second derivatives are not available. In evaluation, the
    filters contain the normalisation.
    """
    training = norm.training or norm.running_mean is None
    if _on_cpu(images):
        if not training and not torch.is_grad_enabled():
            return _evaluated_on_cpu(images, convolution, norm)
        known = norm.momentum is not None and norm.track_running_stats
        if training and known and torch.is_grad_enabled():
            return _trained_on_cpu(images, convolution, norm)
    if training:
        return functional.relu(functional.max_pool2d(norm(convolution(images)), 2))
    filters, bias = _normalising(convolution, norm)
    filters = filters.contiguous(memory_format=torch.channels_last)
    full = functional.conv2d(images, filters, bias, padding=convolution.padding)
    return functional.relu(functional.max_pool2d(full, 2))


def _on_cpu(images: Tensor) -> bool:
    """Whether the loops can compute: not where the network is traced, or a mode replaces PyTorch's functions.

    Several processes replace the function that normalises, to share its statistics.
    """
    if images.device.type != "cpu" or _autocast(images) not in PRECISIONS:
        return False
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return type(images) is Tensor and not has_torch_function((images,)) and not traced


def _normalising(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return filters and bias that convolve and normalise by the running statistics."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.running_mean if convolution.bias is None else norm.running_mean - convolution.bias
    return convolution.weight * scale.view(-1, 1, 1, 1), norm.bias - shift * scale


def _evaluated_on_cpu(images: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    images = images.to(_autocast(images))
    filters, bias = _normalising(convolution, norm)
    convolve = _Convolution(images, filters, in_two=images.shape[1] <= _FEW_CHANNELS)
    count, _, height, width = images.shape
    result = images.new_empty(count, height // 2, width // 2, len(filters))
    for number, full in enumerate(convolve.outputs(bias.to(images.dtype))):
        open_maxima(full, width, result, number * convolve.step)
    return result.permute(0, 3, 1, 2)


def _autocast(images: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else images.dtype


class _Convolution:
    """Convolution of stride 1 that keeps the size of images `(B, C, H, W)`, by pairs of columns or not."""

    def __init__(self, images: Tensor, filters: Tensor, in_two: bool) -> None:
        self.channels, self.height = len(filters), images.shape[2]
        self.repeats = 2 if in_two else 1
        if in_two:
            images = in_pairs(functional.pad(images, (0, images.shape[3] % 2)))
            filters = paired(filters)
        self.images = images
        self.filters = filters.to(images.dtype, memory_format=torch.channels_last)
        self.padding = [size // 2 for size in filters.shape[2:]]
        self.step = max(1, _CACHED // (len(filters) * self.height * images.shape[3]))

    def outputs(self, bias: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the outputs `(b, H, W, K)` of `step` images after another; a column more may complete the last pair."""
        bias = None if bias is None else bias.repeat(self.repeats)
        for part in self.images.split(self.step):
            with torch.autocast("cpu", enabled=False):
                convolved = functional.conv2d(part, self.filters, bias, padding=self.padding)
            rows = convolved.permute(0, 2, 3, 1).contiguous()
            yield rows.view(len(part), self.height, -1, self.channels)


def _trained_on_cpu(images: Tensor, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> Tensor:
    images = images.to(_autocast(images))
    with torch.autocast("cpu", enabled=False):
        pooled, mean, variance = _Block.apply(
            images, convolution.weight, convolution.bias, norm.weight, norm.bias, norm.eps
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
        in_two = not ctx.needs_input_grad[0] and images.shape[1] <= _FEW_CHANNELS
        convolve = _Convolution(images, weight * sign.view(-1, 1, 1, 1), in_two)
        height, width = images.shape[2:]
        pooled = empty_pooled(len(images), height, width, len(weight), images.dtype)
        full: list[Tensor] = []
        for convolved in convolve.outputs():
            if not full:
                near = convolved[0, :, :width].to(weight.dtype).mean((0, 1))
            pool(convolved, width, near, pooled, len(full) * convolve.step)
            full.append(convolved)
        sums = pooled.sums.sum(0) / (len(images) * height * width)
        mean = (sums[0] + near).to(weight.dtype)
        variance = (sums[1] - sums[0].square()).to(weight.dtype)
        factor = scale.abs() * (variance + eps).rsqrt()
        offset = shift - factor * mean
        result = normalise(pooled.maxima, factor, offset)
        tensors = (convolve.images, convolve.filters, sign, mean, variance, factor, offset)
        ctx.save_for_backward(*tensors, *pooled, *full)
        ctx.eps, ctx.padding, ctx.step = eps, convolve.padding, convolve.step
        ctx.in_two, ctx.width, ctx.kernel = in_two, width, weight.shape[3]
        ctx.mark_non_differentiable(mean, variance)
        return result.permute(0, 3, 1, 2), mean * sign, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, filters, sign, mean, variance, factor, offset, *saved = ctx.saved_tensors
        pooled, full = Pooled(*saved[:3]), saved[3:]
        gradient = gradients[0].permute(0, 2, 3, 1).contiguous()
        sums = gradient_sums(gradient, pooled.maxima, factor, offset)
        inverse = (variance + ctx.eps).rsqrt()
        of_shift = sums[0].to(factor.dtype)
        of_scale = ((sums[1] - mean * sums[0]) * inverse).to(factor.dtype)
        count = len(images) * images.shape[2] * ctx.width
        slope = -factor * inverse * of_scale / count
        constant = -factor * of_shift / count - slope * mean
        coefficients = torch.stack([factor, offset, factor, slope, constant])
        of_filters = torch.zeros(filters.shape, dtype=factor.dtype)
        of_images = []
        # The same memory for all parts: that of the system's would have to be cleared first.
        place = torch.empty_like(full[0])
        for number, (part, convolved) in enumerate(zip(images.split(ctx.step), full, strict=True)):
            whole = place[: len(part)]
            unpool(convolved, ctx.width, gradient, pooled, number * ctx.step, coefficients, whole)
            whole = whole.view(len(part), part.shape[2], part.shape[3], len(filters)).permute(0, 3, 1, 2)
            of_part, of_weight, _ = torch.ops.aten.convolution_backward(
                *(whole, part, filters, None),
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
